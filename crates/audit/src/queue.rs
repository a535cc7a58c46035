//! What waits to be written: bounded, and never in anybody's way. When it is full, entries are
//! lost and counted, and a line in their place says how many.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::subject::Subject;
use model::time::UnixMicros;
use system::wall_clock;
use tokio::sync::oneshot;

use super::entry::{About, Entry, Fact};
use super::pseudonyms::UNKNOWN;

/// Most entries that wait: half a minute of a flood of 100,000 events a minute.
pub const QUEUE_ENTRIES_MAX: usize = 65_536;

/// What the writer has to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Write an entry.
    Note(Box<Entry>),
    /// Take a subject's pseudonym away.
    Erase(Erasure),
    /// Say something that needs a subject's pseudonym.
    Tell(Telling),
}

/// Somebody's pseudonym is waited for; without one, it is said that it is unknown.
pub(super) struct Telling {
    pub(super) about: About,
    say: Option<Say>,
}

/// Is given the pseudonym.
type Say = Box<dyn FnOnce(&str) + Send>;

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").finish_non_exhaustive()
    }
}

impl Telling {
    pub(super) fn new(subject: Subject, say: impl FnOnce(&str) + Send + 'static) -> Self {
        Self { about: About::LookedFor(subject), say: Some(Box::new(say)) }
    }

    pub(super) fn say(mut self, name: &str) {
        if let Some(say) = self.say.take() {
            say(name);
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(say) = self.say.take() {
            say(UNKNOWN);
        }
    }
}

/// A subject to be erased, and who waits for it.
#[derive(Debug)]
pub(super) struct Erasure {
    pub(super) at: UnixMicros,
    pub(super) subject: Subject,
    pub(super) caller: Option<String>,
    pub(super) dead_letters: u64,
    pub(super) done: oneshot::Sender<Result<Option<String>, String>>,
}

/// A place in the queue: everything up to it was accepted before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

#[derive(Debug, Default)]
struct Waiting {
    work: VecDeque<Work>,
    /// Everything that was ever accepted.
    accepted: u64,
    /// Entries lost since the last one that was accepted.
    lost: u64,
    is_closed: bool,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    entries_max: usize,
}

impl Waiting {
    fn accept(&mut self, work: Work) -> Ticket {
        self.work.push_back(work);
        self.accepted = self.accepted.saturating_add(1);
        Ticket(self.accepted)
    }

    /// A line in the place of what was lost.
    fn fill_gap(&mut self, at: UnixMicros) {
        if self.lost > 0 {
            let lines = std::mem::take(&mut self.lost);
            let fact = Fact::Gap { lines, cause: "the queue was full" };
            self.accept(Work::Note(Box::new(Entry { at, about: None, fact })));
        }
    }
}

impl Queue {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { waiting: Mutex::default(), arrived: Condvar::new(), entries_max }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts work, and gives its place; nothing if there is no room.
    pub(super) fn push(&self, work: impl FnOnce(UnixMicros) -> Work) -> Option<Ticket> {
        let mut waiting = self.lock();
        // Read under the lock, so that lines stand in the order of their times.
        let at = wall_clock();
        // A gap needs a place of its own.
        if waiting.is_closed || waiting.work.len().saturating_add(2) > self.entries_max {
            waiting.lost = waiting.lost.saturating_add(1);
            return None;
        }
        waiting.fill_gap(at);
        let ticket = waiting.accept(work(at));
        drop(waiting);
        self.arrived.notify_one();
        Some(ticket)
    }

    /// Accepts something that the writer itself has to say; it is not lost if there is no room, and
    /// is to be said again.
    pub(super) fn push_fact(&self, fact: Fact) -> bool {
        let mut waiting = self.lock();
        if waiting.work.len().saturating_add(2) > self.entries_max {
            return false;
        }
        let at = wall_clock();
        waiting.fill_gap(at);
        waiting.accept(Work::Note(Box::new(Entry { at, about: None, fact })));
        true
    }

