//! Who has room: subjects for whom something holds, such as a block, and subjects of whom only
//! something is remembered, such as an unblock that came before its block.
//!
//! Each has room of its own. Otherwise whoever unblocks a thousand unknown users would keep a block
//! out. What is only remembered is forgotten, the oldest first.

use std::collections::VecDeque;

use model::state::State;
use model::subject::Subject;

/// Fewest idle subjects that are remembered.
const IDLE_MIN: usize = 1_000;
/// For so many subjects for whom something holds, one idle one is remembered.
const HOLDING_PER_IDLE: usize = 4;

/// Counts both sorts.
#[derive(Debug)]
pub(super) struct Room {
    holding_max: usize,
    idle_max: usize,
    holding: usize,
    idle: usize,
    /// Idle subjects in the order in which they last became so, each with its sequence of then; also
    /// some that have changed since.
    oldest_first: VecDeque<(Subject, u64)>,
}

impl Room {
    pub(super) fn new(subjects_max: usize) -> Self {
        Self {
            holding_max: subjects_max,
            idle_max: (subjects_max / HOLDING_PER_IDLE).max(IDLE_MIN),
            holding: 0,
            idle: 0,
            oldest_first: VecDeque::new(),
        }
    }

    /// Whether one more subject may hold something.
    pub(super) fn is_left(&self) -> bool {
        self.holding < self.holding_max
    }

    /// How many subjects hold something.
    pub(super) fn holding(&self) -> usize {
        self.holding
    }

    /// Notes how a subject stands now, and stood before; its sequence is that of now.
    pub(super) fn changed(
        &mut self,
        before: Option<Standing>,
        after: Option<Standing>,
        (subject, sequence): (&Subject, u64),
    ) {
        match before {
            Some(Standing::Holding) => self.holding = self.holding.saturating_sub(1),
            Some(Standing::Idle) => self.idle = self.idle.saturating_sub(1),
            None => {}
        }
        match after {
            Some(Standing::Holding) => self.holding = self.holding.saturating_add(1),
            Some(Standing::Idle) => {
                self.idle = self.idle.saturating_add(1);
                self.oldest_first.push_back((subject.clone(), sequence));
            }
            None => {}
        }
    }

    /// The idle subject to forget, if there are too many; `is_idle` says whether it still is what it
    /// was at that sequence.
    pub(super) fn next_forgotten(
        &mut self,
        is_idle: impl Fn(&Subject, u64) -> bool,
    ) -> Option<Subject> {
        if self.oldest_first.len() > self.idle_max.saturating_mul(2) {
            self.oldest_first.retain(|(subject, sequence)| is_idle(subject, *sequence));
        }
        while self.idle > self.idle_max {
            let (subject, sequence) = self.oldest_first.pop_front()?;
            if is_idle(&subject, sequence) {
                return Some(subject);
            }
        }
        None
    }
}

/// How a subject with a state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Holding,
    Idle,
}

impl Standing {
    /// None without a state.
    pub(super) fn of(state: &State) -> Option<Self> {
        let holds = state.registers().iter().any(model::state::Register::holds);
        match (state.is_empty(), holds) {
            (true, _) => None,
            (false, true) => Some(Self::Holding),
            (false, false) => Some(Self::Idle),
        }
    }
}
