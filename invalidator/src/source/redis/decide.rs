//! What to do about what is seen in Redis: follow, read everything, or sound the alarm. Plain and
//! synchronous; whoever asks moves the bytes.

use std::time::Duration;

use engine::Digest;

use super::layout::StreamId;
use super::scripts::Look;

/// After this many comparisons in a row that could not be made, because something was always on
/// its way, everything is read all the same.
const UNSETTLED_MAX: u32 = 20;
/// When something was left out, both are compared so soon after the last comparison.
const LEFT_OUT_AFTER: Duration = Duration::from_secs(5);

/// Why the whole state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing is known of where we were.
    NoPosition,
    /// The stream no longer reaches back to where we were.
    Gap,
    /// Redis has less than it had: it was emptied, or an older copy took its place.
    Lost,
    /// Redis holds other events than are known here.
    Differs,
    /// For long no comparison could be made.
    Unsettled,
}

impl Why {
    pub(super) const ALL: [Self; 5] =
        [Self::NoPosition, Self::Gap, Self::Lost, Self::Differs, Self::Unsettled];

    /// As logs and metrics spell it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoPosition => "no_position",
            Self::Gap => "gap",
            Self::Lost => "data_lost",
            Self::Differs => "differs",
            Self::Unsettled => "unsettled",
        }
    }
}

/// Why everything has to be read before the stream can be followed; nothing: it can be, from
/// `position`.
pub(super) fn before_following(position: Option<StreamId>, look: &Look) -> Option<Why> {
    match position {
        None => Some(Why::NoPosition),
        Some(position) if look.last < position => Some(Why::Lost),
        Some(position) if is_gap(position, look) => Some(Why::Gap),
        Some(_) => None,
    }
}

/// Whether entries after `position` may be gone from the stream.
pub(super) fn is_gap(position: StreamId, look: &Look) -> bool {
    let reaches_back = look.first.is_some_and(|first| first <= position);
    look.last > position && !reaches_back && !look.whole
}

/// What is compared.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) look: &'a Look,
    /// The events known here.
    pub(super) ours: Digest,
    /// Up to where the stream has been followed.
    pub(super) position: StreamId,
    /// Something is on its way to Redis.
    pub(super) busy: bool,
    /// Our clock, which never goes back.
    pub(super) now: Duration,
}

/// Remembers from one look to the next.
#[derive(Debug)]
pub(super) struct Watch {
    interval: Duration,
    compared: Option<Duration>,
    differed: bool,
    unsettled: u32,
    /// The life of the digest that was seen last, if there was one.
    since: Option<String>,
    /// When Redis was last found empty, and everything read for that.
    emptied: Option<Duration>,
    /// The doubt that was seen last.
    doubt: String,
    /// Something was left out for want of room: a difference is what that has left.
    left_out: bool,
    /// Events in Redis that this daemon cannot or need not take in.
    pub(super) foreign: Digest,
}

