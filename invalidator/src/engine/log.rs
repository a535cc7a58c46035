//! The log of changes: which subject each sequence is about, for nodes that are a little behind.
//!
//! It does not hold states: a node always gets a subject's current one.

use std::collections::VecDeque;
use std::time::Duration;

use policy::subject::Subject;

/// One change.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    /// When it was taken in, on the monotonic clock.
    pub(super) at: Duration,
}

/// The last changes, at most a given number, numbered without a gap. The first sequence is 1.
#[derive(Debug)]
pub(super) struct SequenceLog {
    entries: VecDeque<Entry>,
    /// The sequence of the newest change; 0 before the first.
    last: u64,
    entries_max: usize,
}

impl SequenceLog {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::new(), last: 0, entries_max }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds the next change, and forgets the oldest if there are too many.
    pub(super) fn push(&mut self, subject: Subject, at: Duration) {
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { subject, at });
        self.last = self.last.saturating_add(1);
    }

    /// The changes after a sequence, oldest first; nothing if some of them are forgotten.
    pub(super) fn after(&self, sequence: u64) -> Option<impl Iterator<Item = (u64, &Entry)>> {
        let lacking = usize::try_from(self.last.checked_sub(sequence)?).ok()?;
        let skip = self.entries.len().checked_sub(lacking)?;
        Some(sequence.saturating_add(1)..).map(|from| from.zip(self.entries.iter().skip(skip)))
    }

    /// Whom a change is about, unless it is forgotten.
    pub(super) fn subject_of(&self, sequence: u64) -> Option<&Subject> {
        let (found, entry) = self.after(sequence.checked_sub(1)?)?.next()?;
        (found == sequence).then_some(&entry.subject)
    }
}
