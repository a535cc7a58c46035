//! What is noted in the audit log: plain values, each one line.
//!
//! No field holds a user's or session's id: whom an entry is about is kept apart, and stands in
//! the line as a pseudonym. Texts that others choose are bounded before they get here, or cut.

use events::Event;
use model::state::Effect;
use model::subject::Subject;
use model::time::UnixMicros;
use serde::Serialize;

pub use super::event_text::EventText;
pub use super::fence::{FenceFact, FenceNode};
use super::line::Hash;
pub use super::ordered::{Ordered, RateFact};
pub use super::rejection::RejectionFact;
pub use super::repeats::RepeatsFact;

/// Longest text of somebody else's that stands in a line, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Most names in one list of a line.
const NAMES_MAX: usize = 32;

/// One entry: when, about whom, and what.
#[derive(Debug)]
pub struct Entry {
    /// When it was noted.
    pub at: UnixMicros,
    /// Whom it is about.
    pub about: Option<About>,
    /// What happened.
    pub fact: Fact,
}

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Somebody that an event names: gets a pseudonym if there is none.
    Named(Subject),
    /// Somebody that was looked for: stands there as `unknown` if there is no pseudonym.
    LookedFor(Subject),
}

impl About {
    /// Whom.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        match self {
            Self::Named(subject) | Self::LookedFor(subject) => subject,
        }
    }
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// The daemon has started.
    Start(Start),
    /// The daemon ends in order.
    Stop {},
    /// The first line of every file.
    File(FileStart),
    /// An event was received.
    Event(Box<EventFact>),
    /// Events that changed nothing, beyond those that have lines of their own.
    Repeats(RepeatsFact),
    /// What became of an event at one node.
    Push(PushFact),
    /// A node has rejected the first request because of an event.
    Rejection(RejectionFact),
    /// A node came, caught up, or went.
    Node(NodeFact),
    /// Somebody was told whether all Envoys of the fleet enforce an event.
    Fence(FenceFact),
    /// Somebody used the API.
    Call(CallFact),
    /// Somebody was not let in.
    Denied(DeniedFact),
    /// The keys file was read again.
    Keys(KeysFact),
    /// The configuration was read again.
    Reload(ReloadFact),
    /// A subject's pseudonym was taken away: from this line on it belongs to nobody.
    Erase(EraseFact),
    /// Files past their retention are removed.
    Removed(RemovedFact),
    /// An incomplete last line, of a crash, was cut off.
    Torn {
        /// The file that it stood in.
        file: String,
        /// How long it was.
        bytes: u64,
    },
    /// Lines that the head file names, or that follow a damaged one, are not in the files any more.
    Damaged {
        /// What was found, in words.
        cause: String,
    },
    /// Entries that could not be written.
    Gap {
        /// How many.
        lines: u64,
        /// Why.
        cause: &'static str,
    },
    /// The wall clock jumped.
    Clock {
        /// How far, in milliseconds: forward if positive.
        jump_ms: i64,
    },
}

/// See [`Fact::Start`].
#[derive(Debug, Serialize)]
pub struct Start {
    /// The daemon's version.
    pub version: &'static str,
    /// Random name of this run.
    pub epoch: String,
    /// SHA-256 of the configuration in force, without its secrets.
    pub config: Hash,
}

/// See [`Fact::File`].
#[derive(Debug, Serialize)]
pub struct FileStart {
    /// Version of the format.
    pub format: u32,
    /// What the lines are sealed with.
    pub seal: String,
    /// The file before, if any.
    pub after: Option<String>,
    /// `first`, `size`, `age`, `restart`, `format` or `damaged`.
    pub cause: &'static str,
}

/// See [`Fact::Event`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct EventFact {
    /// The source it came from.
    pub source: &'static str,
    /// `applied`, `duplicate`, `stale`, `no_effect` or `refused`.
    pub result: &'static str,
    /// Of one that was taken in: whether what it says was so at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_effect: Option<bool>,
    /// The ids of the events that overruled it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overruled_by: Vec<String>,
    /// The ids of the events that were in effect until it came, and are not any more.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
    /// Of a refused one: the kind of the rule that it breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventText>,
    /// Its type, in the publisher's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// The reason of a block or of its lifting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<EventText>,
    /// What it asks for in detail.
    #[serde(flatten)]
    pub ordered: Option<Ordered>,
    /// When it occurred, by its publisher's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Who published it, by its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<EventText>,
    /// Its place in its publisher's own order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_sequence: Option<u64>,
    /// Its sequence in this run of the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The inbox that it came out of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// The key that it is signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// What its signature was found to be, if it was looked at: `verified`, `missing`, or what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'static str>,
    /// Its place in the order of events: the instant from which it counted when it was taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts_from: Option<String>,
    /// Whether an operator replayed it from the dead letters.
    pub replayed: bool,
}

