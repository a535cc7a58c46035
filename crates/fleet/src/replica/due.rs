//! When a node reports what it took from a bucket.
//!
//! - At first sight: the node does not know the bucket.
//! - Near the limit, when more than half of the bucket was gone at the last word of Redis: after 5 % of the
//!   bucket, or 100 ms.
//! - Far from it: after 5 % of the bucket, or a quarter of the time in which it fills. Takes must not age for longer, since
//!   they are charged when they are reported, and what has come back meanwhile would be charged too.
//! - At least 5 ms apart, and one at a time.
//!
//! A report of less than 5 % of a bucket is in no hurry, nor is one of less than 25 % far from the limit: it goes with the
//! next of the rounds, which come every 50 ms, so that most calls have many reports.

use std::time::Duration;

use model::time::MonotonicNanos;

use super::Replica;
use crate::epoch::{Begins, Epoch};
use crate::terms::{Terms, nanos};

/// The shortest time between two reports of one bucket.
pub const REPORT_GAP: Duration = Duration::from_millis(5);

/// How long takes may wait near the limit.
pub const NEAR_WAIT: Duration = Duration::from_millis(100);

/// The time between two rounds.
pub const ROUND: Duration = Duration::from_millis(50);

/// After so many parts of a bucket a report is due: each is 5 %.
pub const BUCKET_PARTS: u32 = 20;

/// Far from the limit a report waits for a round unless it has so many of these parts.
const FAR_PARTS: u32 = 5;

/// How many times takes may wait, far from the limit, while a bucket fills.
pub const FILL_PARTS: u64 = 4;

/// After so long without an answer a report is sent again.
pub const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// A report that has had no answer for so long is given up. Redis must remember the ids of reports for longer
/// ([`REPORT_MEMORY`]), so that none is counted twice.
pub const REPORT_AGE_MAX: Duration = Duration::from_secs(20);

/// How long Redis remembers the id of a report, and a bucket after it was last reported. Longer than a report is sent
/// again ([`REPORT_AGE_MAX`]).
pub const REPORT_MEMORY: Duration = Duration::from_secs(60);

/// Why a report is due, the most urgent first: where calls are full, what is less urgent waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The bucket is near its limit.
    Near,
    /// The bucket is far from its limit.
    Far,
    /// The node does not know the bucket yet. Last, because anybody can be many subjects.
    FirstSight,
}

/// A report that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) serial: u64,
    pub(super) takes: u32,
    pub(super) first_at: MonotonicNanos,
    /// When the bucket was full as far as the node knew then, with what is reported.
    pub(super) known_full_at: MonotonicNanos,
}

/// What a report says, but for whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number among all reports of this life of the node.
    pub serial: u64,
    /// How many tokens were taken.
    pub takes: u32,
    /// From which beginning of the bucket.
    pub epoch: Epoch,
    /// What was in the bucket then.
    pub begins: Begins,
}

/// What becomes of a report that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// It is sent again, under the same number.
    Again(Outgoing),
    /// It is given up: so many takes may never be counted.
    GivenUp(u32),
}

/// After how many takes a report is due, whatever the time: at least 1.
#[must_use]
pub fn takes_due(terms: &Terms) -> u32 {
    (terms.rate.max_tokens() / BUCKET_PARTS).max(1)
}

/// How long takes may wait far from the limit, in nanoseconds.
#[must_use]
pub fn far_wait_ns(terms: &Terms) -> u64 {
    nanos(NEAR_WAIT).max(terms.fill_ns() / FILL_PARTS)
}

impl Replica {
    /// From when a report is due, and why; none while nothing was taken, or a report is under way.
    #[must_use]
    pub fn due_at(&self, terms: &Terms) -> Option<(MonotonicNanos, Due)> {
        if self.since == 0 || self.flight.is_some() {
            return None;
        }
        let why = match (self.is_known, self.is_near) {
            (false, _) => Due::FirstSight,
            (true, true) => Due::Near,
            (true, false) => Due::Far,
        };
        let is_full = !self.is_known || self.since >= takes_due(terms);
        let wait = match why {
            _ if is_full => nanos(REPORT_GAP),
            Due::Near | Due::FirstSight => nanos(NEAR_WAIT),
            Due::Far => far_wait_ns(terms),
        };
        Some((self.reported_at.saturating_add(wait), why))
    }

    /// After how many takes a report does not wait for a round.
    #[must_use]
    pub fn takes_urgent(&self, terms: &Terms) -> u32 {
        let is_far = self.is_known && !self.is_near;
        takes_due(terms).saturating_mul(if is_far { FAR_PARTS } else { 1 })
    }

    /// When the report goes that is due then or from now on: at once if it says much, and with the next round else. Rounds
    /// are at multiples of [`ROUND`] by the node's clock.
    #[must_use]
    pub fn goes_at(&self, terms: &Terms, now: MonotonicNanos) -> Option<(MonotonicNanos, Due)> {
        let (due_at, why) = self.due_at(terms)?;
        let at = due_at.max(now);
        let is_urgent = self.since >= self.takes_urgent(terms);
        let round = at.checked_next_multiple_of(nanos(ROUND)).unwrap_or(at);
        Some((if is_urgent { at } else { round }, why))
    }

    /// Makes the report that is due, under this number. A node that is cut off makes none, so that at most one report of a
    /// bucket is given up, and what was taken meanwhile is reported when the node is back.
    pub fn report(&mut self, serial: u64, terms: &Terms, now: MonotonicNanos) -> Option<Outgoing> {
        let (due_at, _) = self.due_at(terms)?;
        if due_at > now {
            return None;
        }
        let known_full_at = self.full_at;
        let flight = Flight { serial, takes: self.since, first_at: now, known_full_at };
        (self.since, self.reported_at, self.flight) = (0, now, Some(flight));
        Some(self.outgoing(flight))
    }

    /// From when something has to be done about a report without an answer.
    #[must_use]
    pub fn overdue_at(&self) -> Option<MonotonicNanos> {
        self.flight.map(|_| self.reported_at.saturating_add(nanos(REPEAT_AFTER)))
    }

    /// What has to be done about it, if it is time.
    pub fn overdue(&mut self, now: MonotonicNanos) -> Option<Overdue> {
        let flight = self.flight?;
        if self.overdue_at()? > now {
            return None;
        }
        if now.saturating_sub(flight.first_at) > nanos(REPORT_AGE_MAX) {
            self.flight = None;
            return Some(Overdue::GivenUp(flight.takes));
        }
        self.reported_at = now;
        Some(Overdue::Again(self.outgoing(flight)))
    }

    /// Since when a report waits for its answer, for [`crate::loss::is_lost`].
    #[must_use]
    pub fn waiting_since(&self) -> Option<MonotonicNanos> {
        self.flight.map(|flight| flight.first_at)
    }

    fn outgoing(&self, flight: Flight) -> Outgoing {
        let Flight { serial, takes, .. } = flight;
        Outgoing { serial, takes, epoch: self.epoch, begins: self.begins }
    }
}
