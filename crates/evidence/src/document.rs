//! What the document is. How it is made of logs is in `make`.

use serde::Serialize;

use super::log::{Silent, Verdict, Vouched};
use super::trace::EventTrace;

/// Whom or what the document is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A user, by the id.
    User(String),
    /// A session, by the id.
    Session(String),
    /// An event, by its id.
    EventId(String),
}

/// What audit logs prove, and what not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// Version of this form.
    pub format: u32,
    /// The program that made it.
    pub made_by: String,
    /// When.
    pub made_at: String,
    /// Whom or what it is about.
    pub about: About,
    /// What is proven, and what is not, in words.
    pub statement: Statement,
    /// Each event, in the order in which they were first received.
    pub events: Vec<EventTrace>,
    /// Events of the user or session that are left out for want of room.
    pub events_left_out: usize,
    /// The logs that the lines come from.
    pub logs: Vec<Checked>,
    /// Daemons that have said nothing.
    pub silent: Vec<Silent>,
    /// The lines themselves, by daemon and number.
    pub lines: Vec<Shown>,
}

/// What is proven, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// What lines say that are in the part of their log that was checked and holds.
    pub proven: Vec<String>,
    /// What is not proven, or missing: each with why.
    pub not_proven: Vec<String>,
    /// What no such document can prove.
    pub limits: Vec<String>,
}

/// A log, and what was found of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// The daemon that writes it.
    pub daemon: String,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Why it is believed to be this daemon's.
    pub vouched: Vouched,
    /// The pseudonyms of the user or session in it.
    pub pseudonyms: Vec<String>,
    /// What checking the whole of it has found; nothing if it could not be checked.
    pub verdict: Option<Verdict>,
    /// Why it could not be read or checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Lines about it that are not shown, for want of room.
    pub lines_left_out: u64,
    /// Lines that could not be read, and may be about it.
    pub lines_unreadable: u64,
}

/// One line as it stands in its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The daemon.
    pub daemon: String,
    /// Its number.
    pub seq: u64,
    /// Whether it is in the part of the log that was checked and holds.
    pub in_chain: bool,
    /// Its exact bytes.
    pub text: String,
}

impl Document {
    /// Whether any event was found.
    #[must_use]
    pub fn knows_any(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether nothing is missing, and nothing in it is not proven.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.statement.not_proven.is_empty()
    }
}
