//! How much of it there may be: in Redis, in one call, on the news channel.
//!
//! Whoever can choose keys, such as addresses or values of a header, can be any number of subjects. Subjects that a
//! node has not seen are therefore reported within a budget of each limit, and news have a budget of
//! each node. What finds no place waits and is not lost: its takes are kept and go into a later report, and a node without
//! news learns with its next answer.

use model::bucket::{Bucket, Rate};
use model::time::MonotonicNanos;

use crate::terms::{Terms, nanos};

pub use crate::replica::due::REPORT_MEMORY;

/// Most reports in one call.
pub const REPORTS_PER_CALL_MAX: usize = model::push::FLEET_REPORTS_MAX;

/// Most buckets in the news of one call.
pub const NEWS_PER_CALL_MAX: usize = 64;

/// So many a second, and so many at once: a bucket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    rate: Rate,
    bucket: Bucket,
}

impl Budget {
    /// A budget of which nothing is used.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, bucket: Bucket::default() }
    }

    /// The same budget with what was used of it, as [`Budget::bucket`] says.
    #[must_use]
    pub fn used(self, bucket: Bucket) -> Self {
        Self { bucket, ..self }
    }

    /// What is left of it.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// From when there is one.
    #[must_use]
    pub fn next_at(&self, now: MonotonicNanos) -> MonotonicNanos {
        match self.bucket.take(&self.rate, now) {
            Ok(_) => now,
            Err(quota) => now.saturating_add(nanos(quota.reset)),
        }
    }

    /// Uses one, if there is one.
    pub fn use_one(&mut self, now: MonotonicNanos) -> bool {
        let Ok((bucket, _)) = self.bucket.take(&self.rate, now) else {
            return false;
        };
        self.bucket = bucket;
        true
    }
}

/// Most buckets of one limit that Redis holds, with so many nodes that each report so many unknown subjects a
/// second (`once` more at once): each is forgotten when it is full and no report of it can come again.
#[must_use]
pub fn buckets_max(nodes: u32, per_second: u32, once: u32, terms: &Terms) -> u64 {
    let kept_ns = terms.cap_us().saturating_mul(1_000).saturating_add(nanos(REPORT_MEMORY));
    let kept_s = kept_ns.div_ceil(1_000_000_000);
    let of_one = u64::from(per_second).saturating_mul(kept_s).saturating_add(once.into());
    of_one.saturating_mul(nodes.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::replica::due::REPORT_AGE_MAX;
    use crate::terms::DebtMax;

    #[test]
    fn a_budget_is_what_comes_back_and_says_when() {
        let mut budget = Budget::new(Rate::new(10, 100, Duration::from_secs(1)).unwrap());
        let mut used = 0;
        for ms in 0..2_000u64 {
            let now = 1_000_000_000 + ms * 1_000_000;
            used += (0..50).filter(|_| budget.use_one(now)).count();
            let next_at = budget.next_at(now);
            assert!(next_at > now && next_at <= now + 10_000_000);
            assert!(!budget.use_one(next_at - 1) && budget.clone().use_one(next_at));
        }
        assert!((200..=210).contains(&used), "{used}");
    }

    #[test]
    fn what_redis_holds_is_bounded_by_budgets_and_not_by_who_asks() {
        let rate = Rate::new(100, 10, Duration::from_secs(1)).unwrap();
        let terms = Terms { rate, debt: DebtMax::default() };
        // Twice ten seconds of bucket and debt, and the memory of reports.
        assert_eq!(buckets_max(8, 1_000, 0, &terms), 8 * 1_000 * 80);
        const { assert!(REPORT_MEMORY.as_nanos() > REPORT_AGE_MAX.as_nanos()) };
    }
}
