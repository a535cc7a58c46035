//! Keeps whoever may cause log lines without end from filling the log with them: what is too much is
//! left out or counted, and that is said. Time is an argument.
//!
//! [`Throttle`] is for log lines, [`Folds`] for records of which some are kept one by one and the others are counted.
//!
//! What a line says, and where it goes, is its writer's affair. Begin with [`Throttle::admit`].

mod folds;
mod pace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::bucket::{Bucket, Rate};

pub use folds::{Folded, Folds};
pub use pace::Pace;

/// Lines of the same sort that may come at once.
const BURST: u32 = 100;
/// The time in which one more may come after that.
const INTERVAL: Duration = Duration::from_secs(1);

/// One sort of log line: a token bucket of [`BURST`] lines, one more each [`INTERVAL`], with the
/// number of those left out. What is left out is still counted by the metrics.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    bucket: Bucket,
    left_out: u64,
}

impl Throttle {
    /// Whether to write a line now, by the monotonic clock: if so, the number of those left out
    /// since the last one.
    pub fn admit(&self, now: Duration) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        match rate().map(|rate| lines.bucket.take(&rate, now)) {
            Ok(Ok((bucket, _))) => lines.bucket = bucket,
            Ok(Err(_)) => {
                lines.left_out = lines.left_out.saturating_add(1);
                return None;
            }
            // The rate is a constant, and one that can be: a test sees to that.
            Err(_) => {}
        }
        Some(std::mem::take(&mut lines.left_out))
    }
}

fn rate() -> Result<Rate, model::violation::Violation> {
    Rate::new(BURST, 1, INTERVAL)
}

/// Sorts of lines that are told apart by a name of our own.
#[derive(Debug, Default)]
pub struct ByName(Mutex<BTreeMap<&'static str, Arc<Throttle>>>);

impl ByName {
    /// As [`Throttle::admit`], of this name alone: names are constants, so there are not many.
    pub fn admit(&self, name: &'static str, now: Duration) -> Option<u64> {
        let throttle = {
            let mut throttles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(throttles.entry(name).or_default())
        };
        throttle.admit(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_one_line_per_interval_says_how_many_were_left_out() {
        assert!(rate().is_ok());
        let throttle = Throttle::default();
        let at = |ms| throttle.admit(Duration::from_millis(ms));
        assert!((0..BURST).all(|_| at(0) == Some(0)));
        let admitted = [1, 999, 1_000, 1_500, 2_000, 9_000].map(at);
        assert_eq!(admitted, [None, None, Some(2), None, Some(1), Some(0)]);
    }
}
