//! The ids of the last events, to answer a repeated one without merging it again.
//!
//! It is a shortcut, not what makes repeats harmless: that is the order of events.

use std::collections::{HashMap, VecDeque};

use policy::name::EventId;

/// At most a given number of event ids, each with the sequence that covers it.
#[derive(Debug)]
pub(super) struct SeenEvents {
    sequences: HashMap<EventId, u64>,
    oldest_first: VecDeque<EventId>,
    ids_max: usize,
}

impl SeenEvents {
    pub(super) fn new(ids_max: usize) -> Self {
        Self { sequences: HashMap::new(), oldest_first: VecDeque::new(), ids_max }
    }

    pub(super) fn sequence_of(&self, id: &EventId) -> Option<u64> {
        self.sequences.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: EventId, sequence: u64) {
        if self.oldest_first.len() >= self.ids_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.sequences.remove(&oldest);
        }
        if self.sequences.insert(id.clone(), sequence).is_none() {
            self.oldest_first.push_back(id);
        }
    }
}
