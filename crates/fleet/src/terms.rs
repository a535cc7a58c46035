//! What a limit is to the fleet: its rate, and how much debt is kept.

use std::time::Duration;

use model::bucket::Rate;
use model::violation::Violation;

/// The most that is kept of what was admitted too much, in hundredths of a bucket.
///
/// Debt is paid back before anything more is let through, so nobody is denied for longer than it takes a bucket
/// to fill times one plus this. What lies beyond is forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebtMax(u32);

impl DebtMax {
    /// Ten buckets.
    pub const PERCENT_MAX: u32 = 1_000;
    /// The most that may be kept.
    pub const MOST: Self = Self(Self::PERCENT_MAX);

    /// Checks the number.
    ///
    /// # Errors
    /// More than [`DebtMax::PERCENT_MAX`].
    pub fn percent(percent: u32) -> Result<Self, Violation> {
        if percent > Self::PERCENT_MAX {
            return Err(Violation::new("debt_max", "must be at most 1000 percent of a bucket"));
        }
        Ok(Self(percent))
    }

    /// The longest time for which a bucket that fills in `fill_us` can be without a token.
    #[must_use]
    pub fn cap_us(self, fill_us: u64) -> u64 {
        fill_us.saturating_add(fill_us.saturating_mul(self.0.into()) / 100)
    }
}

impl Default for DebtMax {
    /// One bucket.
    fn default() -> Self {
        Self(100)
    }
}

/// A limit's rate and debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How large the fleet's bucket is and how fast it fills.
    pub rate: Rate,
    /// How much debt is kept.
    pub debt: DebtMax,
}

impl Terms {
    /// The time in which one token comes, in nanoseconds; at least 100.
    #[must_use]
    pub fn token_ns(&self) -> u64 {
        // A rate has at least one token, so the fallback is never taken.
        self.fill_ns().checked_div(self.rate.max_tokens().into()).unwrap_or(1).max(1)
    }

    /// The time in which an empty bucket fills, in nanoseconds.
    #[must_use]
    pub fn fill_ns(&self) -> u64 {
        nanos(self.rate.refill())
    }

    /// The same in whole microseconds, rounded up.
    #[must_use]
    pub fn fill_us(&self) -> u64 {
        self.fill_ns().div_ceil(1_000)
    }

    /// The time in which `takes` tokens come, in whole microseconds, rounded up: less than 0.02 % too much, since
    /// reports are at least 5 ms apart.
    #[must_use]
    pub fn spent_us(&self, takes: u32) -> u64 {
        self.token_ns().saturating_mul(takes.into()).div_ceil(1_000)
    }

    /// The same, but no more than any bucket can be charged with: what a report says to Redis. At most 77 days.
    #[must_use]
    pub fn charge_us(&self, takes: u32) -> u64 {
        self.spent_us(takes).min(self.cap_us())
    }

    /// The longest time for which the bucket can be without being full, in microseconds: the bucket and
    /// its debt.
    #[must_use]
    pub fn cap_us(&self) -> u64 {
        self.debt.cap_us(self.fill_us())
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debt_has_a_bound_and_an_error_that_names_it() {
        assert_eq!(DebtMax::percent(1_001).unwrap_err().field, "debt_max");
        let debt = DebtMax::percent(50).unwrap();
        assert_eq!(debt.cap_us(1_000), 1_500);
        assert_eq!(DebtMax::default().cap_us(1_000), 2_000);
    }

    #[test]
    fn a_charge_is_whole_in_lua_whatever_was_taken() {
        let slowest = Rate::new(1, 1, Duration::from_secs(7 * 86_400)).unwrap();
        let terms = Terms { rate: slowest, debt: DebtMax::percent(1_000).unwrap() };
        assert_eq!(terms.charge_us(u32::MAX), 77 * 86_400_000_000);
        assert_eq!(terms.charge_us(1), terms.spent_us(1));
    }

    #[test]
    fn times_are_those_of_the_rate() {
        let rate = Rate::new(100, 10, Duration::from_secs(1)).unwrap();
        let terms = Terms { rate, debt: DebtMax::default() };
        assert_eq!((terms.token_ns(), terms.fill_us()), (100_000_000, 10_000_000));
        assert_eq!((terms.spent_us(3), terms.cap_us()), (300_000, 20_000_000));
        let fastest = Rate::new(3, 10_000, Duration::from_millis(1)).unwrap();
        let terms = Terms { rate: fastest, debt: DebtMax::default() };
        assert_eq!((terms.token_ns(), terms.spent_us(11)), (100, 2), "rounded up");
    }
}
