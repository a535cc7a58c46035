//! What each Envoy of a daemon did with an event, by the daemon's log.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ends::Ended;
use super::line::{Line, LineRef};

/// One Envoy, and one event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Enforced {
    /// The Envoy's name.
    pub node: String,
    /// The life of its memory.
    pub boot_id: String,
    /// What the log says last of it.
    pub state: NodeState,
    /// When that was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How long after the daemon had taken the event in, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// Why it does not enforce it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The line that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<LineRef>,
    /// When it rejected the first request because of the event, by the daemon's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_rejection: Option<String>,
    /// The line that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_rejection_line: Option<LineRef>,
}

/// How an Envoy stood to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It was there, and no line says that it has acknowledged the event.
    NotAcknowledged,
    /// It had not acknowledged the event when its daemon waited no longer.
    Pending,
    /// It could not store the event, or does nothing about it.
    Refused,
    /// It has acknowledged all that its daemon knew, the event among it.
    Synchronized,
    /// It has acknowledged the event.
    Enforced,
}

impl NodeState {
    /// Whether the Envoy enforced the event.
    #[must_use]
    pub fn enforces(self) -> bool {
        matches!(self, Self::Enforced | Self::Synchronized)
    }
}

type Key = (String, String);

/// What the Envoys of one daemon did with an event; `lines` are all of the daemon's, in order, and `taken_in` is the one
/// that says that the event was taken in first. Who comes after it has ended has nothing to do with it.
pub(crate) fn of_event(
    lines: &[Line<'_>],
    event_id: &str,
    taken_in: &Line<'_>,
    ended: Option<&Ended>,
) -> Vec<Enforced> {
    let mut nodes: BTreeMap<Key, Enforced> = BTreeMap::new();
    let sequence = taken_in.number("sequence");
    let mut is_same_run = true;
    for line in lines {
        let is_after = line.at.seq > taken_in.at.seq;
        match line.kind.as_str() {
            "start" if is_after => is_same_run = false,
            // Whoever was there belongs to an earlier run.
            "start" => nodes.clear(),
            "node" if is_same_run && !ended.is_some_and(|ended| ended.is_before(line)) => {
                follow(&mut nodes, line, is_after, sequence)
            }
            "push" if line.is("event_id", event_id) => {
                if let Some(one) = entry(&mut nodes, line) {
                    acknowledged(one, line);
                }
            }
            "rejection" if line.is("event_id", event_id) => {
                if let Some(one) = entry(&mut nodes, line) {
                    rejected(one, line);
                }
            }
            _ => {}
        }
    }
    nodes.into_values().collect()
}

fn entry<'a>(nodes: &'a mut BTreeMap<Key, Enforced>, line: &Line<'_>) -> Option<&'a mut Enforced> {
    let (node, boot_id) = line.node()?;
    let new = Enforced {
        node: node.clone(),
        boot_id: boot_id.clone(),
        state: NodeState::NotAcknowledged,
        at: None,
        ms: None,
        cause: None,
        line: None,
        first_rejection: None,
        first_rejection_line: None,
    };
    Some(nodes.entry((node, boot_id)).or_insert(new))
}

/// An Envoy came, caught up, or went.
fn follow(
    nodes: &mut BTreeMap<Key, Enforced>,
    line: &Line<'_>,
    is_after: bool,
    sequence: Option<u64>,
) {
    match (line.text("state"), is_after) {
        (Some("gone"), false) => {
            if let Some(key) = line.node() {
                nodes.remove(&key);
            }
        }
        (Some("gone"), true) => {}
        (Some("synchronized"), true) => {
            let has_it = line.number("sequence").zip(sequence);
            let has_it = has_it.is_some_and(|(applied, sequence)| applied >= sequence);
            let Some(one) = entry(nodes, line).filter(|_| has_it) else { return };
            if one.state < NodeState::Synchronized {
                (one.state, one.at) = (NodeState::Synchronized, Some(line.time.clone()));
                (one.line, one.cause) = (Some(line.at.clone()), None);
            }
        }
        _ => drop(entry(nodes, line)),
    }
}

/// What an Envoy said of the event itself. It counts from the first time that it says it enforces it.
fn acknowledged(one: &mut Enforced, line: &Line<'_>) {
    let state = match line.text("result") {
        Some("enforced") => NodeState::Enforced,
        Some("refused") => NodeState::Refused,
        Some("pending") => NodeState::Pending,
        _ => return,
    };
    if one.state >= state && one.state != NodeState::Synchronized {
        return;
    }
    one.state = state;
    one.at = Some(line.time.clone());
    one.ms = line.fields.get("ms").and_then(serde_json::Value::as_f64);
    one.cause = line.owned("cause");
    one.line = Some(line.at.clone());
}

/// A daemon that has started anew, or forgotten, may note another: the first counts.
fn rejected(one: &mut Enforced, line: &Line<'_>) {
    if one.first_rejection.is_none() {
        one.first_rejection = line.owned("at");
        one.first_rejection_line = Some(line.at.clone());
    }
}
