//! What is known about one subject: blocks, a zero, overrides, and the order in which events win.
//!
//! A [`State`] is a set of registers. Each holds the newest event of one topic and lane. The topic is
//! a block of one reason, "everything lifted", a zero, or the override of one limit. A lane is one
//! publisher's numbered events; all events without a number share another.
//!
//! Within a lane the publisher's number decides, or, without numbers, the order in which events were
//! first heard. Between lanes that order decides as well: whatever the clocks of two publishers say,
//! the one heard last has the last word. When an event was heard is part of it ([`Version::at`]) and the
//! same for everybody, so merging is commutative, associative and idempotent (property-tested in `tests/`).
//!
//! This module does not know where events come from, nor where states are kept.

mod codec;
mod packed;
mod register;
mod room;

pub use packed::PACKED_FORM;
pub use register::{
    Block, CLOCK_ERROR_MAX, Effect, Lane, Override, Register, SCOPE_NAMES_MAX, Scope, Sequence,
    Version, Zero,
};
pub use room::{BLOCKS_MAX, IDLE_MAX, LANES_MAX, OVERRIDES_MAX, REGISTERS_MAX};

use std::cmp::Ordering;

use crate::bucket::Rate;
use crate::name::Name;
use crate::time::UnixMicros;
use register::Topic;

