//! One event as it is remembered: what it does, whom it outranks, and when its effect ends.

use std::cmp::Ordering;

use crate::bucket::{REFILL_MAX, Rate};
use crate::name::{EventId, Name};
use crate::time::UnixMicros;

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
    pub(super) fn cmp_same_sort(&self, other: &Self) -> Ordering {
        self.sequence.cmp(&other.sequence).then_with(|| self.cmp_occurred(other))
    }

    pub(super) fn cmp_occurred(&self, other: &Self) -> Ordering {
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
pub(super) enum Topic<'a> {
    Everything,
    Block(&'a Name),
    Zero,
    Override(&'a Name),
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

    /// Topic and sort: what makes a register's place in the state.
    pub(super) fn place(&self) -> (Topic<'_>, bool) {
        (self.topic(), self.version.sequence.is_some())
    }

    /// Whether lifting everything in the same sort, if newer, ends this register's effect.
    pub(super) fn is_liftable(&self) -> bool {
        matches!(self.topic(), Topic::Block(_) | Topic::Zero)
    }

    /// Whether it happened, and ended, before this.
    pub(super) fn is_over(&self, horizon: UnixMicros) -> bool {
        self.ends().is_some_and(|end| end < horizon) && self.version.occurred_at < horizon
    }

    /// The end of its effect: none if it has no end; the epoch if it never had an effect.
    pub(super) fn ends(&self) -> Option<UnixMicros> {
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
