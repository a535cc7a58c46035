//! How much is kept for one subject, and what is forgotten: at once for want of room, or in time.
//!
//! What holds (a block, an override) and what is only remembered (a lift, so that an older block that
//! comes later stays lifted) have room of their own: nobody can fill the one with the other.

use std::time::Duration;

use super::register::Topic;
use super::{Effect, Register, State};
use crate::name::EventId;
use crate::time::UnixMicros;

/// Most reasons for which one subject is blocked at a time: another is refused, visibly.
pub const BLOCKS_MAX: usize = 24;
/// Most limits that are overridden at a time for one subject.
pub const OVERRIDES_MAX: usize = 16;
/// Most topics that are remembered although nothing holds: the oldest are forgotten.
pub const IDLE_MAX: usize = 16;
/// Most publishers whose numbers count for one subject at a time. Events of others are taken in as
/// if they had none.
pub const LANES_MAX: usize = 4;

/// Most registers of a state: what holds and what is idle, each in every lane, and what lifts all of a
/// lane.
pub const REGISTERS_MAX: usize = 255;

/// What has a bound of its own, because it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holding {
    Block,
    Override,
}

impl Holding {
    fn of(register: &Register) -> Option<Self> {
        match &register.effect {
            Effect::Block(_) => Some(Self::Block),
            Effect::Override(change) => change.rate.map(|_| Self::Override),
            Effect::Lift { .. } | Effect::Zero(_) => None,
        }
    }

    /// How many there may be.
    fn count(self) -> usize {
        match self {
            Self::Block => BLOCKS_MAX,
            Self::Override => OVERRIDES_MAX,
        }
    }
}

impl State {
    /// The register as it is kept: without its number if there are too many lanes.
    pub(super) fn in_its_lane(&self, new: Register) -> Register {
        let Some(lane) = new.lane() else { return new };
        // No sorting: what it needs of code is a fortieth of the module.
        let mut lanes = Vec::new();
        for known in self.registers.iter().filter_map(Register::lane) {
            if !lanes.contains(&known) {
                lanes.push(known);
            }
        }
        if lanes.len() < LANES_MAX || lanes.contains(&lane) {
            return new;
        }
        let mut new = new;
        new.version.sequence = None;
        new
    }

    /// Whether there is room for a register, once what has ended before it is forgotten.
    pub(super) fn has_room_for(&mut self, new: &Register) -> bool {
        let Some(most) = Holding::of(new) else { return true };
        if self.registers.len() < most.count() || self.overruled_by(new).is_some() {
            return true;
        }
        let topic = new.topic();
        let others = || self.holding(most).filter(|known| known.topic() != topic);
        if others().count() < most.count() {
            return true;
        }
        let ended = others().find(|known| known.ends().is_some_and(|end| end <= new.version.at));
        let Some(ended) = ended.cloned() else { return false };
        self.forget_topic(ended.topic());
        true
    }

    /// Forgets what has ended and stands in the way of what another state knows: that one had to
    /// forget it for the same reason.
    pub(super) fn forget_ended(&mut self, other: &Self) {
        let Some(now) = other.registers.iter().map(|known| known.version.at).max() else { return };
        for what in [Holding::Block, Holding::Override] {
            while self.holding(what).count() > what.count() {
                let ended = self.holding(what).find(|known| {
                    let is_known =
                        other.registers.iter().any(|register| register.topic() == known.topic());
                    !is_known && known.ends().is_some_and(|end| end <= now)
                });
                let Some(ended) = ended.cloned() else { break };
                self.forget_topic(ended.topic());
            }
        }
    }

    /// Whether no more holds than may.
    pub(super) fn is_within_bounds(&self) -> bool {
        let fits = |what: Holding| self.holding(what).count() <= what.count();
        self.registers.len() <= REGISTERS_MAX && fits(Holding::Block) && fits(Holding::Override)
    }

    /// The blocks or overrides that decide their topics, whether they have ended or not.
    fn holding(&self, what: Holding) -> impl Iterator<Item = &Register> {
        let like = self.registers.iter().filter(move |known| Holding::of(known) == Some(what));
        like.filter(|known| self.decides(known))
    }

    /// The same with events that were forgotten, as far as they fit into one state: for somebody who merges
    /// it, and may know what they have ended.
    #[must_use]
    pub fn with_forgotten<'a>(mut self, forgotten: impl IntoIterator<Item = &'a Register>) -> Self {
        for register in forgotten {
            if self.registers.len() >= REGISTERS_MAX {
                break;
            }
            self.take_in(register.clone());
        }
        self
    }

    /// Forgets the oldest topics on which nothing holds, beyond [`IDLE_MAX`].
    pub(super) fn forget_idle(&mut self) {
        while self.registers.len() > IDLE_MAX {
            let Some(about) = self.oldest_idle().cloned() else { return };
            self.forget_topic(about.topic());
        }
    }

    /// A register of the oldest topic on which nothing holds, if there are more than may be.
    fn oldest_idle(&self) -> Option<&Register> {
        let idle = || {
            let deciders = self.topics().filter_map(|topic| Some((self.decider(topic)?, topic)));
            deciders.filter(|(decider, _)| !decider.holds())
        };
        if idle().count() <= IDLE_MAX {
            return None;
        }
        let (_, oldest) = idle().min_by(|(a, _), (b, _)| a.cmp_heard(b))?;
        self.registers.iter().find(|known| known.topic() == oldest)
    }

    /// Whatever any lane says on it: what is left could speak otherwise.
    fn forget_topic(&mut self, topic: Topic<'_>) {
        self.registers.retain(|known| known.topic() != topic);
    }

    /// The topics but for lifting everything, each once, in order.
    fn topics(&self) -> impl Iterator<Item = Topic<'_>> {
        let before = std::iter::once(None).chain(self.registers.iter().map(Some));
        self.registers.iter().zip(before).filter_map(|(register, before)| {
            let topic = register.topic();
            let is_new = before.map(Register::topic) != Some(topic);
            (is_new && topic != Topic::Everything).then_some(topic)
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
        let (mut kept, mut forgotten) = (Vec::new(), Vec::new());
        for register in &self.registers {
            match self.over_since(register).filter(|over| *over < horizon) {
                Some(over) => {
                    let from = over.saturating_add(retention);
                    forgotten.push((register.version.event_id.clone(), from));
                }
                None => kept.push(register.clone()),
            }
        }
        self.registers = kept;
        forgotten
    }

    /// Since when nothing holds any more on a register's topic, and nothing was heard on it. All of
    /// a topic goes together, and a lifting of everything not before what it lifts.
    fn over_since(&self, register: &Register) -> Option<UnixMicros> {
        if register.topic() == Topic::Everything {
            return Some(register.version.at);
        }
        let decider = self.decider(register.topic())?;
        let about = self.registers.iter().filter(|known| known.topic() == register.topic());
        let heard = about.map(|known| known.version.at).max()?;
        Some(decider.ends()?.max(decider.version.at).max(heard))
    }
}