/// What became of a merged register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is the newest of its topic now.
    Applied,
    /// The very same event is there already.
    Duplicate,
    /// A newer event is there already.
    Stale,
    /// As many other blocks, or overrides, as there may be: nothing has changed, and somebody must
    /// be told.
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
        let new = self.in_its_lane(new);
        if let Some(answer) = self.beaten_by_known(&new) {
            return answer;
        }
        if !self.has_room_for(&new) {
            return Merge::TooManyTopics;
        }
        self.insert(new);
        self.forget_idle();
        Merge::Applied
    }

    /// Takes in everything that another state of the same subject knows; says whether that
    /// changed anything, or that there is no room for all of it: then nothing has changed.
    pub fn merge_state(&mut self, other: State) -> Merge {
        let mut merged = self.clone();
        let mut answer = Merge::Duplicate;
        for register in &other.registers {
            if merged.take_in(register.clone()) == Merge::Applied {
                answer = Merge::Applied;
            }
        }
        merged.forget_idle();
        merged.forget_ended(&other);
        if answer == Merge::Applied && !merged.is_within_bounds() {
            return Merge::TooManyTopics;
        }
        if answer == Merge::Applied {
            *self = merged;
        }
        answer
    }

    /// The state of these registers, whatever their order; none if there are more than may be.
    fn of(registers: impl IntoIterator<Item = Register>) -> Option<Self> {
        let mut state = Self::default();
        for register in registers {
            state.take_in(register);
            if state.registers.len() > REGISTERS_MAX {
                return None;
            }
        }
        Some(state)
    }

    /// Takes in one event of several that belong together: room is looked for after the last.
    fn take_in(&mut self, new: Register) -> Merge {
        let new = self.in_its_lane(new);
        if let Some(answer) = self.beaten_by_known(&new) {
            return answer;
        }
        self.insert(new);
        Merge::Applied
    }

    fn insert(&mut self, new: Register) {
        if new.topic() == Topic::Everything {
            self.registers.retain(|known| {
                !(known.is_liftable()
                    && known.lane() == new.lane()
                    && known.cmp_in_lane(&new) == Ordering::Less)
            });
        }
        match self.registers.binary_search_by(|known| known.place().cmp(&new.place())) {
            Ok(at) => {
                if let Some(known) = self.registers.get_mut(at) {
                    *known = new;
                }
            }
            Err(at) => self.registers.insert(at, new),
        }
    }

    /// `Duplicate` or `Stale` if what is known is the same or newer.
    fn beaten_by_known(&self, new: &Register) -> Option<Merge> {
        let known = self.find((new.topic(), new.lane()));
        let lifted =
            new.is_liftable().then(|| self.find((Topic::Everything, new.lane()))).flatten();
        for known in known.into_iter().chain(lifted) {
            match known.cmp_in_lane(new) {
                Ordering::Equal => return Some(Merge::Duplicate),
                Ordering::Greater => return Some(Merge::Stale),
                Ordering::Less => {}
            }
        }
        None
    }

    fn find(&self, place: (Topic<'_>, Option<Lane>)) -> Option<&Register> {
        self.registers.iter().find(|known| known.place() == place)
    }

    /// The register that decides a topic: of what each lane says last on it, the one heard last.
    fn decider(&self, topic: Topic<'_>) -> Option<&Register> {
        let speaks = |register: &&Register| {
            let is_lift = register.topic() == Topic::Everything;
            // What a lane knows of the topic itself is newer than its lifting of everything:
            // merging has seen to that.
            let speaks_for_all = || self.find((topic, register.lane())).is_none();
            register.topic() == topic || is_lift && topic.is_liftable() && speaks_for_all()
        };
        self.registers.iter().filter(speaks).max_by(|a, b| a.cmp_heard(b))
    }

    /// Whether a register of this state decides its topic.
    fn decides(&self, register: &Register) -> bool {
        // Nearly every state has one register only, and requests ask.
        self.registers.len() == 1
            || self.decider(register.topic()).is_some_and(|decider| std::ptr::eq(decider, register))
    }

    /// What overrules an event: nothing if it decides its topic itself, or is not part of this
    /// state and would decide it. Whether that has ended is not asked.
    #[must_use]
    pub fn overruled_by(&self, event: &Register) -> Option<&Register> {
        if let Some(in_lane) = self.newer_in_lane(event) {
            return Some(in_lane);
        }
        let decider = self.decider(event.topic())?;
        (decider.cmp_heard(event) == Ordering::Greater).then_some(decider)
    }

    /// The event that decides what an event is about, whichever of the two is newer.
    #[must_use]
    pub fn decider_of(&self, event: &Register) -> Option<&Register> {
        self.decider(event.topic())
    }

    fn newer_in_lane(&self, event: &Register) -> Option<&Register> {
        let lifting = event.is_liftable().then_some((Topic::Everything, event.lane()));
        let places = [Some((event.topic(), event.lane())), lifting];
        let mut known = places.into_iter().flatten().filter_map(|place| self.find(place));
        known.find(|known| known.cmp_in_lane(event) == Ordering::Greater)
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
            .filter(|register| self.decides(register))
    }

    /// The blocks in effect at `now`, each with its event.
    pub fn blocks(&self, now: UnixMicros) -> impl Iterator<Item = (&Block, &Version)> {
        self.in_effect(now).filter_map(|register| match &register.effect {
            Effect::Block(block) => Some((block, &register.version)),
            Effect::Lift { .. } | Effect::Zero(_) | Effect::Override(_) => None,
        })
    }

    /// The zeros that may still be felt at `now`: at most one.
    pub fn zeros(&self, now: UnixMicros) -> impl Iterator<Item = (&Zero, &Version)> {
        self.in_effect(now).filter_map(|register| match &register.effect {
            Effect::Zero(zero) => Some((zero, &register.version)),
            Effect::Block(_) | Effect::Lift { .. } | Effect::Override(_) => None,
        })
    }

    /// Whether every request in some scope is rejected at `now`: by a block, or by a zero that holds until a time to come.
    #[must_use]
    pub fn holds_requests(&self, now: UnixMicros) -> bool {
        let holds = |zero: &Zero| zero.until.is_some_and(|until| now < until);
        self.blocks(now).next().is_some() || self.zeros(now).any(|(zero, _)| holds(zero))
    }

    /// The override of the named limit in effect at `now`, if any.
    #[must_use]
    pub fn rate_for(&self, limit: &Name, now: UnixMicros) -> Option<Rate> {
        self.in_effect(now).find_map(|register| match &register.effect {
            Effect::Override(o) if o.limit == *limit => o.rate,
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
