//! Keeps whoever may cause log lines without end from filling the log with them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Least time between two lines of the same sort.
const INTERVAL: Duration = Duration::from_secs(1);

/// One sort of log line: at most one per [`INTERVAL`], with the number of those left out. What is
/// left out is still counted by the metrics.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    /// Time of the last line.
    at: Option<Duration>,
    left_out: u64,
}

impl Throttle {
    /// Whether to write a line now, by the monotonic clock: if so, the number of those left out
    /// since the last one.
    pub fn admit(&self, now: Duration) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.at.is_some_and(|at| now.saturating_sub(at) < INTERVAL) {
            lines.left_out = lines.left_out.saturating_add(1);
            return None;
        }
        lines.at = Some(now);
        Some(std::mem::take(&mut lines.left_out))
    }
}

/// The sorts of lines that others can cause as often as they like.
#[derive(Debug, Default)]
pub struct Throttles {
    /// Events that were refused.
    pub bad_events: Throttle,
    /// Polls with a missing or wrong secret.
    pub wrong_secrets: Throttle,
    /// Polls that break the protocol.
    pub malformed_polls: Throttle,
    /// Polls of nodes for which there is no room.
    pub nodes_refused: Throttle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_says_how_many_were_left_out() {
        let throttle = Throttle::default();
        let admitted = [0, 1, 999, 1_000, 1_500, 2_000, 9_000]
            .map(|ms| throttle.admit(Duration::from_millis(ms)));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}
