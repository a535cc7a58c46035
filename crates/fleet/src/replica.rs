//! What one node holds of the fleet's bucket of one subject under one limit, and decides by.
//!
//! It is the instant at which the bucket will be full (GCRA, as in [`model::bucket`]), on the node's own clock, as far
//! as the node knows: what it was told, and what it took since. What it is told only ever raises that instant, so
//! answers and news may come late, twice and in any order. It never lies beyond the fleet's own instant,
//! because what is told counts from the earliest time at which it can have been said: a node that knows
//! less is too generous and never too strict.
//!
//! Which reports are due when is in [`due`].

pub mod due;
mod packed;

use std::time::Duration;

use model::bucket::Quota;
use model::time::MonotonicNanos;

use crate::epoch::{Begins, Epoch};
use crate::loss::{Link, OnLoss};
use crate::terms::{Terms, nanos};
use crate::wire::Answer;

/// Redis counts as behind a node only by more than this: news count from when they come, so a node may be ahead by as long
/// as they were under way.
const BEHIND_MIN_NS: u64 = 500_000_000;

/// A node's copy of one bucket. A bucket without a replica is full as far as the node knows
/// ([`Replica::default`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    full_at: MonotonicNanos,
    /// The instant of the share, while the node is cut off and divides.
    share_full_at: MonotonicNanos,
    /// When a report was last sent; 0 if none was.
    reported_at: MonotonicNanos,
    epoch: Epoch,
    begins: Begins,
    /// Tokens taken that stand in no report.
    since: u32,
    flight: Option<due::Flight>,
    /// Whether an answer has come since the replica was made or begun anew.
    is_known: bool,
    /// Whether more than half of the bucket was gone when the node last heard of it.
    is_near: bool,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are not so many tokens; `reset` says how long until there are.
    Empty(Quota),
    /// The node is cut off, and the limit says that it lets nothing through then.
    CutOff,
}

/// What a node is told of a bucket, by an answer or by news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What is said.
    pub answer: Answer,
    /// The earliest instant, on the node's clock, at which it can have been said: of an answer, when the call was
    /// sent that it answers. Of news, whatever its daemon can vouch for; at the latest when they came, which makes
    /// the node too strict by as long as they were under way, once.
    pub as_of: MonotonicNanos,
}

/// What an answer has taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was about the bucket as the node has it.
    Known,
    /// The bucket has begun anew, by an event that the node has not heard of.
    Anew,
    /// It was about a bucket that has begun anew since, and changes nothing.
    Late,
    /// Redis has less than this node knew when it asked: it has lost the bucket, its clock was set forward, or a
    /// report was given up. Counted; the node goes on with what it knows.
    Behind,
}

impl Replica {
    /// The largest that one may be in memory. Its name takes [`crate::wire::BucketName::BYTES`] more.
    pub const BYTES_MAX: usize = 88;

    /// Takes `takes` tokens, or none. `link` says whether the node hears of the fleet.
    ///
    /// # Errors
    /// There are not so many tokens, in the fleet's bucket or in the share of it; or nothing is let
    /// through.
    pub fn take(
        &mut self,
        takes: u32,
        terms: &Terms,
        link: Link,
        now: MonotonicNanos,
    ) -> Result<Quota, Refusal> {
        let (token_ns, fill_ns) = (terms.token_ns(), terms.fill_ns());
        // One that Redis has forgotten as well is seen for the first time.
        let is_forgotten = self.is_forgotten(now);
        (self.is_known, self.is_near) =
            (self.is_known && !is_forgotten, self.is_near && !is_forgotten);
        let fleet = after(self.full_at, now, cost(takes, token_ns));
        let mut share = self.share_full_at;
        let mut over = fleet.saturating_sub(now.saturating_add(fill_ns));
        match link {
            Link::Up => share = 0,
            Link::Lost { rule: OnLoss::Deny, .. } => return Err(Refusal::CutOff),
            Link::Lost { rule: OnLoss::Local, .. } => {}
            Link::Lost { rule: OnLoss::Divide, nodes } => {
                // A share of the bucket that fills at a share of the rate fills in the same time; each token
                // takes longer. One token it has at least.
                let token_ns = token_ns.saturating_mul(nodes.max(1).into());
                share = after(share, now, cost(takes, token_ns));
                let room = fill_ns.max(token_ns);
                over = over.max(share.saturating_sub(now.saturating_add(room)));
            }
        }
        if over > 0 {
            let reset = Duration::from_nanos(over);
            return Err(Refusal::Empty(Quota { rate: terms.rate, remaining: 0, reset }));
        }
        (self.full_at, self.share_full_at) = (fleet, share);
        self.since = self.since.saturating_add(takes);
        Ok(self.quota(terms, now))
    }

    /// What is left as far as the node knows: whole tokens, and the time until the next one if there is none, else
    /// until the bucket is full.
    #[must_use]
    pub fn quota(&self, terms: &Terms, now: MonotonicNanos) -> Quota {
        let (token_ns, fill_ns) = (terms.token_ns(), terms.fill_ns());
        let missing = self.full_at.saturating_sub(now);
        let left = fill_ns.saturating_sub(missing).checked_div(token_ns).unwrap_or(0);
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        let reset = match remaining {
            0 => missing.saturating_add(token_ns).saturating_sub(fill_ns),
            _ => missing,
        };
        Quota { rate: terms.rate, remaining, reset: Duration::from_nanos(reset) }
    }

    /// Takes in what all nodes are told. A node keeps a replica of a bucket that it knows from news alone, too: to whoever
    /// has none, the bucket is full.
    pub fn hear(&mut self, told: Told, terms: &Terms) -> Heard {
        let heard = self.raise(told, terms);
        if heard == Heard::Known || heard == Heard::Anew {
            self.is_near = is_near(told.answer, terms);
        }
        heard
    }

