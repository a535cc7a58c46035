//! Whether Redis holds the events that are known here, as far as can be said: the same, or others
//! because something is under way, or others although nothing is. Plain and synchronous.
//!
//! After a loss of data, and whenever events are overtaken or end, both differ for a while and come
//! together by themselves: what Redis lacks waits to be written, and forgetting there is spread over
//! some seconds. That is settling. A difference that stays with nothing under way is another matter.

use std::time::Duration;

use engine::Digest;
use model::time::UnixMicros;
use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::overview::Report;

/// So long nothing may be under way, and both differ, before that counts as a difference: other
/// daemons forget and write as well, by clocks of their own, and within this time.
const DIFFERS_AFTER: Duration = Duration::from_secs(10);

/// How both stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// They hold the same.
    Same,
    /// They do not, and something is under way that may be why.
    Settling,
    /// They do not, and nothing is under way.
    Differs,
}

impl State {
    /// As it is spelled everywhere.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Settling => "settling",
            Self::Differs => "differs",
        }
    }
}

/// What is known of both at the last look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Agreement {
    /// How they stand to each other.
    pub(super) state: State,
    /// Since when they have not been the same; nothing: they are.
    pub(super) since: Option<String>,
    /// For how long, in milliseconds.
    pub(super) for_ms: u64,
    /// The events known here.
    pub(super) here: Digest,
    /// Those in Redis; nothing: it has not been looked at since it was found to have lost some.
    pub(super) there: Option<Digest>,
    /// Of those in Redis, how many this daemon does not take in: refused, or overtaken already.
    pub(super) foreign: u64,
}

impl Agreement {
    /// The same for the status, and in words.
    pub(super) fn report(&self) -> Report {
        let since = self.since.as_deref().unwrap_or("now");
        let settling = || format!("what source redis holds is settling since {since}");
        let differs = || format!("source redis differs from what is known here since {since}");
        Report {
            // Plain data can be written as JSON.
            status: to_raw_value(self).ok(),
            not_ready: (self.state == State::Differs).then(differs),
            settling: (self.state == State::Settling).then(settling),
        }
    }
}

/// One look at both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    pub(super) here: Digest,
    pub(super) there: Option<Digest>,
    pub(super) foreign: Digest,
    /// Nothing is under way that is known here.
    pub(super) settled: bool,
}

/// Follows both from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// When both were found not to be the same, by either clock.
    since: Option<(Duration, UnixMicros)>,
    /// Since when they differ with nothing under way.
    idle_since: Option<Duration>,
    last: Option<(State, Compared)>,
}

impl Follower {
    /// Notes a look. `mono` never goes back, `wall` is for people.
    pub(super) fn look(&mut self, compared: Compared, mono: Duration, wall: UnixMicros) -> State {
        let Compared { here, there, foreign, settled } = compared;
        let state = if there.unwrap_or_default() == here.plus(foreign) {
            (self.since, self.idle_since) = (None, None);
            State::Same
        } else {
            self.since.get_or_insert((mono, wall));
            if settled {
                self.idle_since.get_or_insert(mono);
            } else {
                self.idle_since = None;
            }
            let idle = self.idle_since.map(|since| mono.saturating_sub(since));
            match idle.is_some_and(|idle| idle >= DIFFERS_AFTER) {
                true => State::Differs,
                false => State::Settling,
            }
        };
        self.last = Some((state, compared));
        state
    }

    /// Notes that something begins that will take a while, such as reading everything.
    pub(super) fn unsettle(&mut self, here: Digest, mono: Duration, wall: UnixMicros) {
        self.since.get_or_insert((mono, wall));
        self.idle_since = None;
        let foreign = self.last.map(|(_, compared)| compared.foreign).unwrap_or_default();
        let compared = Compared { here, there: None, foreign, settled: false };
        self.last = Some((State::Settling, compared));
    }

