use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn rate(max: u32, per_fill: u32, interval: Duration) -> Rate {
    Rate::new(max, per_fill, interval).unwrap()
}

#[test]
fn a_burst_and_then_one_token_per_interval() {
    let rate = rate(3, 1, Duration::from_secs(1));
    let mut bucket = Bucket::default();
    let now = 100 * SECOND;
    for left in [2, 1, 0] {
        let (next, quota) = bucket.take(&rate, now).unwrap();
        assert_eq!(quota.remaining, left);
        bucket = next;
    }
    assert_eq!(bucket.take(&rate, now).unwrap_err().reset, Duration::from_secs(1));
    let half = bucket.take(&rate, now + SECOND / 2).unwrap_err();
    assert_eq!(half, Quota { rate, remaining: 0, reset: Duration::from_millis(500) });
    assert!(bucket.take(&rate, now + SECOND).is_ok());
    assert!(!bucket.is_full(now + 3 * SECOND - 1));
    assert!(bucket.is_full(now + 3 * SECOND));
}

#[test]
fn an_emptied_bucket_fills_like_any_other() {
    let rate = rate(10, 10, Duration::from_secs(10));
    let bucket = Bucket::emptied(Duration::from_secs(2), &rate, 7 * SECOND);
    assert!(bucket.take(&rate, 6 * SECOND - 1).is_err());
    assert!(bucket.take(&rate, 6 * SECOND).is_ok());
}

#[test]
fn what_was_emptied_before_the_clock_began_has_refilled_since() {
    let rate = rate(10, 10, Duration::from_secs(10));
    assert!(Bucket::emptied(Duration::from_secs(60), &rate, SECOND).is_full(SECOND));
    assert!(Bucket::emptied(Duration::MAX, &rate, 0).is_full(0));
    assert!(!Bucket::emptied(Duration::from_secs(9), &rate, SECOND).is_full(SECOND));
}

#[test]
fn under_another_rate_as_many_tokens_are_missing() {
    let slow = rate(10, 1, Duration::from_secs(60));
    let fast = rate(100, 100, Duration::from_secs(1));
    assert_ne!(slow.tag(), fast.tag());
    let raised = Bucket::emptied(Duration::ZERO, &slow, 0).under(slow.tag(), &fast, 0);
    assert_eq!(raised.take(&fast, 0).unwrap().1.remaining, 89);
    let lowered = Bucket::emptied(Duration::ZERO, &fast, 0).under(fast.tag(), &slow, 0);
    let wait = lowered.take(&slow, 0).unwrap_err().reset;
    assert_eq!(wait, Duration::from_secs(60), "emptier than empty it cannot be");
}

#[test]
fn what_is_taken_under_another_rate_is_missing_too() {
    let slow = rate(10, 1, Duration::from_secs(60));
    let charged = (0..3).fold(Bucket::default(), |bucket, _| bucket.charged(slow.tag(), 0));
    assert_eq!(charged.take(&slow, 0).unwrap().1.remaining, 6);
    let empty = (0..30).fold(charged, |bucket, _| bucket.charged(slow.tag(), 0));
    assert!(empty.take(&slow, 0).unwrap_err().reset <= Duration::from_secs(60));
}

#[test]
fn rates_out_of_range_name_the_field() {
    let second = Duration::from_secs(1);
    let field = |max, per, interval| Rate::new(max, per, interval).unwrap_err().field;
    assert_eq!(field(0, 1, second), "max_tokens");
    assert_eq!(field(1, 0, second), "tokens_per_fill");
    assert_eq!(field(1, 1, Duration::ZERO), "fill_interval");
    assert_eq!(field(1, 10_000_001, second), "fill_interval");
    assert_eq!(field(8, 1, Duration::from_secs(86_400)), "fill_interval");
    assert_eq!(field(u32::MAX, 1, crate::time::DURATION_MAX), "fill_interval");
    assert!(Rate::new(u32::MAX, 10_000_000, second).is_ok());
}

