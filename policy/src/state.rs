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

pub use codec::WireError;

use std::cmp::Ordering;
use std::time::Duration;

use crate::bucket::Rate;
use crate::name::{EventId, Name};
use crate::time::UnixMicros;

/// Most topics kept for one subject: a new one beyond is refused, visibly.
pub const REGISTERS_MAX: usize = 16;

/// Most route groups that one event may name.
pub const SCOPE_NAMES_MAX: usize = 8;

/// The requests that a block or a zero is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every request.
    #[default]
    All,
    /// Requests in any of these route groups; never empty, at most [`SCOPE_NAMES_MAX`].
    RouteGroups(Vec<Name>),
}

impl Scope {
    /// The scope that a list of names means: an empty one means every request.
    #[must_use]
    pub fn of(names: Vec<Name>) -> Self {
        if names.is_empty() { Self::All } else { Self::RouteGroups(names) }
    }

    /// The named route groups; none for every request.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        match self {
            Self::All => &[],
            Self::RouteGroups(names) => names,
        }
    }

    /// Whether a request is meant, given the test for "is in the route group of this name".
    pub fn covers(&self, in_group: impl Fn(&Name) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::RouteGroups(names) => names.iter().any(in_group),
        }
    }
}

/// When an event happened, in its publisher's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The publisher's own count of events about this subject, if it keeps one.
    pub sequence: Option<u64>,
    /// When it happened, by the publisher's clock.
    pub occurred_at: UnixMicros,
    /// The publisher's id of the event.
    pub event_id: EventId,
}

impl Version {
    /// The order among events of the same sort (with a sequence, or without).
    fn cmp_same_sort(&self, other: &Self) -> Ordering {
        self.sequence.cmp(&other.sequence).then_with(|| self.cmp_occurred(other))
    }

    fn cmp_occurred(&self, other: &Self) -> Ordering {
        let by_time = self.occurred_at.cmp(&other.occurred_at);
        by_time.then_with(|| self.event_id.cmp(&other.event_id))
    }
}

/// What an event does to its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Requests in scope are refused.
    Block(Block),
    /// The block of this reason is lifted; with no reason, every block and the zero.
    Lift {
        /// Which block.
        reason: Option<Name>,
    },
    /// All buckets are emptied, and stay empty until a given time.
    Zero(Zero),
    /// One limit has another rate for this subject.
    Override(Override),
}

/// Requests in scope are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Why; blocks of different reasons stand side by side.
    pub reason: Name,
    /// Which requests.
    pub scope: Scope,
    /// The first instant at which it no longer holds; none: until lifted.
    pub until: Option<UnixMicros>,
    /// Whether the client may be told the reason.
    pub disclose: bool,
}

/// All buckets are emptied, and stay empty until a given time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zero {
    /// Which requests.
    pub scope: Scope,
    /// When the buckets were emptied: when the event was first heard.
    pub at: UnixMicros,
    /// Until when they stay empty; none: they begin to refill at once.
    pub until: Option<UnixMicros>,
}

/// One limit has another rate for this subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The limit's name.
    pub limit: Name,
    /// The rate; none: the configured one again.
    pub rate: Option<Rate>,
    /// The first instant at which it no longer holds; none: until another override.
    pub until: Option<UnixMicros>,
}

/// The newest event of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// When it happened.
    pub version: Version,
    /// What it does.
    pub effect: Effect,
}

/// What a register is about; two registers of the same topic and sort replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic<'a> {
    Everything,
    Block(&'a Name),
    Zero,
    Override(&'a Name),
}

impl Register {
    fn topic(&self) -> Topic<'_> {
        match &self.effect {
            Effect::Lift { reason: None } => Topic::Everything,
            Effect::Lift { reason: Some(reason) } | Effect::Block(Block { reason, .. }) => {
                Topic::Block(reason)
            }
            Effect::Zero(_) => Topic::Zero,
            Effect::Override(Override { limit, .. }) => Topic::Override(limit),
        }
    }

    /// Topic and sort: what makes a register's place in the state.
    fn place(&self) -> (Topic<'_>, bool) {
        (self.topic(), self.version.sequence.is_some())
    }

    /// Whether lifting everything in the same sort, if newer, ends this register's effect.
    fn is_liftable(&self) -> bool {
        matches!(self.topic(), Topic::Block(_) | Topic::Zero)
    }

    /// The end of its effect: none if it has no end; the epoch if it never had an effect.
    fn ends(&self) -> Option<UnixMicros> {
        match &self.effect {
            Effect::Block(block) => block.until,
            Effect::Lift { .. } => Some(UnixMicros(0)),
            // The last emptied bucket is full again after the longest refill there is.
            Effect::Zero(zero) => {
                Some(zero.until.unwrap_or(zero.at).saturating_add(crate::bucket::REFILL_MAX))
            }
            Effect::Override(Override { rate: None, .. }) => Some(UnixMicros(0)),
            Effect::Override(o) => o.until,
        }
    }
}

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
        let position = self.registers.binary_search_by(|known| known.place().cmp(&new.place()));
        match position {
            Ok(at) => {
                if let Some(known) = self.registers.get_mut(at) {
                    *known = new.clone();
                }
            }
            Err(_) if self.registers.len() >= REGISTERS_MAX && !lifts_everything => {
                return Merge::TooManyTopics;
            }
            Err(at) => self.registers.insert(at, new.clone()),
        }
        if lifts_everything {
            self.registers.retain(|known| {
                !(known.is_liftable()
                    && known.version.sequence.is_some() == sort
                    && known.version.cmp_same_sort(&new.version) == Ordering::Less)
            });
        }
        Merge::Applied
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

    /// Whether this register decides its topic, rather than one of the other sort (with sequences
    /// or without) that occurred later.
    fn decides(&self, register: &Register) -> bool {
        let (topic, sort) = register.place();
        // What the other sort knows of the topic itself is newer than its lifting of everything:
        // merging has seen to that.
        let lifted = || register.is_liftable().then_some((Topic::Everything, !sort));
        let rival =
            self.find((topic, !sort)).or_else(|| lifted().and_then(|place| self.find(place)));
        rival.is_none_or(|rival| rival.version.cmp_occurred(&register.version) != Ordering::Greater)
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

    /// Forgets what happened, and ended, longer than `retention` ago. What is forgotten can no
    /// longer outrank an older event that arrives later than that.
    pub fn prune(&mut self, now: UnixMicros, retention: Duration) {
        let horizon = now.saturating_sub(retention);
        self.registers.retain(|register| {
            let ended = register.ends().is_some_and(|end| end < horizon);
            !(ended && register.version.occurred_at < horizon)
        });
    }
}

#[cfg(test)]
mod tests;