impl EventFact {
    /// What an event says about itself.
    #[must_use]
    pub fn of(source: &'static str, event: &Event) -> Self {
        let (action, reason) = match &event.register.effect {
            Effect::Block(block) => ("block", Some(&block.reason)),
            Effect::Lift { reason } => ("unblock", reason.as_ref()),
            Effect::Zero(_) => ("zero", None),
            Effect::Override(_) => ("override", None),
        };
        Self {
            source,
            event_id: Some(event.register.version.event_id.clone().into()),
            event_type: Some(text(&event.event_type)),
            action: Some(action),
            reason: reason.cloned().map(Into::into),
            ordered: Ordered::of(&event.register.effect),
            occurred_at: Some(event.occurred_at.to_string()),
            publisher: event.publisher.clone().map(Into::into),
            publisher_sequence: event.register.version.sequence.map(|sequence| sequence.number),
            ..Self::default()
        }
    }
}

/// See [`Fact::Push`].
#[derive(Debug, Serialize)]
pub struct PushFact {
    /// `enforced`, `refused` (the node could not store it) or `pending` (not yet acknowledged).
    pub result: &'static str,
    /// The node's name.
    pub node: Box<str>,
    /// The life of the node's memory.
    pub boot_id: Box<str>,
    /// The event's sequence in this run of the daemon.
    pub sequence: u64,
    /// The event's id, unless it is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventText>,
    /// Milliseconds since the event was taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// Why it could not be stored, in the node's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// See [`Fact::Node`].
#[derive(Debug, Serialize)]
pub struct NodeFact {
    /// The node's name.
    pub node: Box<str>,
    /// The life of the node's memory.
    pub boot_id: Box<str>,
    /// `started`, `synchronized` (it enforces everything up to `sequence`) or `gone`.
    pub state: &'static str,
    /// The newest sequence that it has applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// See [`Fact::Call`].
#[derive(Clone, Debug, Serialize)]
pub struct CallFact {
    /// Who: the name that goes with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// As what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// The HTTP method.
    pub method: String,
    /// The resource, with a placeholder for an id.
    pub resource: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The event that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventText>,
    /// The events that it is about, if it may be about several.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub event_ids: Vec<String>,
    /// What else the caller says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// See [`Fact::Denied`].
#[derive(Debug, Serialize)]
pub struct DeniedFact {
    /// The HTTP method.
    pub method: String,
    /// The resource, with a placeholder for an id.
    pub resource: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The name that goes with the credentials, if they are good but not for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Its role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// How many more such attempts have not been noted since the last one that was.
    pub left_out: u64,
}

/// See [`Fact::Keys`].
#[derive(Debug, Serialize)]
pub struct KeysFact {
    /// The field of the configuration that names the file.
    pub file: &'static str,
    /// `loaded` or `failed`.
    pub result: &'static str,
    /// How many keys are in force now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Whether they are others than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
}

/// See [`Fact::Reload`].
#[derive(Debug, Default, Serialize)]
pub struct ReloadFact {
    /// `loaded` or `failed`.
    pub result: &'static str,
    /// The fields that have changed; of a failed attempt those that break a rule.
    #[serde(serialize_with = "names")]
    pub fields: Vec<String>,
    /// The fields that differ and wait for a restart.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// How many tokens and certificates let somebody in now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callers: Option<usize>,
    /// SHA-256 of the configuration as it was read, without its secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Hash>,
}

/// As many names as a line has room for.
fn names<S: serde::Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().take(NAMES_MAX).map(|name| text(name)))
}

/// See [`Fact::Erase`].
#[derive(Debug, Serialize)]
pub struct EraseFact {
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The pseudonym that belongs to nobody now; nothing if there was none.
    pub pseudonym: Option<String>,
    /// All of them, if there were several.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub pseudonyms: Vec<String>,
    /// Dead letters that were removed.
    pub dead_letters: u64,
}

/// See [`Fact::Removed`].
#[derive(Debug, Serialize)]
pub struct RemovedFact {
    /// The files.
    pub files: Vec<String>,
    /// How many there are: more than are named, if there are many.
    pub count: usize,
    /// Number of the last line in them.
    pub through: u64,
    /// Hash of that line.
    pub through_hash: Hash,
}

/// Somebody else's text, cut to what a line has room for.
#[must_use]
pub fn text(text: &str) -> String {
    let fits = |(at, c): &(usize, char)| at.saturating_add(c.len_utf8()) <= TEXT_BYTES_MAX;
    text.char_indices().take_while(fits).map(|(_, c)| c).collect()
}
