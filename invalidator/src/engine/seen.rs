//! The last events, to answer a repeated one without merging it again.
//!
//! It is a shortcut, not what makes repeats harmless: that is the order of events. An id counts for
//! its subject only: a publisher that reuses one must not lose an event about somebody else.

use std::collections::{HashMap, VecDeque};

use policy::name::EventId;
use policy::subject::Subject;

/// What tells events apart.
pub(super) type Identity = (Subject, EventId);

/// At most a given number of events, each with the sequence that covers it.
#[derive(Debug)]
pub(super) struct SeenEvents {
    sequences: HashMap<Identity, u64>,
    oldest_first: VecDeque<Identity>,
    events_max: usize,
}

impl SeenEvents {
    pub(super) fn new(events_max: usize) -> Self {
        Self { sequences: HashMap::new(), oldest_first: VecDeque::new(), events_max }
    }

    pub(super) fn sequence_of(&self, event: &Identity) -> Option<u64> {
        self.sequences.get(event).copied()
    }

    pub(super) fn insert(&mut self, event: Identity, sequence: u64) {
        if self.oldest_first.len() >= self.events_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.sequences.remove(&oldest);
        }
        if self.sequences.insert(event.clone(), sequence).is_none() {
            self.oldest_first.push_back(event);
        }
    }
}
