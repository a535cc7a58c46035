//! The log of changes: which subject each sequence is about, for nodes that are a little behind.
//!
//! It does not hold states: a node always gets a subject's current one.

use std::collections::VecDeque;
use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;

/// One change.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    /// The event that made it.
    pub(super) event_id: EventId,
    /// When it was taken in, on the monotonic clock.
    pub(super) at: Duration,
}

/// The last changes, at most a given number, numbered without a gap. The first sequence is 1.
#[derive(Debug)]
pub(super) struct SequenceLog {
    entries: VecDeque<Entry>,
    /// Those of them that cannot wait for their turn, in order.
    urgent: VecDeque<u64>,
    /// The sequence of the newest change; 0 before the first.
    last: u64,
    entries_max: usize,
}

impl SequenceLog {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::new(), urgent: VecDeque::new(), last: 0, entries_max }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Adds the next change, and forgets the oldest if there are too many.
    pub(super) fn push(
        &mut self,
        subject: Subject,
        event_id: EventId,
        at: Duration,
        is_urgent: bool,
    ) {
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { subject, event_id, at });
        self.last = self.last.saturating_add(1);
        if is_urgent {
            self.urgent.push_back(self.last);
        }
        let forgotten = self.forgotten();
        while self.urgent.front().is_some_and(|oldest| *oldest <= forgotten) {
            self.urgent.pop_front();
        }
    }

    /// The sequence of the newest change that is forgotten; 0 if none is.
    pub(super) fn forgotten(&self) -> u64 {
        self.last.saturating_sub(u64::try_from(self.entries.len()).unwrap_or(u64::MAX))
    }

    /// The changes after a sequence, oldest first; nothing if some of them are forgotten.
    pub(super) fn after(&self, sequence: u64) -> Option<impl Iterator<Item = (u64, &Entry)>> {
        let lacking = usize::try_from(self.last.checked_sub(sequence)?).ok()?;
        let skip = self.entries.len().checked_sub(lacking)?;
        Some(sequence.saturating_add(1)..).map(|from| from.zip(self.entries.iter().skip(skip)))
    }

    /// A change, unless it is forgotten.
    pub(super) fn get(&self, sequence: u64) -> Option<&Entry> {
        let (found, entry) = self.after(sequence.checked_sub(1)?)?.next()?;
        (found == sequence).then_some(entry)
    }

    /// The urgent changes after a sequence that are not forgotten, oldest first.
    pub(super) fn urgent_after(&self, sequence: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let skip = self.urgent.partition_point(|at| *at <= sequence);
        self.urgent.iter().skip(skip).filter_map(|at| Some((*at, self.get(*at)?)))
    }

    /// Whether a change is urgent; one that is forgotten is not.
    pub(super) fn is_urgent(&self, sequence: u64) -> bool {
        self.urgent.binary_search(&sequence).is_ok()
    }

    /// The sequence after which there are at most so many urgent changes.
    pub(super) fn before_last_urgent(&self, count: usize) -> u64 {
        let skip = self.urgent.len().saturating_sub(count);
        self.urgent.get(skip).map_or(self.last, |first| first.saturating_sub(1))
    }
}
