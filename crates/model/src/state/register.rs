//! One event as it is remembered: what it does, whom it outranks, and when its effect ends.

use std::cmp::Ordering;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::bucket::{REFILL_MAX, Rate};
use crate::name::{EventId, Name};
use crate::time::UnixMicros;

/// Most route groups that one event may name.
pub const SCOPE_NAMES_MAX: usize = 8;

/// By how much a publisher's clock may be wrong, either way.
pub const CLOCK_ERROR_MAX: Duration = Duration::from_secs(5 * 60);

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

/// A publisher's own count of its events about one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence {
    /// Whose count it is: counts of different publishers are never compared.
    pub lane: Lane,
    /// The count.
    pub number: u64,
}

/// One publisher's line of numbered events, told apart by a hash of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane(pub u64);

impl Lane {
    /// The lane of a publisher; events that name none share one.
    #[must_use]
    pub fn of(publisher: Option<&Name>) -> Self {
        let Some(publisher) = publisher else { return Self::default() };
        let digest = Sha256::digest(publisher.as_str());
        Self(digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte)))
    }
}

/// An event's place in the order of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The publisher's own count of events about this subject, if it keeps one.
    pub sequence: Option<Sequence>,
    /// The instant from which the event counts: see [`Version::counts_from`].
    pub at: UnixMicros,
    /// The publisher's id of the event.
    pub event_id: EventId,
}

impl Version {
    /// The instant from which an event counts: when it was first heard. It is bounded by what the
    /// publisher says (and may have signed) of when it happened, by [`CLOCK_ERROR_MAX`] to either
    /// side: publishers' clocks may be wrong by so much, while an event that is heard again long
    /// after it happened must not outrank what has come since.
    ///
    /// Of what comes later than that, a block or a zero counts from the later bound. Everything else
    /// counts from the earlier one, before which nobody can have heard it: if it was heard then, and
    /// is forgotten, it outranks nothing that has come since, so that nobody lifts a block by
    /// repeating the unblock before it.
    #[must_use]
    pub fn counts_from(
        first_heard: UnixMicros,
        occurred_at: UnixMicros,
        effect: &Effect,
    ) -> UnixMicros {
        let earliest = occurred_at.saturating_sub(CLOCK_ERROR_MAX);
        let latest = occurred_at.saturating_add(CLOCK_ERROR_MAX);
        let restrains = matches!(effect, Effect::Block(_) | Effect::Zero(_));
        if first_heard > latest && !restrains {
            return earliest;
        }
        first_heard.clamp(earliest, latest)
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
    /// All buckets are emptied, and requests refused until a given time.
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

/// All buckets are emptied, and requests in scope refused until a given time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zero {
    /// Which requests.
    pub scope: Scope,
    /// When the buckets were emptied: when the event was first heard.
    pub at: UnixMicros,
    /// Until when requests are refused outright; none: as soon as a bucket has a token again.
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

/// The newest event of one topic and lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// When it happened.
    pub version: Version,
    /// What it does.
    pub effect: Effect,
}

/// What a register is about; two registers of the same topic and lane replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic<'a> {
    Everything,
    Block(&'a Name),
    Zero,
    Override(&'a Name),
}

impl Topic<'_> {
    /// Whether lifting everything is about it as well.
    pub(super) fn is_liftable(self) -> bool {
        matches!(self, Self::Block(_) | Self::Zero)
    }
}

impl Register {
    pub(super) fn topic(&self) -> Topic<'_> {
        match &self.effect {
            Effect::Lift { reason: None } => Topic::Everything,
            Effect::Lift { reason: Some(reason) } | Effect::Block(Block { reason, .. }) => {
                Topic::Block(reason)
            }
            Effect::Zero(_) => Topic::Zero,
            Effect::Override(Override { limit, .. }) => Topic::Override(limit),
        }
    }

    /// The lane of its sequence; none without one.
    pub(super) fn lane(&self) -> Option<Lane> {
        self.version.sequence.map(|sequence| sequence.lane)
    }

    /// Topic and lane: what makes a register's place in the state.
    pub(super) fn place(&self) -> (Topic<'_>, Option<Lane>) {
        (self.topic(), self.lane())
    }

    /// Whether lifting everything, if newer, ends this register's effect.
    pub(super) fn is_liftable(&self) -> bool {
        self.topic().is_liftable()
    }

    /// Whether it does something by itself, other than ending what another does.
    #[must_use]
    pub fn holds(&self) -> bool {
        match &self.effect {
            Effect::Block(_) | Effect::Zero(_) => true,
            Effect::Lift { .. } => false,
            Effect::Override(change) => change.rate.is_some(),
        }
    }

    /// The order in which events were heard; of two at one instant, the one that holds comes later.
    pub(super) fn cmp_heard(&self, other: &Self) -> Ordering {
        let key = |register: &Self| (register.version.at, register.holds());
        key(self).cmp(&key(other)).then_with(|| self.version.event_id.cmp(&other.version.event_id))
    }

    /// Whether it counts from an earlier instant than another one; of two at one instant, the one that
    /// holds comes later.
    #[must_use]
    pub fn counts_before(&self, other: &Self) -> bool {
        self.cmp_heard(other) == Ordering::Less
    }

    /// The order within one lane: by the publisher's count; without counts, as they were heard.
    pub(super) fn cmp_in_lane(&self, other: &Self) -> Ordering {
        let number = |register: &Self| register.version.sequence.map(|sequence| sequence.number);
        number(self).cmp(&number(other)).then_with(|| self.cmp_heard(other))
    }

    /// Whether it happened, and ended, before this.
    pub(super) fn is_over(&self, horizon: UnixMicros) -> bool {
        self.ends().is_some_and(|end| end < horizon) && self.version.at < horizon
    }

    /// The end of its effect: none if it has no end; the epoch if it never had an effect.
    #[must_use]
    pub fn ends(&self) -> Option<UnixMicros> {
        match &self.effect {
            Effect::Block(block) => block.until,
            Effect::Lift { .. } => Some(UnixMicros(0)),
            // The last emptied bucket is full again after the longest refill there is.
            Effect::Zero(zero) => Some(zero.until.unwrap_or(zero.at).saturating_add(REFILL_MAX)),
            Effect::Override(Override { rate: None, .. }) => Some(UnixMicros(0)),
            Effect::Override(o) => o.until,
        }
    }
}
