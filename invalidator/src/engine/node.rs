//! One Envoy process: where it stands, and what it could not store.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use policy::subject::Subject;

/// Most changes remembered per node that it could not store.
pub(super) const UNSTORED_MAX: usize = 65_536;

/// Why nothing counts as enforced when more was refused than is remembered.
const UNSTORED_UNKNOWN: &str = "too many changes could not be stored";

/// How a node stands to one change of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// It has not acknowledged it yet.
    Pending,
    /// It has it.
    Stored,
    /// It could not store it, for this cause.
    Unstored(&'a str),
}

/// A change that a node could not store.
#[derive(Debug)]
struct Unstored {
    /// Whom it is about; nothing if the log had forgotten.
    subject: Option<Subject>,
    /// Why, in the node's words.
    cause: Box<str>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) applied: u64,
    /// It has had a whole snapshot in this epoch.
    pub(super) synced: bool,
    pub(super) polled_at: Duration,
    pub(super) held: bool,
    pub(super) generation: u64,
    /// Its disappearance has been reported.
    pub(super) reported_gone: bool,
    unstored: BTreeMap<u64, Unstored>,
    /// More was refused than is remembered: nothing counts as enforced.
    unstored_unknown: bool,
    /// When the first of these was refused.
    pub(super) refused_at: Option<Duration>,
    pub(super) route_groups: Vec<String>,
    pub(super) limits: Vec<String>,
    /// The version of the keys that it has.
    pub(super) keys_version: u64,
    /// The version of the keys that it was last sent.
    pub(super) keys_sent: u64,
}

impl Node {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            applied: 0,
            synced: false,
            polled_at: now,
            held: false,
            generation: 0,
            reported_gone: false,
            unstored: BTreeMap::new(),
            unstored_unknown: false,
            refused_at: None,
            route_groups: Vec::new(),
            limits: Vec::new(),
            keys_version: 0,
            keys_sent: 0,
        }
    }

    /// It has to get a snapshot: what it has applied counts no more.
    pub(super) fn start_over(&mut self) {
        self.applied = 0;
        self.synced = false;
        self.unstored.clear();
        self.unstored_unknown = false;
        self.refused_at = None;
    }

    /// How many changes it could not store, as far as remembered.
    pub(super) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    pub(super) fn enforces(&self, sequence: u64) -> bool {
        let is_stored = !self.unstored_unknown && !self.unstored.contains_key(&sequence);
        self.synced && self.applied >= sequence && is_stored
    }

    /// How it stands to the change `sequence` of a subject whose last change is `current`: what it
    /// was sent was the state of some change from the one to the other.
    pub(super) fn standing(&self, subject: &Subject, sequence: u64, current: u64) -> Standing<'_> {
        if !self.synced || self.applied < sequence {
            return Standing::Pending;
        }
        if self.unstored_unknown {
            return Standing::Unstored(UNSTORED_UNKNOWN);
        }
        let mut sent = self.unstored.range(sequence..=current.max(sequence));
        let refused = sent.find(|(_, unstored)| {
            unstored.subject.as_ref().is_none_or(|refused| refused == subject)
        });
        refused.map_or(Standing::Stored, |(_, unstored)| Standing::Unstored(&unstored.cause))
    }

    /// Notes a change that the node could not store.
    pub(super) fn refused(
        &mut self,
        sequence: u64,
        subject: Option<Subject>,
        cause: &str,
        now: Duration,
    ) {
        self.refused_at.get_or_insert(now);
        if self.unstored.len() < UNSTORED_MAX {
            self.unstored.insert(sequence, Unstored { subject, cause: cause.into() });
        } else {
            self.unstored_unknown = true;
        }
    }

    /// Notes that the newest states of these subjects are stored, unless refused after this.
    pub(super) fn stored(&mut self, subjects: &HashSet<&Subject>) {
        self.unstored.retain(|_, unstored| {
            unstored.subject.as_ref().is_none_or(|subject| !subjects.contains(subject))
        });
        if self.unstored.is_empty() && !self.unstored_unknown {
            self.refused_at = None;
        }
    }
}
