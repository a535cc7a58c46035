//! Events on their way to Redis: those published through the API, and those heard by Pub/Sub that
//! nobody has written yet.
//!
//! What somebody waits for goes first, so that a flood on the channel does not hold up answers; then
//! blocks and zeros, then everything else. When there is no room, something else than a block is left
//! out: it is in our own store, and the comparison of digests will bring it to Redis later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::Now;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use tokio::sync::{Notify, oneshot};

use crate::hub::Replica;

/// Most events that wait or are in flight.
pub(super) const ENTRIES_MAX: usize = 65_536;
/// Most bytes of these.
pub(super) const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It was published here: those who listen have to be told as well.
    Publish,
    /// It was heard by Pub/Sub, and is not in the stream.
    Bare,
    /// Redis has lost it.
    Repair,
}

/// One event that waits to be written.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) event_id: EventId,
    /// The event as it was published.
    pub(super) event: Vec<u8>,
    /// When it was first heard, by Redis's clock.
    pub(super) heard: UnixMicros,
    /// Whether it goes before everything else.
    pub(super) urgent: bool,
    /// Why it is written.
    pub(super) purpose: Purpose,
    /// Where to say that it is written, and under which id.
    pub(super) answer: Option<oneshot::Sender<EventId>>,
}

/// What waits; plain and synchronous.
#[derive(Debug, Default)]
pub(super) struct Queue {
    awaited: VecDeque<Entry>,
    urgent: VecDeque<Entry>,
    rest: VecDeque<Entry>,
    /// Of what waits and what is in flight.
    bytes: usize,
    in_flight: usize,
    left_out: u64,
}

impl Queue {
    /// Puts an event last among its like. Says whether there was room.
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        let len = entry.event.len();
        while !self.has_room(len) {
            let newest = if entry.urgent { self.rest.pop_back() } else { None };
            self.left_out = self.left_out.saturating_add(1);
            match newest {
                Some(newest) => self.bytes = self.bytes.saturating_sub(newest.event.len()),
                None => return false,
            }
        }
        self.bytes = self.bytes.saturating_add(len);
        self.line(&entry).push_back(entry);
        true
    }

    fn has_room(&self, len: usize) -> bool {
        let waiting = self.len().saturating_add(self.in_flight);
        waiting < ENTRIES_MAX && self.bytes.saturating_add(len) <= BYTES_MAX
    }

    fn line(&mut self, entry: &Entry) -> &mut VecDeque<Entry> {
        match (entry.answer.is_some(), entry.urgent) {
            (true, _) => &mut self.awaited,
            (false, true) => &mut self.urgent,
            (false, false) => &mut self.rest,
        }
    }

    fn next(&mut self) -> Option<Entry> {
        let urgent = |queue: &mut Self| queue.urgent.pop_front();
        self.awaited.pop_front().or_else(|| urgent(self)).or_else(|| self.rest.pop_front())
    }

    /// The next events, which are in flight from now on: each ends with [`Queue::written`] or
    /// [`Queue::put_back`].
    pub(super) fn take(&mut self, max: usize) -> Vec<Entry> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(entry) = self.next() else { break };
            self.in_flight = self.in_flight.saturating_add(1);
            taken.push(entry);
        }
        taken
    }

    /// One event in flight is written, or given up.
    pub(super) fn written(&mut self, entry: &Entry) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.event.len());
    }

    /// One event in flight was not written: it is the next one of its like again.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.line(&entry).push_front(entry);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.awaited.len().saturating_add(self.urgent.len()).saturating_add(self.rest.len())
    }

    /// Whether anything waits or is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.len() > 0 || self.in_flight > 0
    }

    /// How many were left out for want of room since the last call.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

/// What [`Outbox::time`] goes by before anything is known of Redis's clock.
const UNKNOWN: i64 = i64::MIN;

/// A [`Queue`] that tasks share.
#[derive(Debug)]
pub(super) struct Outbox {
    open: AtomicBool,
    /// Redis's clock less the time that this daemon has run for; nothing is known of it at first.
    ahead_us: AtomicI64,
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            open: AtomicBool::default(),
            ahead_us: AtomicI64::new(UNKNOWN),
            queue: Mutex::default(),
            filled: Notify::default(),
        }
    }
}

impl Replica for Outbox {
    fn offer(
        &self,
        (subject, event_id): (Subject, EventId),
        (event, heard): (Vec<u8>, UnixMicros),
        urgent: bool,
    ) -> oneshot::Receiver<EventId> {
        let (answer, answered) = oneshot::channel();
        let (purpose, answer) = (Purpose::Publish, Some(answer));
        self.push(Entry { subject, event_id, event, heard, urgent, purpose, answer });
        answered
    }