/// The obvious bucket: a count of tokens in exact fractions, with a clock of its own.
struct Oracle {
    /// In units of 1 / token_ns of a token, so that a nanosecond is a whole number.
    level: u128,
    at: u64,
}

impl Oracle {
    fn take(&mut self, rate: &Rate, now: u64) -> bool {
        let token = u128::from(rate.token_ns);
        let full = token * u128::from(rate.max_tokens());
        self.level = (self.level + u128::from(now - self.at)).min(full);
        self.at = now;
        let enough = self.level >= token;
        if enough {
            self.level -= token;
        }
        enough
    }
}

proptest! {
    /// What clients are told: `remaining` is what can be used within `reset`, whenever in it that is.
    #[test]
    fn what_is_left_can_be_used_within_the_window(
        max in 1..50_u32, per_fill in 1..10_u32, taken in 1..60_u32, at in proptest::collection::vec(0..=1_000_u64, 50),
    ) {
        let rate = rate(max, per_fill.min(max), Duration::from_secs(1));
        let (mut bucket, mut quota, now) = (Bucket::default(), None, 100 * SECOND);
        for _ in 0..taken {
            match bucket.take(&rate, now) {
                Ok((next, left)) => (bucket, quota) = (next, Some(left)),
                Err(left) => {
                    prop_assert_eq!(left.remaining, 0);
                    prop_assert!(bucket.take(&rate, now + u64::try_from(left.reset.as_nanos()).unwrap()).is_ok());
                }
            }
        }
        let quota = quota.unwrap();
        let window = u64::try_from(quota.reset.as_nanos()).unwrap();
        let mut times: Vec<_> = at.iter().map(|part| now + window / 1_000 * part).collect();
        times.truncate(quota.remaining as usize);
        times.sort_unstable();
        for time in times {
            let taken = bucket.take(&rate, time);
            prop_assert!(taken.is_ok(), "{:?}", quota);
            bucket = taken.unwrap().0;
        }
    }

    #[test]
    fn agrees_with_a_bucket_that_counts(
        max in 1u32..50,
        per_fill in 1u32..50,
        interval_ms in 1u64..5_000,
        steps in prop::collection::vec(0u64..3_000_000_000, 1..200),
    ) {
        let rate = rate(max, per_fill, Duration::from_millis(interval_ms));
        let mut now = 7 * SECOND;
        let full = u128::from(rate.token_ns) * u128::from(max);
        let mut oracle = Oracle { level: full, at: now };
        let mut bucket = Bucket::default();
        for step in steps {
            now += step;
            let taken = bucket.take(&rate, now);
            prop_assert_eq!(taken.is_ok(), oracle.take(&rate, now));
            let quota = match taken {
                Ok((next, quota)) => {
                    bucket = next;
                    quota
                }
                Err(quota) => quota,
            };
            prop_assert_eq!(u128::from(quota.remaining), oracle.level / u128::from(rate.token_ns));
            // The promise in `reset`: a token is there then, and not a nanosecond before.
            if quota.remaining == 0 {
                let then = now + u64::try_from(quota.reset.as_nanos()).unwrap();
                prop_assert!(bucket.take(&rate, then).is_ok());
                prop_assert!(bucket.take(&rate, then - 1).is_err());
            }
        }
    }

    #[test]
    fn never_more_than_burst_and_rate(
        max in 1u32..50,
        per_fill in 1u32..50,
        steps in prop::collection::vec(0u64..200_000_000, 1..300),
    ) {
        let rate = rate(max, per_fill, Duration::from_secs(1));
        let start = SECOND;
        let mut now = start;
        let mut bucket = Bucket::default();
        let mut allowed = 0u64;
        for step in steps {
            now += step;
            if let Ok((next, _)) = bucket.take(&rate, now) {
                bucket = next;
                allowed += 1;
            }
            let ceiling = u64::from(max) + (now - start) * u64::from(per_fill) / SECOND;
            prop_assert!(allowed <= ceiling, "{} > {}", allowed, ceiling);
        }
    }
}
