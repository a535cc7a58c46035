//! What becomes of an event that was taken out of an inbox, and from when it counts. Plain and
//! synchronous: time is an argument.

use std::time::Duration;

use events::{CLOCK_AHEAD_MAX, EventErrorKind};
use model::time::UnixMicros;

use super::super::refused::may_pass;
use crate::intake::Refusal;

/// For how long what a daemon has taken is left to it. Then it counts as dead, and others take it.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// How long a daemon waits for Redis to write what it has accepted: less than a lease.
pub(super) const WRITTEN_WITHIN: Duration = Duration::from_secs(3);
/// For how long an event is tried again that is refused for a cause that may pass, or that Redis does
/// not write. It is also believed to have been taken that long ago at most, so that an old signed
/// event is no younger for being laid there with an old time.
const TRIED_FOR: Duration = Duration::from_secs(60 * 60);
/// With more than so many events of one inbox laid aside, what is refused is not tried again: a
/// publisher's bad events must not be in the way of the good ones.
const RESTING_MAX: usize = 1_024;
/// The shortest pause before an event is tried again, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// With so many events in an inbox an alarm is raised.
const BACKLOG_MAX: u64 = 10_000;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It need not lie there any more.
    Done,
    /// It is to be taken again after this time.
    Later(Duration),
}

/// From when an event counts that was taken with this stamp.
pub(super) fn counts_from(stamp: &[u8], now: UnixMicros) -> UnixMicros {
    // What is no stamp was not laid there by the script.
    let at = std::str::from_utf8(stamp).ok().and_then(|text| text.parse().ok()).map(UnixMicros);
    let earliest = now.saturating_sub(TRIED_FOR);
    at.unwrap_or_default().max(earliest).min(now.saturating_add(CLOCK_AHEAD_MAX))
}

/// What becomes of an event that was refused, so long after it was taken first, while so many events of
/// its inbox are laid aside.
pub(super) fn after_refusal(refusal: &Refusal, age: Duration, held: usize) -> Fate {
    if is_cured_by_time(refusal) && held <= RESTING_MAX { tried_again(age) } else { Fate::Done }
}

/// What becomes of an event that is refused still, or that was accepted and that Redis has not written.
pub(super) fn tried_again(age: Duration) -> Fate {
    if age >= TRIED_FOR { Fate::Done } else { Fate::Later(age.clamp(PAUSE_MIN, PAUSE_MAX)) }
}

/// Whether keys, clocks or room may cure it. The age of what was taken is that of when it was taken.
/// And what its publisher may not do does not become right if rights are given later.
fn is_cured_by_time(refusal: &Refusal) -> bool {
    let is_settled =
        |kind| matches!(kind, EventErrorKind::TooOld | EventErrorKind::BeyondAuthority);
    may_pass(refusal) && !matches!(refusal, Refusal::Event(error) if is_settled(error.kind))
}

/// Whether an inbox has grown beyond [`BACKLOG_MAX`].
#[derive(Debug, Default)]
pub(super) struct Backlog {
    is_long: bool,
}

/// What has changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is too long.
    Grown,
    /// It is far from that.
    Gone,
}

impl Backlog {
    pub(super) fn look(&mut self, waiting: u64) -> Option<Change> {
        if !self.is_long && waiting > BACKLOG_MAX {
            self.is_long = true;
            return Some(Change::Grown);
        }
        if self.is_long && waiting < BACKLOG_MAX / 10 {
            self.is_long = false;
            return Some(Change::Gone);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use events::EventError;

    use super::*;
    use engine::IngestError;

    const HOUR: Duration = Duration::from_secs(3600);

    fn refusal(kind: EventErrorKind) -> Refusal {
        EventError { kind, field: "x".into(), rule: "y".into() }.into()
    }

    #[test]
    fn an_event_counts_from_when_it_was_taken_first_within_bounds() {
        let now = UnixMicros(10_000_000_000);
        assert_eq!(counts_from(b"9999999999", now), UnixMicros(9_999_999_999));
        assert_eq!(counts_from(b"10000000007", now), UnixMicros(10_000_000_007));
        let earliest = now.saturating_sub(HOUR);
        for stamp in [&b"0"[..], b"5", b"", b"\xff", b"-1", b"1e9", b"abc"] {
            assert_eq!(counts_from(stamp, now), earliest, "{stamp:?}");
        }
        let latest = now.saturating_add(CLOCK_AHEAD_MAX);
        assert_eq!(counts_from(b"18446744073709551615", now), latest);
    }

    #[test]
    fn what_time_cures_is_tried_again_less_and_less_often_and_not_for_ever() {
        let unknown = refusal(EventErrorKind::UnknownKey);
        let after = |seconds| after_refusal(&unknown, Duration::from_secs(seconds), 1);
        assert_eq!(after(0), Fate::Later(PAUSE_MIN));
        assert_eq!(after(4), Fate::Later(Duration::from_secs(4)));
        assert_eq!(after(3_599), Fate::Later(PAUSE_MAX));
        assert_eq!(after(3_600), Fate::Done);
        assert_eq!(after_refusal(&unknown, Duration::ZERO, RESTING_MAX + 1), Fate::Done);
        assert_eq!(tried_again(Duration::ZERO), Fate::Later(PAUSE_MIN));
        assert_eq!(tried_again(HOUR), Fate::Done);
    }

    #[test]
    fn what_time_does_not_cure_is_done_with() {
        use EventErrorKind as Kind;
        for kind in EventErrorKind::ALL {
            let cured = matches!(
                kind,
                Kind::FromTheFuture
                    | Kind::UnknownKey
                    | Kind::ExpiredKey
                    | Kind::BadSignature
                    | Kind::PublisherNotAllowed
            );
            let fate = after_refusal(&refusal(kind), Duration::ZERO, 1);
            assert_eq!(fate != Fate::Done, cured, "{kind:?}");
        }
        for error in IngestError::ALL {
            let cured = matches!(error, IngestError::SubjectsFull | IngestError::TooManyTopics);
            let fate = after_refusal(&error.into(), Duration::ZERO, 1);
            assert_eq!(fate != Fate::Done, cured, "{error:?}");
        }
    }

    #[test]
    fn a_long_inbox_is_told_once_and_so_is_its_end() {
        let mut backlog = Backlog::default();
        let seen: Vec<_> = [0, BACKLOG_MAX, BACKLOG_MAX + 1, 90_000, 5_000, 999, 0, 20_000]
            .into_iter()
            .filter_map(|waiting| backlog.look(waiting))
            .collect();
        assert_eq!(seen, [Change::Grown, Change::Gone, Change::Grown]);
    }
}