    /// It goes on with the clock that never jumps: when ours is set, what was heard before was heard
    /// before still.
    fn time(&self, now: Now) -> UnixMicros {
        match self.ahead_us.load(Ordering::Relaxed) {
            UNKNOWN => now.wall,
            ahead_us => UnixMicros(micros(now.mono).saturating_add_signed(ahead_us)),
        }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

impl Outbox {
    pub(super) fn set_ahead_us(&self, ahead_us: i64) {
        self.ahead_us.store(ahead_us, Ordering::Relaxed);
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    pub(super) fn push(&self, entry: Entry) {
        // What is left out is counted in the queue.
        let _ = self.queue().push(entry);
        self.filled.notify_one();
    }

    /// The queue, for as short as possible.
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next events, once there are any.
    pub(super) async fn take(&self, max: usize) -> Vec<Entry> {
        loop {
            let taken = self.queue().take(max);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }
}

/// A span of our steady clock.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(id: usize, urgent: bool, bytes: usize) -> Entry {
        Entry {
            subject: Subject::user("alice").unwrap(),
            event_id: EventId::parse(&format!("evt-{id}")).unwrap(),
            event: vec![b'x'; bytes],
            heard: UnixMicros(0),
            urgent,
            purpose: Purpose::Publish,
            answer: None,
        }
    }

    fn ids(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.event_id.as_str()).collect()
    }

    #[test]
    fn blocks_go_first_and_the_rest_keeps_its_order() {
        let mut queue = Queue::default();
        for (id, urgent) in [(0, false), (1, true), (2, false), (3, true)] {
            assert!(queue.push(entry(id, urgent, 1)));
        }
        let mut first = queue.take(3);
        assert_eq!(ids(&first), ["evt-1", "evt-3", "evt-0"]);
        queue.put_back(first.pop().unwrap());
        queue.put_back(first.pop().unwrap());
        queue.written(&first.pop().unwrap());
        let others = queue.take(9);
        assert_eq!(ids(&others), ["evt-3", "evt-0", "evt-2"]);
        assert!(queue.is_busy(), "in flight");
        others.iter().for_each(|entry| queue.written(entry));
        assert!(!queue.is_busy() && queue.bytes == 0);
    }

    #[test]
    fn what_somebody_waits_for_does_not_wait_behind_a_flood() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|id| assert!(queue.push(entry(id, true, 1))));
        let (answer, _answered) = oneshot::channel();
        assert!(queue.push(Entry { answer: Some(answer), ..entry(5_000, false, 1) }));
        assert_eq!(ids(&queue.take(2)), ["evt-5000", "evt-0"]);
        assert_eq!(queue.len(), 999);
    }

    #[test]
    fn a_block_finds_room_at_the_cost_of_the_newest_of_the_rest() {
        let mut queue = Queue::default();
        let half = BYTES_MAX / 2;
        assert!(queue.push(entry(0, false, half)) && queue.push(entry(1, false, half)));
        assert!(!queue.push(entry(2, false, 1)));
        assert_eq!(queue.take_left_out(), 1);
        assert!(queue.push(entry(3, true, 1)));
        assert_eq!(queue.take_left_out(), 1);
        assert_eq!(ids(&queue.take(9)), ["evt-3", "evt-0"]);
        let mut queue = Queue::default();
        assert!(queue.push(entry(0, true, BYTES_MAX)));
        assert!(!queue.push(entry(1, true, 1)), "blocks do not push out blocks");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            steps in prop::collection::vec((0u8..5, any::<bool>(), 0usize..BYTES_MAX / 3), 0..40),
        ) {
            let mut queue = Queue::default();
            let mut in_flight = Vec::new();
            for (step, urgent, bytes) in steps {
                match step {
                    0 | 1 => drop(queue.push(entry(0, urgent, bytes))),
                    2 => in_flight.extend(queue.take(2)),
                    3 => in_flight.pop().into_iter().for_each(|entry| queue.put_back(entry)),
                    _ => in_flight.pop().iter().for_each(|entry| queue.written(entry)),
                }
                let all = queue.urgent.iter().chain(&queue.rest).chain(&in_flight);
                prop_assert_eq!(queue.bytes, all.map(|entry| entry.event.len()).sum::<usize>());
                prop_assert_eq!(queue.in_flight, in_flight.len());
                prop_assert!(queue.bytes <= BYTES_MAX);
            }
        }
    }
}