impl Watch {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            compared: None,
            differed: false,
            unsettled: 0,
            since: None,
            emptied: None,
            doubt: String::new(),
            left_out: false,
            foreign: Digest::default(),
        }
    }

    /// Notes that something was left out, which the next comparison that can be made will find.
    pub(super) fn has_left_out(&mut self) {
        self.left_out = true;
    }

    /// Notes that Redis holds what is known here and nothing else, if it does: what was none of ours
    /// when everything was read has left it since.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        if seen.look.digest == Some(seen.ours) {
            self.foreign = Digest::default();
        }
    }

    /// Whether somebody has said since the last look that something is missing in Redis.
    pub(super) fn is_doubted(&mut self, look: &Look) -> bool {
        let before = std::mem::replace(&mut self.doubt, look.doubt.clone());
        before != look.doubt && !look.doubt.is_empty()
    }

    /// Whether Redis has begun anew, or is empty while something is known here that is not just
    /// about to be written there.
    pub(super) fn is_lost(&mut self, seen: &Seen<'_>) -> bool {
        let since = Some(seen.look.since.as_str()).filter(|since| !since.is_empty());
        match (&self.since, since) {
            (Some(before), Some(now)) if before != now => return true,
            (Some(_), None) => return !seen.ours.is_empty(),
            _ => {}
        }
        let empty = seen.look.digest.is_none_or(Digest::is_empty);
        // What could not be written back a moment ago cannot be written back now.
        let just_tried = self.emptied.is_some_and(|at| seen.now.saturating_sub(at) < self.interval);
        let lost = empty && !seen.ours.is_empty() && !seen.busy && !just_tried;
        if lost {
            self.emptied = Some(seen.now);
        }
        lost
    }

    /// Whether both hold the same; nothing if that cannot be said now.
    pub(super) fn is_same(&self, seen: &Seen<'_>) -> Option<bool> {
        let settled = !seen.busy && seen.position >= seen.look.last;
        settled.then(|| seen.look.digest.unwrap_or_default() == seen.ours.plus(self.foreign))
    }

    /// Whether it is time to compare.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let interval =
            if self.left_out { LEFT_OUT_AFTER.min(self.interval) } else { self.interval };
        self.compared.is_none_or(|at| now.saturating_sub(at) >= interval)
    }

    /// What a regular look means; nothing: all is well, or it is too early to say.
    pub(super) fn judge(&mut self, seen: &Seen<'_>) -> Option<Why> {
        if self.is_lost(seen) {
            return Some(Why::Lost);
        }
        if !seen.look.since.is_empty() {
            self.since = Some(seen.look.since.clone());
        }
        if !self.is_due(seen.now) {
            return None;
        }
        match self.is_same(seen) {
            None => {
                // Tried again at the next look; the count is of intervals, not of looks.
                let lost = self.compared.get_or_insert(seen.now);
                let missed = seen.now.saturating_sub(*lost).as_nanos();
                let missed = missed.checked_div(self.interval.as_nanos()).unwrap_or_default();
                self.unsettled = u32::try_from(missed).unwrap_or(u32::MAX);
                (self.unsettled > UNSETTLED_MAX).then_some(Why::Unsettled)
            }
            Some(true) => {
                self.settle(seen.now);
                None
            }
            Some(false) if self.differed || self.left_out => Some(Why::Differs),
            Some(false) => {
                self.settle(seen.now);
                self.differed = true;
                None
            }
        }
    }

    /// Notes that everything has been read, and what Redis holds that is none of ours. `since` is
    /// the life of the digest from before the reading: if Redis lost data meanwhile, what was read
    /// first is not there any more.
    pub(super) fn has_read(&mut self, foreign: Digest, since: &str, now: Duration) {
        self.foreign = foreign;
        self.since = Some(since.to_owned()).filter(|since| !since.is_empty());
        self.settle(now);
    }

    fn settle(&mut self, now: Duration) {
        self.compared = Some(now);
        self.left_out = false;
        self.unsettled = 0;
        self.differed = false;
    }
}

#[cfg(test)]
mod tests {
    use model::time::UnixMicros;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn id(ms: u64) -> StreamId {
        StreamId { ms, sequence: 0 }
    }

    fn look(first: Option<u64>, last: u64, whole: bool) -> Look {
        Look {
            time: UnixMicros(0),
            digest: Some(digest(1)),
            since: "1-0".to_owned(),
            last: id(last),
            first: first.map(id),
            whole,
            aside: 0,
            doubt: String::new(),
        }
    }

    fn digest(count: u64) -> Digest {
        Digest { count, sum: count }
    }