    /// What is known, if anything is.
    pub(super) fn agreement(&self, mono: Duration) -> Option<Agreement> {
        let (state, Compared { here, there, foreign, .. }) = self.last?;
        let passed = self.since.map(|(since, _)| mono.saturating_sub(since)).unwrap_or_default();
        Some(Agreement {
            state,
            since: self.since.map(|(_, wall)| wall.to_string()),
            for_ms: u64::try_from(passed.as_millis()).unwrap_or(u64::MAX),
            here,
            there,
            foreign: foreign.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(count: u64) -> Digest {
        Digest { count, sum: count }
    }

    fn compared(here: u64, there: u64, settled: bool) -> Compared {
        let foreign = Digest::default();
        Compared { here: digest(here), there: Some(digest(there)), foreign, settled }
    }

    fn at(seconds: u64) -> (Duration, UnixMicros) {
        (Duration::from_secs(seconds), UnixMicros(seconds * 1_000_000))
    }

    /// The states of looks that follow each other.
    fn states(looks: &[(u64, Compared)]) -> (Vec<State>, Follower) {
        let mut follower = Follower::default();
        let look = |(seconds, compared): &(u64, Compared)| {
            let (mono, wall) = at(*seconds);
            follower.look(*compared, mono, wall)
        };
        (looks.iter().map(look).collect(), follower)
    }

    #[test]
    fn what_comes_together_by_itself_has_only_settled() {
        let looks = [
            (0, compared(5, 5, true)),
            (1, compared(5, 7, false)),
            (8, compared(5, 6, false)),
            (9, compared(5, 5, true)),
        ];
        let (states, follower) = states(&looks);
        assert_eq!(states, [State::Same, State::Settling, State::Settling, State::Same]);
        let agreement = follower.agreement(at(20).0).unwrap();
        assert_eq!((agreement.since, agreement.for_ms), (None, 0));
    }

    #[test]
    fn what_stays_with_nothing_under_way_differs_since_it_began() {
        let looks = [
            (100, compared(5, 7, false)),
            (105, compared(5, 7, true)),
            (114, compared(5, 7, true)),
            (115, compared(5, 7, true)),
        ];
        let (states, follower) = states(&looks);
        assert_eq!(states.last(), Some(&State::Differs));
        assert!(states.iter().rev().skip(1).all(|state| *state == State::Settling));
        let agreement = follower.agreement(at(130).0).unwrap();
        assert_eq!(agreement.since.as_deref(), Some("1970-01-01T00:01:40Z"));
        assert_eq!((agreement.for_ms, agreement.state), (30_000, State::Differs));
        assert_eq!((agreement.here, agreement.there), (digest(5), Some(digest(7))));
    }

    #[test]
    fn something_new_under_way_begins_the_patience_anew_and_not_the_time() {
        let looks = [
            (0, compared(5, 7, true)),
            (9, compared(5, 7, false)),
            (12, compared(5, 7, true)),
            (21, compared(5, 7, true)),
            (22, compared(5, 7, true)),
        ];
        let (states, follower) = states(&looks);
        assert_eq!(states[3..], [State::Settling, State::Differs]);
        assert_eq!(follower.agreement(at(22).0).unwrap().for_ms, 22_000);
    }

    #[test]
    fn events_of_no_use_here_are_reckoned_with() {
        let foreign = Compared { foreign: digest(2), ..compared(5, 7, true) };
        assert_eq!(states(&[(0, foreign)]).0, [State::Same]);
    }

    #[test]
    fn a_loss_is_settling_before_the_first_look_after_it() {
        let (_, mut follower) = states(&[(0, compared(5, 5, true))]);
        let (mono, wall) = at(3);
        follower.unsettle(digest(5), mono, wall);
        let agreement = follower.agreement(at(4).0).unwrap();
        assert_eq!((agreement.state, agreement.for_ms), (State::Settling, 1_000));
        assert_eq!(agreement.there, None);
        assert!(Follower::default().agreement(mono).is_none(), "nothing is known yet");
    }
}
