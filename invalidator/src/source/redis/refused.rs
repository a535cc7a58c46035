//! Events in Redis that this daemon has refused: for good, or for a cause that may pass. Plain and
//! synchronous: time is an argument.
//!
//! What was refused for good is not looked at again. What keys, clocks or room may cure is: whenever
//! the keys are read anew, and else after a pause that grows. Otherwise a block that was signed with a
//! key that reached this daemon a minute late would never be in force here.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use engine::IngestError;
use events::EventErrorKind as Kind;
use model::name::EventId;
use model::subject::Subject;

use crate::intake::Refusal;

/// What the status says while something is refused for a cause that may pass.
pub(super) const REFUSED: &str = "some events in Redis are refused for causes that may pass, and are \
                                  tried again: see portcullis_redis_refused_events";

/// Most events that are remembered as refused for good. Beyond it all are forgotten, and refused anew.
const FINAL_MAX: usize = 65_536;
/// Most subjects of which something is tried again. What is left out is tried when all is read.
const PASSING_MAX: usize = 65_536;
/// The first pause, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Refused {
    hasher: RandomState,
    for_good: HashSet<u64>,
    passing: BTreeMap<Subject, Pause>,
    /// The keys with which the last were tried.
    keys: u64,
}

#[derive(Debug)]
struct Pause {
    due: Duration,
    length: Duration,
    events: HashSet<EventId>,
}

/// Whether time, keys or room may cure it. What the event itself says, or the configuration, stays
/// so until a restart.
pub(super) fn may_pass(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Event(error) => match error.kind {
            Kind::FromTheFuture
            | Kind::TooOld
            | Kind::UnknownKey
            | Kind::ExpiredKey
            | Kind::BadSignature
            | Kind::PublisherNotAllowed
            | Kind::BeyondAuthority => true,
            Kind::TooLarge
            | Kind::Malformed
            | Kind::UnknownVersion
            | Kind::Invalid
            | Kind::BlockedField
            | Kind::UnknownField
            | Kind::SignatureMissing => false,
        },
        Refusal::Ingest(IngestError::SubjectsFull | IngestError::TooManyTopics) => true,
        Refusal::Ingest(IngestError::IdTaken | IngestError::TooOften) => false,
    }
}

impl Refused {
    /// Whether an event was refused for good.
    pub(super) fn is_for_good(&self, event: (&Subject, &EventId)) -> bool {
        self.for_good.contains(&self.hasher.hash_one(event))
    }

    /// Whether an event was refused, for whatever cause.
    pub(super) fn contains(&self, (subject, event_id): (&Subject, &EventId)) -> bool {
        let passing = self.passing.get(subject);
        passing.is_some_and(|pause| pause.events.contains(event_id))
            || self.is_for_good((subject, event_id))
    }

    /// Notes a refusal.
    pub(super) fn note(
        &mut self,
        (subject, event_id): (&Subject, &EventId),
        may_pass: bool,
        now: Duration,
    ) {
        if !may_pass {
            if self.for_good.len() >= FINAL_MAX {
                self.for_good.clear();
            }
            self.for_good.insert(self.hasher.hash_one((subject, event_id)));
            return;
        }
        if self.passing.len() >= PASSING_MAX && !self.passing.contains_key(subject) {
            return;
        }
        let pause = self.passing.entry(subject.clone()).or_insert_with(|| Pause {
            due: now.saturating_add(PAUSE_MIN),
            length: PAUSE_MIN,
            events: HashSet::new(),
        });
        pause.events.insert(event_id.clone());
    }

    /// Notes that an event is not refused any more.
    pub(super) fn cured(&mut self, (subject, event_id): (&Subject, &EventId)) {
        if let Some(pause) = self.passing.get_mut(subject) {
            pause.events.remove(event_id);
            if pause.events.is_empty() {
                self.passing.remove(subject);
            }
        }
    }

    /// The subjects of which something is to be tried again, at most so many; their next try is
    /// later. `keys` names the keys in force: with others, all are due.
    pub(super) fn due(&mut self, keys: u64, now: Duration, max: usize) -> Vec<Subject> {
        if std::mem::replace(&mut self.keys, keys) != keys {
            self.passing.values_mut().for_each(|pause| pause.due = now);
        }
        let mut due = Vec::new();
        for (subject, pause) in &mut self.passing {
            if due.len() >= max {
                break;
            }
            if pause.due <= now {
                pause.length = pause.length.saturating_mul(2).min(PAUSE_MAX);
                pause.due = now.saturating_add(pause.length);
                due.push(subject.clone());
            }
        }
        due
    }

    /// How many events are refused for a cause that may pass.
    pub(super) fn passing(&self) -> usize {
        self.passing.values().map(|pause| pause.events.len()).sum()
    }

    /// Forgets which events of a subject are tried again: they are looked at now, and those that are
    /// still there are noted anew.
    pub(super) fn looked_at(&mut self, subject: &Subject, is_there: impl Fn(&EventId) -> bool) {
        if let Some(pause) = self.passing.get_mut(subject) {
            pause.events.retain(|event_id| is_there(event_id));
            if pause.events.is_empty() {
                self.passing.remove(subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId {
        EventId::parse(text).unwrap()
    }

    fn alice() -> Subject {
        Subject::user("alice").unwrap()
    }

    #[test]
    fn what_may_pass_is_tried_again_and_less_and_less_often() {
        let mut refused = Refused::default();
        let at = Duration::from_secs;
        refused.note((&alice(), &id("a")), true, at(0));
        refused.note((&alice(), &id("b")), false, at(0));
        assert!(refused.is_for_good((&alice(), &id("b"))));
        assert!(
            !refused.is_for_good((&alice(), &id("a"))) && refused.contains((&alice(), &id("a")))
        );
        assert_eq!(refused.due(0, at(0), 9), []);
        assert_eq!(refused.due(0, at(1), 9), [alice()]);
        assert_eq!(refused.due(0, at(2), 9), []);
        assert_eq!(refused.due(0, at(3), 9), [alice()]);
        let tries = (4..304).filter(|second| !refused.due(0, at(*second), 9).is_empty()).count();
        assert!((5..12).contains(&tries), "{tries}");
        assert_eq!(refused.passing(), 1);
    }

    #[test]
    fn other_keys_make_everything_due() {
        let mut refused = Refused::default();
        refused.note((&alice(), &id("a")), true, Duration::ZERO);
        assert_eq!(refused.due(1, Duration::ZERO, 9), [alice()]);
        assert_eq!(refused.due(1, Duration::ZERO, 9), []);
        assert_eq!(refused.due(2, Duration::ZERO, 0), [], "a few at a time");
        assert_eq!(refused.due(2, Duration::ZERO, 9), [alice()]);
    }

    #[test]
    fn what_is_cured_or_gone_is_not_counted() {
        let mut refused = Refused::default();
        for event_id in ["a", "b"] {
            refused.note((&alice(), &id(event_id)), true, Duration::ZERO);
        }
        refused.cured((&alice(), &id("a")));
        assert_eq!(refused.passing(), 1);
        refused.looked_at(&alice(), |_| false);
        assert_eq!(refused.passing(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let mut refused = Refused::default();
        for number in 0..PASSING_MAX + 10 {
            let user = Subject::user(&format!("{number}")).unwrap();
            refused.note((&user, &id("a")), true, Duration::ZERO);
            refused.note((&user, &id("b")), false, Duration::ZERO);
        }
        assert_eq!(refused.passing(), PASSING_MAX);
        assert!(refused.for_good.len() <= FINAL_MAX);
    }
}
