//! What goes into the engine and what comes out of it.

use std::time::Duration;

use model::name::EventId;
use model::push::Refusal;
use model::state::{Register, State, Version};
use model::subject::Subject;
use model::time::UnixMicros;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::warnings::named;
use super::{Answer, BatchBounds, Change, FleetProgress, NodeKey, Source, Ticket};
use crate::Limits;

/// Both clocks, read once by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time of events and expiries.
    pub wall: UnixMicros,
    /// Time since the daemon's start, on a clock that never goes back.
    pub mono: Duration,
}

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Random name of this run.
    pub epoch: String,
    /// Bounds of what is kept.
    pub limits: Limits,
    /// Bounds of one batch.
    pub batch: BatchBounds,
    /// How long after its last poll a node counts as connected.
    pub connected_for: Duration,
    /// How many states each node is asked to check in a second; 0 for none.
    pub scrub: u32,
    /// The sources that feed this engine.
    pub sources: Vec<Source>,
}

/// Why an event that is valid by itself was not taken in.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IngestError {
    /// As many subjects as configured have a state that still matters.
    #[error("limits.subjects_max: no room for another user or session")]
    SubjectsFull,
    /// The subject has the most blocks, overrides and lifts that one subject can have.
    #[error("key: this user or session has too many different blocks and overrides")]
    TooManyTopics,
    /// Another event about the subject has this id.
    #[error("event_id: is that of another event about this user or session, with other content")]
    IdTaken,
    /// One caller publishes too often about one subject.
    #[error("key: events about this user or session come too often from this caller")]
    TooOften,
}

impl IngestError {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SubjectsFull, Self::TooManyTopics, Self::IdTaken, Self::TooOften];

    /// The kind as a metric label.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::SubjectsFull => "subjects_full",
            Self::TooManyTopics => "too_many_topics",
            Self::IdTaken => "conflict",
            Self::TooOften => "too_often",
        }
    }
}

/// What became of an event that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, and what it says is so from now on.
    Applied,
    /// It was known; whether it is in effect is said beside.
    Duplicate,
    /// It is new here, and a newer event overrules it: what it says is not so.
    Stale,
    /// It is new, nothing overrules it, and it changes nothing: it has ended already, or was to end
    /// what is not there.
    NoEffect,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Applied, Self::Duplicate, Self::Stale, Self::NoEffect];

    /// As the API and the metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::NoEffect => "no_effect",
        }
    }
}

/// An event that overrules another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overruling {
    /// Its id.
    pub event_id: String,
    /// What it does, in words.
    pub what: String,
    /// The instant from which it counts.
    pub at: String,
    /// Its publisher's number, if it counts by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

impl Overruling {
    pub(super) fn of(register: &Register) -> Self {
        let Version { event_id, at, sequence } = &register.version;
        Self {
            event_id: event_id.to_string(),
            what: named(&register.effect),
            at: at.to_string(),
            sequence: sequence.map(|sequence| sequence.number),
        }
    }
}

/// An event taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// The id under which it counts: its own, unless that was another publisher's.
    pub event_id: EventId,
    /// It, as it counts.
    pub register: Register,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether what it says is so at this moment, by all that is known here. Whether nodes enforce
    /// it is another question.
    pub in_effect: bool,
    /// What overrules it, if anything does.
    pub overruled_by: Vec<Overruling>,
    /// Whether it is part of its subject's state: what is not need not be kept anywhere.
    pub is_kept: bool,
    /// Nodes that have applied this sequence know the subject's state with this event in it.
    pub sequence: u64,
    /// How many names in it no connected node knows.
    pub unknown_names: u64,
    /// Connected nodes that store it and do nothing about it, and why.
    pub idle: Vec<(NodeKey, &'static str)>,
    /// What its publisher should know, in words.
    pub warnings: Vec<String>,
    /// Events of its subject that count from a later instant than before, or are in force again, since
    /// this one has found its place.
    pub restamped: Vec<(EventId, UnixMicros)>,
    /// Events of its subject that no longer count: overtaken by this one, or over for long. No
    /// more of them than a state has registers.
    pub forgotten: Vec<Forgotten>,
}

/// An event that is not part of its subject's state any more, and need not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Whom it was about.
    pub subject: Subject,
    /// Its id.
    pub event_id: EventId,
    /// When it may be forgotten: at once (0) if it was overtaken, else once it is over for long.
    /// Whoever has another clock can check that.
    pub not_before: UnixMicros,
}

/// What [`super::Engine::sweep`] has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Nodes that have stopped polling since the last call.
    pub gone: Vec<NodeKey>,
    /// Events that are over for long.
    pub forgotten: Vec<Forgotten>,
}

/// A poll taken in: the answer, and what the shell should count.
#[derive(Debug)]
pub struct Polled {
    /// To ask again with, while the poll is held.
    pub ticket: Ticket,
    /// What to answer.
    pub answer: Answer,
    /// An older poll of the same node is still held, and has to be answered.
    pub superseded: bool,
    /// What has changed for the node, if anything.
    pub progress: Option<Progress>,
    /// The node has other keys than at its poll before: of this version.
    pub keys_taken: Option<u64>,
    /// Each change that this poll acknowledges.
    pub acknowledged: Vec<Change>,
    /// What the node could not store, unless it has said so before.
    pub refused: Vec<Refusal>,
    /// How many states the node has found missing in its memory, and put back.
    pub repaired: u64,
    /// What has changed in how the node stands to limits that hold for the whole fleet.
    pub fleet: FleetProgress,
}

/// A step in a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It begins with a snapshot.
    Started,
    /// It has had the whole snapshot.
    Synchronized,
}

/// The state of one subject, for the API.
#[derive(Debug)]
pub struct View {
    /// Everything known.
    pub state: State,
    /// The sequence of its last change.
    pub sequence: u64,
    /// Each connected node, and whether it enforces this state.
    pub nodes: Vec<(NodeKey, bool)>,
}