    /// Takes in the answer to the report with this serial number. An answer to a report that is not under way any more
    /// is mere news.
    pub fn answered(
        &mut self,
        serial: u64,
        told: Told,
        terms: &Terms,
        now: MonotonicNanos,
    ) -> Heard {
        let awaited = self.flight.filter(|flight| flight.serial == serial);
        let heard = self.hear(told, terms);
        let Some(flight) = awaited else {
            return heard;
        };
        self.flight = None;
        self.is_known |= heard != Heard::Late;
        // Whatever was known when it was sent, Redis knew when it answered.
        let remaining_ns = told.answer.remaining_us.saturating_mul(1_000);
        let latest = now.saturating_add(remaining_ns).saturating_add(BEHIND_MIN_NS);
        if heard == Heard::Known && latest < flight.known_full_at {
            return Heard::Behind;
        }
        heard
    }

    /// Forgets a bucket that Redis has forgotten as well; call it before [`Replica::begin`]. An event that others do not know any
    /// more would keep what they take from counting here.
    pub fn forget(&mut self, now: MonotonicNanos) {
        if self.is_forgotten(now) {
            *self = Self::default();
        }
    }

    fn is_forgotten(&self, now: MonotonicNanos) -> bool {
        self.is_idle(now.saturating_sub(nanos(due::REPORT_MEMORY)))
    }

    /// The bucket begins anew because of an event that happened so long `ago`. An event that is not newer than the one
    /// that the bucket has begun with changes nothing. What was taken before and not reported is never
    /// reported.
    pub fn begin(
        &mut self,
        (epoch, begins): (Epoch, Begins),
        ago: Duration,
        terms: &Terms,
        now: MonotonicNanos,
    ) {
        if !epoch.is_after(self.epoch) {
            return;
        }
        let missing = match begins {
            Begins::Full => 0,
            Begins::Emptied => terms.fill_ns().saturating_sub(nanos(ago)),
        };
        let full_at = if missing == 0 { 0 } else { now.saturating_add(missing) };
        let reported_at = self.reported_at;
        *self = Self { full_at, reported_at, epoch, begins, ..Self::default() };
    }

    /// What was in the bucket at its beginning, as far as the node has made it begin itself.
    #[must_use]
    pub fn begins(&self) -> Begins {
        self.begins
    }

    /// The beginning that the bucket is in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When a report was last sent; 0 if none was.
    #[must_use]
    pub fn reported_at(&self) -> MonotonicNanos {
        self.reported_at
    }

    /// After the node was cut off: of what it took and has not reported, it will report no more than what is still
    /// missing from its own bucket. What has come back meanwhile would be charged too, and who has kept to the limit
    /// would be denied.
    pub fn settle(&mut self, terms: &Terms, now: MonotonicNanos) {
        let missing = self.full_at.saturating_sub(now).div_ceil(terms.token_ns());
        self.since = self.since.min(u32::try_from(missing).unwrap_or(u32::MAX));
    }

    /// Tokens taken that stand in no report.
    #[must_use]
    pub fn unreported(&self) -> u32 {
        self.since
    }

    /// Whether it may be forgotten: the bucket is full as far as the node knows, and Redis knows of all that was
    /// taken. What begins it anew must then be told to it again.
    #[must_use]
    pub fn is_idle(&self, now: MonotonicNanos) -> bool {
        self.full_at <= now && self.share_full_at <= now && self.since == 0 && self.flight.is_none()
    }

    /// Counts from a later instant at least, which an event has made for some requests only: it is this node's alone
    /// until tokens are taken, and never lies beyond an empty bucket.
    pub fn raise_to(&mut self, full_at: MonotonicNanos) {
        self.full_at = self.full_at.max(full_at);
    }

    fn raise(&mut self, told: Told, terms: &Terms) -> Heard {
        let epoch = told.answer.epoch;
        self.forget(told.as_of);
        if epoch.is_after(self.epoch) {
            // A node that has not heard of this bucket before did not know where it begins: what it took counts here.
            let since = if self.is_known { 0 } else { self.uncounted() };
            let reported_at = self.reported_at;
            *self = Self { reported_at, epoch, since, ..Self::default() };
            self.full_at = self.instant(told, terms);
            return Heard::Anew;
        }
        if !epoch.is_same(self.epoch) {
            return Heard::Late;
        }
        self.full_at = self.full_at.max(self.instant(told, terms));
        Heard::Known
    }

    /// What was taken and has no answer.
    fn uncounted(&self) -> u32 {
        self.since.saturating_add(self.flight.map_or(0, |flight| flight.takes))
    }

    /// When the bucket will be full by what is told, with what was taken since. A span that is longer than bucket and
    /// debt is cut, as Redis cuts it: nobody is denied for longer.
    fn instant(&self, told: Told, terms: &Terms) -> MonotonicNanos {
        let missing = told.answer.remaining_us.saturating_mul(1_000);
        let missing = missing.saturating_add(cost(self.since, terms.token_ns()));
        told.as_of.saturating_add(missing.min(terms.cap_us().saturating_mul(1_000)))
    }
}

fn is_near(answer: Answer, terms: &Terms) -> bool {
    answer.remaining_us > terms.fill_us() / 2
}

fn cost(takes: u32, token_ns: u64) -> u64 {
    token_ns.saturating_mul(takes.into())
}

fn after(full_at: MonotonicNanos, now: MonotonicNanos, cost: u64) -> MonotonicNanos {
    full_at.max(now).saturating_add(cost)
}

#[cfg(test)]
mod tests;
