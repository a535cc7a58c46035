//! The token bucket, as the one number of the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! A bucket is the instant at which it will be full again. Taking a token moves that instant one
//! token's worth of time into the future, and a token is there as long as the instant stays within
//! one whole refill of now. So "full" is recognisable without knowing the rate (not in the
//! future: free to forget), and "empty" is a value like any other.

mod tag;

use std::time::Duration;

use crate::time::MonotonicNanos;
use crate::violation::Violation;

pub use tag::RateTag;

/// The longest time that an empty bucket may take to fill. Status records are remembered for
/// longer than this, so a bucket that a `zero` emptied has always refilled before it is forgotten.
pub const REFILL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest time between two tokens. Whole nanoseconds per token are kept, rounded up; from
/// here on the rounding costs less than 1 % of the configured rate.
pub const TOKEN_INTERVAL_MIN: Duration = Duration::from_nanos(100);

/// How large a bucket is and how fast it fills: `max_tokens` at once, and `tokens_per_fill` in
/// every `fill_interval`, spread evenly over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    max_tokens: u32,
    tokens_per_fill: u32,
    fill_interval: Duration,
    token_ns: u64,
    refill_ns: u64,
    tag: RateTag,
}

impl Rate {
    /// Checks the three numbers.
    ///
    /// # Errors
    /// Zero tokens, a rate above one token in [`TOKEN_INTERVAL_MIN`], or a bucket that takes longer
    /// than [`REFILL_MAX`] to fill.
    pub fn new(max: u32, per_fill: u32, fill_interval: Duration) -> Result<Self, Violation> {
        let fail = |field, rule| Err(Violation::new(field, rule));
        if max == 0 {
            return fail("max_tokens", "must be at least 1");
        }
        if per_fill == 0 {
            return fail("tokens_per_fill", "must be at least 1");
        }
        let interval = fill_interval.as_nanos();
        if interval < TOKEN_INTERVAL_MIN.as_nanos().saturating_mul(u128::from(per_fill)) {
            return fail("fill_interval", "must give at most 10 million tokens per second");
        }
        let token = interval.div_ceil(u128::from(per_fill));
        let refill = token.saturating_mul(u128::from(max));
        if refill > REFILL_MAX.as_nanos() {
            return fail("fill_interval", "must let an empty bucket fill within 7 days");
        }
        let (Ok(token_ns), Ok(refill_ns)) = (u64::try_from(token), u64::try_from(refill)) else {
            return fail("fill_interval", "must let an empty bucket fill within 7 days");
        };
        Ok(Self {
            max_tokens: max,
            tokens_per_fill: per_fill,
            fill_interval,
            token_ns,
            refill_ns,
            tag: RateTag::new(token_ns, max),
        })
    }

    /// How many tokens a full bucket holds.
    #[must_use]
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    /// How many tokens come in one fill interval.
    #[must_use]
    pub fn tokens_per_fill(&self) -> u32 {
        self.tokens_per_fill
    }

    /// What is kept of the rate beside a bucket. Two rates share it only if they differ by less than
    /// a hundredth.
    #[must_use]
    pub fn tag(&self) -> RateTag {
        self.tag
    }

    /// The time in which `tokens_per_fill` tokens come.
    #[must_use]
    pub fn fill_interval(&self) -> Duration {
        self.fill_interval
    }

    /// How long an empty bucket takes to be full.
    #[must_use]
    pub fn refill(&self) -> Duration {
        Duration::from_nanos(self.refill_ns)
    }
}

/// The state of one bucket: the instant at which it is full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    /// Any instant that is not in the future stands for a full bucket.
    pub full_at: MonotonicNanos,
}

/// What a look at a bucket found, for decisions and for response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The rate that was applied: the limit's own, or an override.
    pub rate: Rate,
    /// Whole tokens left (after the one taken, if one was).
    pub remaining: u32,
    /// Time until the next token if none is left, else until the bucket is full.
    pub reset: Duration,
}

impl Bucket {
    /// A bucket that was emptied so long `ago`, perhaps before the clock of buckets began.
    #[must_use]
    pub fn emptied(ago: Duration, rate: &Rate, now: MonotonicNanos) -> Self {
        let ago_ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        Self { full_at: now.saturating_add(rate.refill_ns.saturating_sub(ago_ns)) }
    }

    /// Whether nothing is missing: such a bucket need not be kept.
    #[must_use]
    pub fn is_full(self, now: MonotonicNanos) -> bool {
        self.full_at <= now
    }

    /// What the bucket would be now, had `rate` been in force all along instead of the one with this
    /// tag: as many tokens are missing, but no more than there can be. So a raised limit ends a long
    /// wait that the old one imposed, within one token's time.
    ///
    /// What more was missing is lost here. Whoever goes back and forth between two rates must
    /// therefore keep both buckets, and [charge](Bucket::charged) each for what is taken from the other.
    #[must_use]
    pub fn under(self, tag: RateTag, rate: &Rate, now: MonotonicNanos) -> Self {
        let missing = self.full_at.saturating_sub(now);
        let missing = tag.tokens_at(missing, rate.token_ns).unwrap_or(missing);
        Self { full_at: now.saturating_add(missing.min(rate.refill_ns)) }
    }

    /// The bucket under the rate with this tag, once a token was taken under another rate. It need
    /// not have had one: emptier than empty it does not get.
    #[must_use]
    pub fn charged(self, tag: RateTag, now: MonotonicNanos) -> Self {
        let missing = self.full_at.saturating_sub(now);
        Self { full_at: now.saturating_add(tag.after_one_more(missing)) }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// There is no whole token: the quota's `reset` says how long until there is one.
    pub fn take(self, rate: &Rate, now: MonotonicNanos) -> Result<(Self, Quota), Quota> {
        let missing = self.full_at.saturating_sub(now);
        let after = missing.saturating_add(rate.token_ns);
        if after > rate.refill_ns {
            let reset = Duration::from_nanos(after.saturating_sub(rate.refill_ns));
            return Err(Quota { rate: *rate, remaining: 0, reset });
        }
        let taken = Self { full_at: now.saturating_add(after) };
        Ok((taken, taken.quota(rate, now)))
    }

    fn quota(self, rate: &Rate, now: MonotonicNanos) -> Quota {
        let missing = self.full_at.saturating_sub(now);
        let left_ns = rate.refill_ns.saturating_sub(missing);
        // The rate's check makes a token at least 100 ns; the fallback is never taken.
        let left = left_ns.checked_div(rate.token_ns).unwrap_or(0);
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        let reset_ns = match remaining {
            0 => rate.token_ns.saturating_sub(left_ns),
            _ => missing,
        };
        Quota { rate: *rate, remaining, reset: Duration::from_nanos(reset_ns) }
    }
}

#[cfg(test)]
mod tests;
