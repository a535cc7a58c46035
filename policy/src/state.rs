//! What is known about one subject: blocks, a zero, overrides, and the order in which events win.
//!
//! A [`State`] is a set of registers. Each holds the newest event of one topic: a block of one
//! reason, "everything lifted", a zero, or the override of one limit. Merging keeps the newer event
//! and nothing else decides, so any order of delivery, and any number of repeats, ends in the same
//! state (property-tested in `tests.rs`).
//!
//! Which of two events is newer: events that carry their publisher's `sequence` are ordered by it;
//! events without one by `occurred_at`, then by event id. An operator without sequences can still
//! overrule a publisher with them: each of the two sorts keeps its own newest event of a topic, and
//! the one that occurred later decides.
//!
//! This module does not know where events come from, nor where states are kept.

mod codec;
mod packed;
mod register;

pub use codec::WireError;
pub use packed::PACKED_FORM;
pub use register::{Block, Effect, Override, Register, SCOPE_NAMES_MAX, Scope, Version, Zero};

use std::cmp::Ordering;
use std::time::Duration;

use crate::bucket::Rate;
use crate::name::{EventId, Name};
use crate::time::UnixMicros;

use register::Topic;

/// Most topics kept for one subject: a new one beyond is refused, visibly. Lifting everything does
/// not count as one, and so is possible always.
pub const REGISTERS_MAX: usize = 16;

/// What became of a merged register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is the newest of its topic now.
    Applied,
    /// The very same event is there already.
    Duplicate,
    /// A newer event is there already.
    Stale,
    /// There are [`REGISTERS_MAX`] other topics: nothing has changed, and somebody must be told.
    TooManyTopics,
}

/// Everything known about one subject; see the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Sorted by place, so that equal states are equal values.
    registers: Vec<Register>,
}

impl State {
    /// Takes in one event.
    pub fn merge(&mut self, new: Register) -> Merge {
        if let Some(answer) = self.beaten_by_known(&new) {
            return answer;
        }
        let (_, sort) = new.place();
        let lifts_everything = new.topic() == Topic::Everything;
        if lifts_everything {
            self.registers.retain(|known| {
                !(known.is_liftable()
                    && known.version.sequence.is_some() == sort
                    && known.version.cmp_same_sort(&new.version) == Ordering::Less)
            });
        }
        let position = self.registers.binary_search_by(|known| known.place().cmp(&new.place()));
        match position {
            Ok(at) => {
                if let Some(known) = self.registers.get_mut(at) {
                    *known = new;
                }
            }
            Err(_) if !lifts_everything && self.is_full() => return Merge::TooManyTopics,
            Err(at) => self.registers.insert(at, new),
        }
        Merge::Applied
    }

    fn is_full(&self) -> bool {
        let counts = |known: &&Register| known.topic() != Topic::Everything;
        self.registers.iter().filter(counts).count() >= REGISTERS_MAX
    }

    /// Takes in everything that another state of the same subject knows; says whether that
    /// changed anything, or the refusal if there was one.
    pub fn merge_state(&mut self, other: State) -> Merge {
        let mut answer = Merge::Duplicate;
        for register in other.registers {
            match self.merge(register) {
                Merge::TooManyTopics => answer = Merge::TooManyTopics,
                Merge::Applied if answer != Merge::TooManyTopics => answer = Merge::Applied,
                _ => {}
            }
        }
        answer
    }

    /// `Duplicate` or `Stale` if what is known is the same or newer.
    fn beaten_by_known(&self, new: &Register) -> Option<Merge> {
        let (_, sort) = new.place();
        let known = self.find((new.topic(), sort));
        let lifted = new.is_liftable().then(|| self.find((Topic::Everything, sort))).flatten();
        for known in known.into_iter().chain(lifted) {
            match known.version.cmp_same_sort(&new.version) {
                Ordering::Equal => return Some(Merge::Duplicate),
                Ordering::Greater => return Some(Merge::Stale),
                Ordering::Less => {}
            }
        }
        None
    }

