//! Lines about what somebody was told who has asked whether all Envoys of the fleet enforce an event.

use serde::Serialize;

use super::event_text::EventText;

/// Most Envoys in one line: more go into further lines.
const NODES_PER_LINE: usize = 12;
/// Most lines about one answer.
const LINES_MAX: usize = 256;
/// Longest name or cause, in bytes. Other daemons choose them.
const WORD_BYTES_MAX: usize = 128;

/// See [`super::entry::Fact::Fence`].
#[derive(Clone, Debug, Serialize)]
pub struct FenceFact {
    /// `everywhere`, `missing` or `not_in_effect`.
    pub result: &'static str,
    /// The event.
    pub event_id: EventText,
    /// Who has asked.
    pub caller: String,
    /// As what.
    pub role: &'static str,
    /// Milliseconds from taking the event in to the answer.
    pub ms: f64,
    /// How many Envoys enforce it.
    pub enforced: usize,
    /// How many Envoys, or daemons, may not.
    pub missing: usize,
    /// Which of the lines about this answer it is, from 1.
    pub part: usize,
    /// How many there are.
    pub parts: usize,
    /// Some of the Envoys: those that may not enforce it first.
    pub nodes: Vec<FenceNode>,
}

/// One Envoy, or a daemon of which the Envoys are not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FenceNode {
    /// Its daemon's name.
    pub daemon: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The life of its memory, if it enforces the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// `enforced`, or why that is not known.
    pub is: &'static str,
    /// Milliseconds from taking the event in to hearing so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// More about why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl FenceFact {
    /// The lines about one answer; `self` without `nodes`, `part` and `parts`.
    #[must_use]
    pub fn lines(self, mut nodes: Vec<FenceNode>) -> Vec<Self> {
        nodes.truncate(NODES_PER_LINE.saturating_mul(LINES_MAX));
        nodes.iter_mut().for_each(FenceNode::shorten);
        if nodes.is_empty() {
            return vec![Self { part: 1, parts: 1, ..self }];
        }
        let parts = nodes.len().div_ceil(NODES_PER_LINE);
        let line = |(at, nodes): (usize, &[FenceNode])| Self {
            part: at.saturating_add(1),
            parts,
            nodes: nodes.to_vec(),
            ..self.clone()
        };
        nodes.chunks(NODES_PER_LINE).enumerate().map(line).collect()
    }
}

impl FenceNode {
    fn shorten(&mut self) {
        let words = [self.node.as_mut(), self.boot_id.as_mut(), self.cause.as_mut()];
        for word in words.into_iter().flatten().chain([&mut self.daemon]) {
            *word = short(word);
        }
    }
}

/// A word cut to what a line has room for, in which nothing takes more than two bytes for one.
fn short(word: &str) -> String {
    let fits = |(at, c): &(usize, char)| at.saturating_add(c.len_utf8()) <= WORD_BYTES_MAX;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    word.char_indices().take_while(fits).map(|(_, c)| plain(c)).collect()
}

#[cfg(test)]
mod tests {
    use model::name::EventId;

    use super::super::line::LINE_BYTES_MAX;
    use super::*;

    fn fact() -> FenceFact {
        FenceFact {
            result: "missing",
            event_id: EventId::parse("e").unwrap().into(),
            caller: "\"".repeat(128),
            role: "operator",
            ms: 1.5,
            enforced: 1,
            missing: 1,
            part: 0,
            parts: 0,
            nodes: Vec::new(),
        }
    }

    fn node(word: &str) -> FenceNode {
        let some = || Some(word.to_owned());
        let (daemon, node, boot_id, cause) = (word.to_owned(), some(), some(), some());
        FenceNode { daemon, node, boot_id, is: "redis_unreachable", ms: Some(0.123), cause }
    }

    #[test]
    fn every_node_stands_in_a_line_and_no_line_is_too_long() {
        for word in ["\u{1}\n\u{7f}".repeat(500), "\"".repeat(500), "\u{fe0f}€".repeat(500)] {
            let lines = fact().lines(vec![node(&word); 100]);
            assert_eq!(lines.len(), 9);
            assert_eq!(lines.iter().map(|line| line.nodes.len()).sum::<usize>(), 100);
            assert!(lines.iter().all(|line| line.parts == 9) && lines[8].part == 9);
            let longest = lines.iter().map(|line| serde_json::to_string(line).unwrap().len()).max();
            // Beside it stand the time, the pseudonym and two hashes.
            assert!(longest.unwrap() + 1_024 < LINE_BYTES_MAX, "{longest:?}");
        }
        assert_eq!(fact().lines(vec![node("n"); 99_999]).len(), LINES_MAX);
        assert_eq!(fact().lines(Vec::new()).len(), 1);
    }
}
