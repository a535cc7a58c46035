//! Bare events that were refused for a cause that may pass. Plain and synchronous: time is an argument.
//!
//! What is in Redis is looked up there again ([`super::refused`]). A bare event is nowhere else than
//! here, and among the dead letters: it is kept for as long as it could count as new, and tried when
//! the keys are read anew, and else after a pause that grows.

use std::collections::VecDeque;
use std::time::Duration;

use events::{EVENT_BYTES_MAX, EventErrorKind as Kind};
use model::state::CLOCK_ERROR_MAX;
use model::time::UnixMicros;

use crate::intake::Refusal;

/// Most events of one class that wait, and most bytes of these. Beyond it the oldest go: they are dead
/// letters, which an operator may replay.
const EVENTS_MAX: usize = 1_024;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// For how long they wait: by the clock of their publisher they may have just happened.
const PATIENCE: Duration = CLOCK_ERROR_MAX.saturating_mul(2);
/// The first pause, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A bare event, and when it came.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) event: Vec<u8>,
    pub(super) heard: UnixMicros,
    until: Duration,
    due: Duration,
    pause: Duration,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Later {
    /// Those that anybody may have sent do not push out the others.
    unproven: Queue,
    others: Queue,
    keys: u64,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Bare>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, bare: Bare) {
        self.bytes = self.bytes.saturating_add(bare.event.len());
        self.events.push_back(bare);
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.event.len());
        }
    }

    fn take_due(&mut self, now: Duration) -> Vec<Bare> {
        let (due, waiting): (Vec<_>, Vec<_>) =
            self.events.drain(..).partition(|bare| bare.due <= now);
        self.events = waiting.into();
        self.bytes = self.events.iter().map(|bare| bare.event.len()).sum();
        due.into_iter().filter(|bare| now < bare.until).collect()
    }
}

impl Later {
    /// Keeps an event that has just been refused for a cause that may pass.
    pub(super) fn keep(
        &mut self,
        event: &[u8],
        heard: UnixMicros,
        refusal: &Refusal,
        now: Duration,
    ) {
        if event.len() > EVENT_BYTES_MAX {
            return;
        }
        let (until, due) = (now.saturating_add(PATIENCE), now.saturating_add(PAUSE_MIN));
        let bare = Bare { event: event.to_vec(), heard, until, due, pause: PAUSE_MIN };
        match refusal {
            Refusal::Event(error)
                if matches!(
                    error.kind,
                    Kind::UnknownKey | Kind::BadSignature | Kind::FromTheFuture | Kind::TooOld
                ) =>
            {
                self.unproven.push(bare);
            }
            _ => self.others.push(bare),
        }
    }

    /// Those that are to be tried now; `keys` names the keys in force: with others, all are. Each that
    /// is still refused is to be [put back](Self::put_back).
    pub(super) fn due(&mut self, keys: u64, now: Duration) -> Vec<(Class, Bare)> {
        if std::mem::replace(&mut self.keys, keys) != keys {
            let all = self.unproven.events.iter_mut().chain(&mut self.others.events);
            all.for_each(|bare| bare.due = now);
        }
        let others = self.others.take_due(now).into_iter().map(|bare| (Class::Other, bare));
        let unproven = self.unproven.take_due(now).into_iter().map(|bare| (Class::Unproven, bare));
        others.chain(unproven).collect()
    }

    /// Has an event wait for its next try.
    pub(super) fn put_back(&mut self, class: Class, bare: Bare, now: Duration) {
        let pause = bare.pause.saturating_mul(2).min(PAUSE_MAX);
        let bare = Bare { pause, due: now.saturating_add(pause), ..bare };
        match class {
            Class::Unproven => self.unproven.push(bare),
            Class::Other => self.others.push(bare),
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.unproven.events.len().saturating_add(self.others.events.len())
    }
}

/// Whether somebody who is known speaks for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Unproven,
    Other,
}

#[cfg(test)]
mod tests {
    use events::EventError;

    use super::*;
    use engine::IngestError;

    fn refusal(kind: Kind) -> Refusal {
        EventError { kind, field: "sig".into(), rule: "".into() }.into()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_waits_is_tried_less_and_less_often_until_it_is_too_old() {
        let mut later = Later::default();
        later.keep(b"{}", UnixMicros(7), &refusal(Kind::UnknownKey), at(0));
        assert!(later.due(0, at(0)).is_empty());
        let mut tries = 0;
        for second in 1..2_000 {
            for (class, bare) in later.due(0, at(second)) {
                assert_eq!((class, bare.heard), (Class::Unproven, UnixMicros(7)));
                tries += 1;
                later.put_back(class, bare, at(second));
            }
        }
        assert!((15..40).contains(&tries), "{tries}");
        assert_eq!(later.len(), 0);
    }

    #[test]
    fn other_keys_make_everything_due() {
        let mut later = Later::default();
        later.keep(b"{}", UnixMicros(7), &refusal(Kind::ExpiredKey), at(0));
        later.keep(b"{}", UnixMicros(8), &refusal(Kind::BadSignature), at(0));
        let due = later.due(1, at(0));
        assert_eq!(due.iter().map(|(_, bare)| bare.heard.0).collect::<Vec<_>>(), [7, 8]);
        assert!(later.due(1, at(9)).is_empty(), "they are taken");
    }

    #[test]
    fn a_flood_of_what_anybody_may_send_pushes_out_its_like_only() {
        let mut later = Later::default();
        later.keep(b"genuine", UnixMicros(1), &Refusal::Ingest(IngestError::SubjectsFull), at(0));
        for number in 0..3 * u64::try_from(EVENTS_MAX).unwrap() {
            let event = vec![b'x'; if number % 2 == 0 { 9 } else { 9_000 }];
            later.keep(&event, UnixMicros(number), &refusal(Kind::UnknownKey), at(0));
        }
        assert!(later.unproven.bytes <= BYTES_MAX && later.unproven.events.len() <= EVENTS_MAX);
        later.keep(&vec![0; EVENT_BYTES_MAX + 1], UnixMicros(0), &refusal(Kind::TooOld), at(0));
        assert_eq!(later.due(0, at(1))[0].1.event, b"genuine");
        assert_eq!((later.unproven.bytes, later.len()), (0, 0));
    }
}