    fn seen(look: &Look, ours: u64, seconds: u64) -> Seen<'_> {
        let now = Duration::from_secs(seconds);
        Seen { look, ours: digest(ours), position: look.last, busy: false, now }
    }

    #[test]
    fn the_stream_is_followed_only_if_it_reaches_back_far_enough() {
        let cases = [
            (None, look(Some(1), 9, true), Some(Why::NoPosition)),
            (Some(5), look(Some(1), 9, false), None),
            (Some(5), look(Some(5), 9, false), None),
            (Some(5), look(Some(6), 9, false), Some(Why::Gap)),
            (Some(5), look(None, 9, false), Some(Why::Gap)),
            // Nothing was ever cut off: what lies between has never been.
            (Some(5), look(Some(6), 9, true), None),
            // Everything after it was read, whatever was cut off before.
            (Some(9), look(None, 9, false), None),
            (Some(5), look(Some(1), 4, true), Some(Why::Lost)),
            (Some(5), look(None, 0, true), Some(Why::Lost)),
        ];
        for (position, look, expected) in cases {
            assert_eq!(
                before_following(position.map(id), &look),
                expected,
                "{position:?} {look:?}"
            );
        }
    }

    #[test]
    fn a_difference_counts_once_it_has_been_seen_twice() {
        let look = look(Some(1), 9, true);
        let mut watch = Watch::new(INTERVAL);
        assert_eq!(watch.judge(&seen(&look, 1, 0)), None);
        assert_eq!(watch.judge(&seen(&look, 2, 29)), None, "not yet time to compare");
        assert_eq!(watch.judge(&seen(&look, 2, 30)), None, "once");
        assert_eq!(watch.judge(&seen(&look, 1, 60)), None, "the same again");
        assert_eq!(watch.judge(&seen(&look, 2, 90)), None, "once");
        assert_eq!(watch.judge(&seen(&look, 2, 120)), Some(Why::Differs));
        watch.has_read(Digest::default(), "1-0", Duration::from_secs(121));
        assert_eq!(watch.judge(&seen(&look, 1, 160)), None);
    }

    #[test]
    fn what_is_on_its_way_is_no_difference_but_not_for_ever() {
        let look = look(Some(1), 9, true);
        let mut watch = Watch::new(INTERVAL);
        assert_eq!(watch.judge(&seen(&look, 1, 0)), None);
        for seconds in 1..=629 {
            let busy = Seen { busy: true, ..seen(&look, 2, seconds) };
            assert_eq!(watch.judge(&busy), None, "{seconds}");
        }
        let busy = Seen { busy: true, ..seen(&look, 2, 630) };
        assert_eq!(watch.judge(&busy), Some(Why::Unsettled));
        let behind = Seen { position: id(8), ..seen(&look, 2, 1) };
        assert_eq!(watch.is_same(&behind), None, "the stream has not been read to its end");
    }

    #[test]
    fn an_emptied_redis_is_seen_at_once() {
        let full = look(Some(1), 9, true);
        let empty = Look { digest: None, since: String::new(), ..look(None, 0, true) };
        let mut watch = Watch::new(INTERVAL);
        assert_eq!(watch.judge(&Seen { position: id(0), ..seen(&empty, 0, 0) }), None);
        assert_eq!(watch.judge(&seen(&full, 1, 1)), None);
        assert_eq!(watch.judge(&seen(&empty, 1, 2)), Some(Why::Lost));
        let busy = Seen { busy: true, ..seen(&empty, 1, 2) };
        assert_eq!(watch.judge(&busy), Some(Why::Lost), "whatever is on its way");
        let begun_anew = Look { since: "7-0".to_owned(), ..full.clone() };
        assert_eq!(watch.judge(&seen(&begun_anew, 1, 2)), Some(Why::Lost), "and written to since");
        watch.has_read(Digest::default(), "7-0", Duration::from_secs(3));
        assert_eq!(watch.judge(&seen(&begun_anew, 1, 4)), None);
    }

    #[test]
    fn what_is_lost_while_everything_is_read_is_seen_after_it() {
        let full = look(Some(1), 9, true);
        let mut watch = Watch::new(INTERVAL);
        assert_eq!(watch.judge(&seen(&full, 1, 1)), None);
        watch.has_read(Digest::default(), &full.since, Duration::from_secs(2));
        let begun_anew = Look { since: "7-0".to_owned(), ..full };
        let busy = Seen { busy: true, ..seen(&begun_anew, 1, 3) };
        assert_eq!(watch.judge(&busy), Some(Why::Lost));
    }

    #[test]
    fn a_first_event_on_its_way_into_an_empty_redis_is_no_loss() {
        let empty = Look { digest: None, since: String::new(), ..look(None, 0, true) };
        let mut watch = Watch::new(INTERVAL);
        assert_eq!(watch.judge(&Seen { busy: true, ..seen(&empty, 1, 0) }), None);
        assert_eq!(watch.judge(&seen(&empty, 1, 1)), Some(Why::Lost));
        watch.has_read(Digest::default(), "", Duration::from_secs(2));
        assert_eq!(watch.judge(&seen(&empty, 1, 3)), None, "it could not be written back");
    }

    #[test]
    fn what_was_left_out_is_found_at_the_first_look_at_which_nothing_is_on_its_way() {
        let look = look(Some(1), 9, true);
        let mut watch = Watch::new(INTERVAL);
        assert_eq!(watch.judge(&seen(&look, 1, 0)), None);
        watch.has_left_out();
        assert_eq!(watch.judge(&seen(&look, 2, 4)), None, "too soon after the last comparison");
        let busy = Seen { busy: true, ..seen(&look, 2, 5) };
        assert_eq!(watch.judge(&busy), None);
        assert_eq!(watch.judge(&seen(&look, 2, 6)), Some(Why::Differs));
        watch.has_read(Digest::default(), "1-0", Duration::from_secs(7));
        assert_eq!(watch.judge(&seen(&look, 2, 13)), None, "once");
    }

    #[test]
    fn what_has_left_redis_since_is_not_reckoned_with() {
        let look = Look { digest: Some(digest(5)), ..look(Some(1), 9, true) };
        let mut watch = Watch::new(INTERVAL);
        watch.has_read(digest(2), "1-0", Duration::ZERO);
        watch.see(&seen(&look, 3, 1));
        assert_eq!(watch.foreign, digest(2), "it is there still");
        watch.see(&seen(&look, 5, 1));
        assert_eq!(watch.is_same(&seen(&look, 5, 1)), Some(true));
    }

    #[test]
    fn what_cannot_be_taken_in_is_reckoned_with() {
        let look = Look { digest: Some(digest(5)), ..look(Some(1), 9, true) };
        let mut watch = Watch::new(INTERVAL);
        watch.has_read(digest(2), "1-0", Duration::ZERO);
        assert_eq!(watch.is_same(&seen(&look, 3, 1)), Some(true));
        assert_eq!(watch.is_same(&seen(&look, 5, 1)), Some(false));
    }
}
