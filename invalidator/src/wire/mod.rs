//! What the API is asked and what it answers, as JSON: one set of types, which the server writes and the command line
//! reads, and the other way round. Plain data: no rule is checked here.
//!
//! The two may be of different versions. So a reader leaves out what it does not know, and what an older server
//! does not say has a default. The status is not here: each part of the daemon says its own, and people read it.

mod dead_letters;
mod evidence;
mod fleet;
mod published;
mod subject;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use dead_letters::{Cause, Content, Letter, Page, ReplayOrder, ReplayTry, Replayed, Results};
pub use evidence::EvidenceOrder;
pub use fleet::{
    ALL_DAEMONS, DaemonState, EnforcedBy, Envoy, Everywhere, Fleet, FleetDaemon, Missing, Reason,
    Registration,
};
pub use published::Published;
pub use subject::{Erased, Named, Pseudonym, Remains};

/// What the `type` of every problem begins with.
const PROBLEM: &str = "urn:portcullis:problem:";

/// Why something was not done (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A name for this sort of problem, in front of which stands that it is one of ours.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sort of problem in words.
    pub title: Cow<'static, str>,
    /// The status of the answer.
    pub status: u16,
    /// The field that breaks a rule, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Problem {
    /// A problem of the sort that has this name.
    #[must_use]
    pub fn new(status: u16, name: &str, title: &'static str) -> Self {
        let (kind, title) = (format!("{PROBLEM}{name}"), title.into());
        Self { kind, title, status, field: None, rule: None }
    }

    /// What there is of a problem in an answer. Whoever stands in front of a daemon may answer in its place, and
    /// writes what it likes: what is not as it should be is left out.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        let word = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = answer.get("status").and_then(Value::as_u64).unwrap_or_default();
        Self {
            kind: word("type").unwrap_or_default(),
            title: word("title").unwrap_or_default().into(),
            status: status.try_into().unwrap_or_default(),
            field: word("field"),
            rule: word("rule"),
        }
    }

    /// Whether it is of the sort that has this name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.kind.strip_prefix(PROBLEM) == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_as_it_should_be_hides_nothing_else() {
        let strange = json!({ "title": "upstream down", "status": "503", "rule": 7 }).to_string();
        let expected = Problem { title: "upstream down".into(), ..Problem::default() };
        assert_eq!(Problem::read(&strange), expected);
        assert_eq!(Problem::read("no JSON"), Problem::default());
        let ours = Problem::new(409, "conflict", "Conflict");
        assert_eq!(Problem::read(&serde_json::to_string(&ours).unwrap()), ours);
        // Of an older daemon.
        let letter: Letter =
            serde_json::from_value(json!({ "id": "a", "kind": "too_old" })).unwrap();
        assert_eq!((letter.id.as_str(), letter.cause.kind.as_str()), ("a", "too_old"));
    }
}