    fn find(&self, place: (Topic<'_>, bool)) -> Option<&Register> {
        self.registers.iter().find(|known| known.place() == place)
    }

    /// The register that decides this one's topic: itself, or one of the other sort (with sequences
    /// or without) that occurred later.
    fn decider<'a>(&'a self, register: &'a Register) -> &'a Register {
        let (topic, sort) = register.place();
        // What the other sort knows of the topic itself is newer than its lifting of everything:
        // merging has seen to that.
        let lifted = || register.is_liftable().then_some((Topic::Everything, !sort));
        let rival =
            self.find((topic, !sort)).or_else(|| lifted().and_then(|place| self.find(place)));
        match rival {
            Some(rival) if rival.version.cmp_occurred(&register.version) == Ordering::Greater => {
                rival
            }
            _ => register,
        }
    }

    /// Everything remembered, also what no longer has an effect.
    #[must_use]
    pub fn registers(&self) -> &[Register] {
        &self.registers
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
    }

    /// The registers that have an effect at `now`.
    pub fn in_effect(&self, now: UnixMicros) -> impl Iterator<Item = &Register> {
        self.registers
            .iter()
            .filter(move |register| register.ends().is_none_or(|end| now < end))
            .filter(|register| std::ptr::eq(self.decider(register), *register))
    }

    /// The blocks in effect at `now`, each with its event.
    pub fn blocks(&self, now: UnixMicros) -> impl Iterator<Item = (&Block, &Version)> {
        self.in_effect(now).filter_map(|register| match &register.effect {
            Effect::Block(block) => Some((block, &register.version)),
            _ => None,
        })
    }

    /// The zeros that may still be felt at `now`: one, or two from publishers of different sorts.
    pub fn zeros(&self, now: UnixMicros) -> impl Iterator<Item = (&Zero, &Version)> {
        self.in_effect(now).filter_map(|register| match &register.effect {
            Effect::Zero(zero) => Some((zero, &register.version)),
            _ => None,
        })
    }

    /// The override of the named limit in effect at `now`, if any.
    #[must_use]
    pub fn rate_for(&self, limit: &Name, now: UnixMicros) -> Option<Rate> {
        self.in_effect(now).find_map(|register| match &register.effect {
            Effect::Override(o) if o.limit == *limit => o.rate,
            _ => None,
        })
    }

    /// Whether something in it happened, and ended, longer than `retention` ago: else
    /// [`State::prune`] would forget nothing.
    #[must_use]
    pub fn has_over(&self, now: UnixMicros, retention: Duration) -> bool {
        let horizon = now.saturating_sub(retention);
        self.registers.iter().any(|register| register.is_over(horizon))
    }

    /// Forgets what happened, and ended, longer than `retention` ago, and what was overruled by it:
    /// that must not come back. What is forgotten can no longer outrank an older event that arrives
    /// later than that. Answers with the events that are forgotten, each with the instant from
    /// which on it may be: somebody with another clock can check that.
    pub fn prune(&mut self, now: UnixMicros, retention: Duration) -> Vec<(EventId, UnixMicros)> {
        if !self.has_over(now, retention) {
            return Vec::new();
        }
        let horizon = now.saturating_sub(retention);
        let is_over = |register: &Register| register.is_over(horizon);
        // What is newer than a lifting of everything of its sort stands before it: without it, the
        // lifting would speak on this topic.
        let is_shield = |register: &Register| {
            let (_, sort) = register.place();
            let lifting = self.find((Topic::Everything, sort));
            register.is_liftable() && lifting.is_some_and(|lifting| !is_over(lifting))
        };
        let stays = |register: &Register| !is_over(register) || is_shield(register);
        let (mut kept, mut forgotten) = (Vec::new(), Vec::new());
        for register in &self.registers {
            let decider = self.decider(register);
            let over = if stays(register) { decider } else { register };
            if stays(over) {
                kept.push(register.clone());
            } else {
                forgotten.push((register.version.event_id.clone(), self.over_at(over, retention)));
            }
        }
        self.registers = kept;
        forgotten
    }

    /// The instant from which on a register that is over may be forgotten: not before the lifting
    /// that it shields its topic from.
    fn over_at(&self, register: &Register, retention: Duration) -> UnixMicros {
        let (_, sort) = register.place();
        let lifting = self.find((Topic::Everything, sort)).filter(|_| register.is_liftable());
        let ends = [Some(register), lifting].into_iter().flatten().map(|register| {
            let end = register.ends().unwrap_or_default().max(register.version.occurred_at);
            end.saturating_add(retention)
        });
        ends.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
