//! What the API is asked and what it answers, as JSON: one set of types, which the server writes and the command line
//! reads, and the other way round. Plain data: no rule is checked here.
//!
//! The two may be of different versions. So a reader leaves out what it does not know, and what an older server
//! does not say has a default. The status is not here: each part of the daemon says its own, and people read it.

mod dead_letters;
mod fleet;
mod published;
mod subject;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use dead_letters::{Cause, Content, Letter, Page, ReplayOrder, ReplayTry, Replayed, Results};
pub use fleet::{
    DaemonState, EnforcedBy, Envoy, Everywhere, Fleet, FleetDaemon, Missing, Reason, Registration,
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

    /// Whether it is of the sort that has this name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.kind.strip_prefix(PROBLEM) == Some(name)
    }
}