    /// Accepts what is said once a pseudonym is known. It is no entry: if there is no room, it is
    /// said without.
    pub(super) fn tell(&self, telling: Telling) {
        let mut waiting = self.lock();
        if waiting.is_closed || waiting.work.len().saturating_add(2) > self.entries_max {
            drop(waiting);
            drop(telling);
            return;
        }
        waiting.work.push_back(Work::Tell(telling));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// What has been waiting longest, at most so much; waits for it for at most so long.
    pub(super) fn take(&self, count_max: usize, patience: Duration) -> Vec<Work> {
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| waiting.work.is_empty() && !waiting.is_closed;
        let waited = self.arrived.wait_timeout_while(waiting, patience, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if waiting.work.is_empty() {
            waiting.fill_gap(wall_clock());
        }
        let count = waiting.work.len().min(count_max);
        waiting.work.drain(..count).collect()
    }

    /// How much waits, and how much was accepted.
    pub(super) fn length(&self) -> (usize, Ticket) {
        let waiting = self.lock();
        (waiting.work.len(), Ticket(waiting.accepted))
    }

    /// Accepts nothing more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    /// Whether it accepts nothing more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Whether it is closed, and empty.
    pub(super) fn is_done(&self) -> bool {
        let waiting = self.lock();
        waiting.is_closed && waiting.work.is_empty() && waiting.lost == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(at: UnixMicros) -> Work {
        Work::Note(Box::new(Entry { at, about: None, fact: Fact::Stop {} }))
    }

    fn gaps(work: &[Work]) -> Vec<Option<u64>> {
        let lines = |work: &Work| match work {
            Work::Note(entry) => match entry.fact {
                Fact::Gap { lines, .. } => Some(lines),
                _ => None,
            },
            _ => None,
        };
        work.iter().map(lines).collect()
    }

    #[test]
    fn what_does_not_fit_is_counted_and_named_where_it_is_missing() {
        let queue = Queue::new(4);
        let accepted = (0..6).filter(|_| queue.push(stop).is_some()).count();
        assert_eq!(accepted, 3);
        assert_eq!(gaps(&queue.take(2, Duration::ZERO)), [None, None]);
        assert_eq!(queue.push(stop), Some(Ticket(5)));
        assert_eq!(gaps(&queue.take(9, Duration::ZERO)), [None, Some(3), None]);
        assert!(queue.take(9, Duration::ZERO).is_empty());
    }

    #[test]
    fn a_gap_at_the_end_is_named_without_another_entry() {
        let queue = Queue::new(2);
        assert_eq!((0..3).filter(|_| queue.push(stop).is_some()).count(), 1);
        assert_eq!(gaps(&queue.take(9, Duration::ZERO)), [None]);
        queue.close();
        assert!(!queue.is_done());
        assert_eq!(gaps(&queue.take(9, Duration::ZERO)), [Some(2)]);
        assert!(queue.is_done());
    }

    #[test]
    fn what_finds_no_room_or_no_writer_is_said_without_a_name() {
        let said = std::sync::Arc::new(Mutex::new(Vec::new()));
        let telling = || {
            let to = std::sync::Arc::clone(&said);
            let say = move |name: &str| to.lock().unwrap().push(name.to_owned());
            Telling::new(Subject::user("alice").unwrap(), say)
        };
        let queue = Queue::new(3);
        queue.tell(telling());
        assert!(said.lock().unwrap().is_empty(), "it waits");
        assert!(queue.push(stop).is_some());
        queue.tell(telling());
        assert_eq!(*said.lock().unwrap(), [UNKNOWN], "there is no room for it");
        drop(queue);
        assert_eq!(*said.lock().unwrap(), [UNKNOWN, UNKNOWN], "and nobody takes it out");
        telling().say("p0");
        assert_eq!(said.lock().unwrap().last().unwrap(), "p0");
    }
}
