//! What the tests of several crates build on: clocks, shared memory in a map, and short names.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "only tests use it")]

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use crate::memory::{Mark, MemoryKey, Mismatch, SharedMemory};
use crate::name::{EventId, Name};
use crate::push;
use crate::state::{Block, Effect, Register, Scope, State, Version, Zero};
use crate::subject::Subject;
use crate::time::{Clock, MonotonicNanos, UnixMicros};

/// When every test begins, on the clock of buckets, in seconds: the machine has been up for a
/// while.
pub const UP_S: u64 = 100_000;

/// When every test begins, on the clock of expiries, in seconds.
pub const EPOCH_S: u64 = 1_800_000_000;

/// Two clocks that move together, and only when told to.
#[derive(Debug, Default)]
pub struct Time(pub Cell<Duration>);

impl Time {
    /// Lets so much time pass.
    pub fn pass(&self, span: Duration) {
        self.0.set(self.0.get() + span);
    }
}

impl Clock for Time {
    fn monotonic(&self) -> MonotonicNanos {
        u64::try_from((Duration::from_secs(UP_S) + self.0.get()).as_nanos()).unwrap()
    }

    fn wall(&self) -> UnixMicros {
        at(0).saturating_add(self.0.get())
    }
}

/// So many seconds after the beginning of the test, or before.
#[must_use]
pub fn at(seconds: i64) -> UnixMicros {
    UnixMicros(EPOCH_S.checked_add_signed(seconds).unwrap() * 1_000_000)
}

/// The name of this text.
#[must_use]
pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The user of this id.
#[must_use]
pub fn user(id: &str) -> Subject {
    Subject::user(id).unwrap()
}

/// An event of this id, so many seconds after the beginning of the test, without a sequence.
#[must_use]
pub fn event(id: &str, occurred_s: i64, effect: Effect) -> Register {
    let event_id = EventId::parse(id).unwrap();
    Register { version: Version { sequence: None, at: at(occurred_s), event_id }, effect }
}

/// A block of every request, until it is lifted.
#[must_use]
pub fn block(reason: &str) -> Block {
    Block { reason: name(reason), scope: Scope::All, until: None, disclose: false }
}

/// A zero of every request at the beginning.
#[must_use]
pub fn zero() -> Zero {
    Zero { scope: Scope::All, at: at(0), until: None }
}

/// A lift of this reason, or of everything.
#[must_use]
pub fn lift(reason: Option<&str>) -> Effect {
    Effect::Lift { reason: reason.map(name) }
}

/// The scope of these route groups.
#[must_use]
pub fn scope(groups: &[&str]) -> Scope {
    Scope::of(groups.iter().map(|group| name(group)).collect())
}

/// The state that merging these makes.
#[must_use]
pub fn state(registers: impl IntoIterator<Item = Register>) -> State {
    let mut state = State::default();
    for register in registers {
        state.merge(register);
    }
    state
}

/// A state as the daemon sends it.
#[must_use]
pub fn change(sequence: u64, subject: &Subject, state: &State) -> push::Change {
    let (subject, state) = (Some(subject.into()), Some(state.into()));
    push::Change { sequence, subject, state, packed: Vec::new() }
}

/// Another worker, which gets in before a write.
pub type Intruder = Box<dyn FnMut(&mut HashMap<MemoryKey, (Vec<u8>, u32)>)>;

/// Shared memory in a map, which can let another worker in between a read and a write.
#[derive(Default)]
pub struct Memory {
    /// What is there, each with its mark.
    pub values: HashMap<MemoryKey, (Vec<u8>, u32)>,
    /// The mark that was given last.
    pub next: u32,
    /// This many of the next writes meet another writer.
    pub lose_next: u32,
    /// Gets in before the next write, once.
    pub intruder: Option<Intruder>,
}

impl SharedMemory for Memory {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        match self.values.get(&key) {
            Some((value, mark)) => (Some(value.clone()), Mark::Present(*mark)),
            None => (None, Mark::Absent),
        }
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        if self.lose_next > 0 {
            self.lose_next -= 1;
            return Err(Mismatch);
        }
        if let Some(mut intruder) = self.intruder.take() {
            intruder(&mut self.values);
        }
        let current = match self.values.get(&key) {
            Some((_, mark)) => Mark::Present(*mark),
            None => Mark::Absent,
        };
        if current != mark {
            return Err(Mismatch);
        }
        self.next += 1;
        self.values.insert(key, (value.to_vec(), self.next));
        Ok(())
    }
}
