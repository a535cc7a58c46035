//! The time that forgetting goes by.
//!
//! A wall clock that jumps ahead, and comes back, must not have ended for good what has not ended:
//! so nothing is forgotten sooner than the monotonic clock allows too. A wall clock that was
//! behind when the daemon started, and was then put right, only makes it keep for longer. One that
//! was ahead has an hour to be put right before anything is forgotten at all.

use std::time::Duration;

use model::time::UnixMicros;

use super::Now;

/// Nothing is forgotten before the daemon has run for so long.
const SETTLING: Duration = Duration::from_secs(60 * 60);

/// Whichever of two clocks is behind: the wall clock, or the time since the first reading.
#[derive(Debug, Default)]
pub(super) struct Patience {
    first: Option<Now>,
}

impl Patience {
    /// What may be forgotten at `now` has ended by this time.
    pub(super) fn time(&mut self, now: Now) -> UnixMicros {
        let first = *self.first.get_or_insert(now);
        let elapsed = now.mono.saturating_sub(first.mono);
        if elapsed < SETTLING {
            return UnixMicros::default();
        }
        now.wall.min(first.wall.saturating_add(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: u64 = SETTLING.as_secs();

    fn time(patience: &mut Patience, wall_s: u64, mono_s: u64) -> u64 {
        let now = Now { wall: UnixMicros(wall_s * 1_000_000), mono: Duration::from_secs(mono_s) };
        patience.time(now).0 / 1_000_000
    }

    /// One that was made an hour ago, when its clock showed 1000 s.
    fn settled() -> Patience {
        let mut patience = Patience::default();
        assert_eq!(time(&mut patience, 1000, 0), 0);
        assert_eq!(time(&mut patience, 999 + HOUR_S, HOUR_S - 1), 0);
        patience
    }

    #[test]
    fn clocks_in_agreement_are_followed() {
        let mut patience = settled();
        assert_eq!(time(&mut patience, 1000 + HOUR_S, HOUR_S), 1000 + HOUR_S);
        assert_eq!(time(&mut patience, 1060 + HOUR_S, HOUR_S + 60), 1060 + HOUR_S);
    }

    #[test]
    fn a_jump_ahead_is_not_followed() {
        let mut patience = settled();
        assert_eq!(time(&mut patience, 900_000, HOUR_S + 10), 1010 + HOUR_S);
        assert_eq!(time(&mut patience, 1020 + HOUR_S, HOUR_S + 20), 1020 + HOUR_S);
    }

    #[test]
    fn a_jump_back_is_followed_for_as_long_as_it_lasts() {
        let mut patience = settled();
        assert_eq!(time(&mut patience, 10, HOUR_S + 10), 10);
        assert_eq!(time(&mut patience, 1020 + HOUR_S, HOUR_S + 20), 1020 + HOUR_S);
    }

    #[test]
    fn a_clock_that_was_ahead_at_the_start_is_corrected_before_it_matters() {
        let mut patience = Patience::default();
        assert_eq!(time(&mut patience, 900_000, 0), 0);
        assert_eq!(time(&mut patience, 1000 + HOUR_S, HOUR_S), 1000 + HOUR_S);
    }
}
