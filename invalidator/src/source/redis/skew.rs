//! How far Redis's clock is from ours that never jumps: an estimate that one slow answer does not spoil.
//! Plain and synchronous.
//!
//! Redis says the time somewhere between question and answer: so each answer gives bounds, which are
//! narrow if it came fast. Bounds that overlap those of before narrow them; those of before widen
//! slowly, since clocks drift. Bounds that do not overlap show that Redis's clock was set. Our time of day
//! has no part in it: whoever sets that must not change the order of events.

use std::time::Duration;

use model::time::UnixMicros;

use super::outbox::micros;

/// By how much two clocks may drift apart, in parts of a million: several times what the clocks of
/// computers do.
const DRIFT_PPM: u128 = 200;

/// Redis's clock less ours that never goes back, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skew {
    at_least: i64,
    at_most: i64,
    /// When that was so.
    at: Duration,
}

impl Skew {
    /// What one answer says, that came between two moments of ours.
    pub(super) fn of_answer(
        told: UnixMicros,
        (asked, answered): (Duration, Duration),
    ) -> Option<Self> {
        let less =
            |ours: Duration| i64::try_from(i128::from(told.0) - i128::from(micros(ours))).ok();
        let (at_least, at_most) = (less(answered)?, less(asked)?);
        (at_least <= at_most).then_some(Self { at_least, at_most, at: answered })
    }

    /// Takes in a newer answer.
    pub(super) fn with(self, newer: Self) -> Self {
        let aged = newer.at.saturating_sub(self.at).as_micros().saturating_mul(DRIFT_PPM);
        let drift = i64::try_from(aged / 1_000_000).unwrap_or(i64::MAX);
        let at_least = newer.at_least.max(self.at_least.saturating_sub(drift));
        let at_most = newer.at_most.min(self.at_most.saturating_add(drift));
        if at_least <= at_most { Self { at_least, at_most, at: newer.at } } else { newer }
    }

    /// The upper bound. What is stamped by it comes after all that was written before, also within the error
    /// of the estimate; the script that writes events does not believe more than its own clock.
    pub(super) fn latest(self) -> i64 {
        self.at_most
    }

    /// The middle between both bounds.
    pub(super) fn micros(self) -> i64 {
        self.at_least.midpoint(self.at_most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(told: u64, asked: u64, answered: u64) -> Skew {
        let ours = (Duration::from_micros(asked), Duration::from_micros(answered));
        Skew::of_answer(UnixMicros(told), ours).unwrap()
    }

    #[test]
    fn a_slow_answer_spoils_nothing_and_a_clock_that_was_set_is_believed() {
        let fast = answer(1_000_500, 1_000_000, 1_000_200);
        assert_eq!(fast.micros(), 400);
        // Redis was stopped for 320 ms: the middle alone would say -159,500 µs.
        let slow = answer(1_000_700, 1_000_200, 1_320_200);
        assert!(fast.with(slow).micros().abs_diff(400) <= 100);
        assert!(slow.with(fast).micros().abs_diff(400) <= 100);
        let set = answer(9_000_000, 3_000_000, 3_000_200);
        assert_eq!(fast.with(set).micros(), 5_999_900);
        let back = (Duration::from_micros(9), Duration::from_micros(8));
        assert_eq!(Skew::of_answer(UnixMicros(1), back), None);
    }

    proptest! {
        #[test]
        fn what_is_so_stays_within_the_bounds(
            skew in -5_000_000_i64..5_000_000,
            answers in prop::collection::vec((0..900_000_u64, 0..900_000_u64), 1..40),
        ) {
            let mut now = 1_000_000_000_u64;
            let mut known: Option<Skew> = None;
            for (there, back) in answers {
                let (asked, answered) = (now, now + there + back);
                let told = (now + there).saturating_add_signed(skew);
                let new = answer(told, asked, answered);
                let better = known.map_or(new, |known| known.with(new));
                prop_assert!(better.at_least <= skew && skew <= better.latest());
                prop_assert!(better.at_most - better.at_least <= new.at_most - new.at_least);
                known = Some(better);
                now = answered + 10_000;
            }
        }
    }
}
