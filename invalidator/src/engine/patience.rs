//! The time that forgetting goes by.
//!
//! A wall clock that jumps ahead, and comes back, must not have ended for good what has not ended:
//! so nothing is forgotten sooner than the monotonic clock allows too. A wall clock that was
//! behind when the daemon started, and was then put right, only makes it keep for longer.

use policy::time::UnixMicros;

use super::Now;

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
        now.wall.min(first.wall.saturating_add(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn time(patience: &mut Patience, wall_s: u64, mono_s: u64) -> u64 {
        let now = Now { wall: UnixMicros(wall_s * 1_000_000), mono: Duration::from_secs(mono_s) };
        patience.time(now).0 / 1_000_000
    }

    #[test]
    fn clocks_in_agreement_are_followed() {
        let mut patience = Patience::default();
        assert_eq!(time(&mut patience, 1000, 1), 1000);
        assert_eq!(time(&mut patience, 1060, 61), 1060);
    }

    #[test]
    fn a_jump_ahead_is_not_followed() {
        let mut patience = Patience::default();
        assert_eq!(time(&mut patience, 1000, 0), 1000);
        assert_eq!(time(&mut patience, 900_000, 10), 1010);
        assert_eq!(time(&mut patience, 1020, 20), 1020);
    }

    #[test]
    fn a_jump_back_is_followed_for_as_long_as_it_lasts() {
        let mut patience = Patience::default();
        assert_eq!(time(&mut patience, 1000, 0), 1000);
        assert_eq!(time(&mut patience, 10, 10), 10);
        assert_eq!(time(&mut patience, 1020, 20), 1020);
    }
}
