//! How often one caller may publish about one user or session. Operators are not bounded.
//!
//! What a publisher can fill of one subject (blocks of many reasons, overrides) is bounded by itself;
//! this bounds how fast it can change, and so what it costs everybody who follows. The table has a
//! fixed size: callers and subjects that fall on one place share a bucket.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::bucket::{Bucket, Rate};
use model::subject::Subject;

/// Buckets of all callers together.
const BUCKETS: usize = 65_536;
/// Events at once about one subject, and per second.
const RATE: (u32, u32) = (200, 50);

/// See the module's description.
#[derive(Debug)]
pub struct SubjectPace {
    rate: Option<Rate>,
    hasher: RandomState,
    buckets: Mutex<Vec<Bucket>>,
}

impl Default for SubjectPace {
    fn default() -> Self {
        let rate = Rate::new(RATE.0, RATE.1, Duration::from_secs(1)).ok();
        Self { rate, hasher: RandomState::new(), buckets: Mutex::default() }
    }
}

impl SubjectPace {
    /// Takes one token of a caller and a subject, by the monotonic clock; whether there was one.
    pub fn take(&self, caller: &str, subject: &Subject, now: Duration) -> bool {
        let Some(rate) = &self.rate else { return true };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.is_empty() {
            buckets.resize_with(BUCKETS, Bucket::default);
        }
        let hash = self.hasher.hash_one((caller, subject));
        let place = usize::try_from(hash).unwrap_or_default() % BUCKETS;
        let Some(bucket) = buckets.get_mut(place) else { return true };
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        match bucket.take(rate, now) {
            Ok((taken, _)) => {
                *bucket = taken;
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_and_one_subject_have_a_bucket() {
        let pace = SubjectPace::default();
        let user = |name: &str| Subject::user(name).unwrap();
        let take = |caller, name, at| pace.take(caller, &user(name), Duration::from_millis(at));
        assert_eq!((0..300).filter(|_| take("risk", "alice", 0)).count(), 200);
        assert!(take("risk", "bob", 0) && take("other", "alice", 0));
        assert!(!take("risk", "alice", 1) && take("risk", "alice", 25));
    }
}
