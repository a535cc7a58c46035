//! Which events the states consist of: their digest, and which ones a change has dropped.
//!
//! Whatever stores events (our own file, Redis) stores these, and may forget what was dropped: at
//! once what a newer event has overtaken, and after its retention what has ended.

use std::collections::VecDeque;

use model::name::EventId;
use model::state::{Register, State};
use model::subject::Subject;
use model::time::UnixMicros;

use super::Digest;
use super::subjects::RETENTION;

/// Most reports of dropped events that wait to be taken. Beyond it the oldest are lost: whoever
/// stores events then finds out by comparing.
const DROPPED_MAX: usize = 65_536;

/// Events of one subject that its state no longer consists of. They are forgotten together: one
/// may be what keeps another one from having its effect again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Whom they are about.
    pub subject: Subject,
    /// Their ids.
    pub event_ids: Vec<EventId>,
    /// The first instant at which they may be forgotten: the epoch for what a newer event has
    /// overtaken.
    pub not_before: UnixMicros,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Kept {
    digest: Digest,
    dropped: VecDeque<Dropped>,
}

impl Kept {
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn take_dropped(&mut self, max: usize) -> Vec<Dropped> {
        let count = self.dropped.len().min(max);
        self.dropped.drain(..count).collect()
    }

    /// Counts what a state has come to consist of.
    pub(super) fn changed(&mut self, subject: &Subject, before: &State, after: &State) {
        let (before, after) = (event_ids(before), event_ids(after));
        for gone in before.iter().filter(|id| !after.contains(id)) {
            self.digest.remove(subject, gone);
        }
        for new in after.iter().filter(|id| !before.contains(id)) {
            self.digest.add(subject, new);
        }
    }

    /// Reports events that are over for long, each with the time from which on it may be
    /// forgotten.
    pub(super) fn over(&mut self, subject: &Subject, over: &[(EventId, UnixMicros)]) {
        let not_before = over.iter().map(|(_, from)| *from).max().unwrap_or_default();
        self.push(subject, over.iter().map(|(id, _)| id.clone()).collect(), not_before);
    }

    /// Reports events that newer ones have overtaken.
    pub(super) fn overtaken(&mut self, subject: &Subject, event_ids: Vec<EventId>) {
        self.push(subject, event_ids, UnixMicros(0));
    }

    /// Reports a known event again, if a newer one has overtaken it.
    pub(super) fn drop_again(&mut self, subject: &Subject, state: &State, register: &Register) {
        let id = &register.version.event_id;
        if !event_ids(state).contains(id) && state.decider_of(register).is_some() {
            self.push(subject, vec![id.clone()], UnixMicros(0));
        }
    }

    fn push(&mut self, subject: &Subject, event_ids: Vec<EventId>, not_before: UnixMicros) {
        if event_ids.is_empty() {
            return;
        }
        if self.dropped.len() >= DROPPED_MAX {
            self.dropped.pop_front();
        }
        self.dropped.push_back(Dropped { subject: subject.clone(), event_ids, not_before });
    }
}

/// Forgets in a state what has had no effect for so long that no older event is expected any more:
/// its events, each with the time from which on it may be forgotten.
pub fn prune(state: &mut State, now: UnixMicros) -> Vec<(EventId, UnixMicros)> {
    state.prune(now, RETENTION)
}

/// The ids of the events that a state consists of, each once.
pub(super) fn event_ids(state: &State) -> Vec<EventId> {
    let ids = state.registers().iter().map(|register| register.version.event_id.clone());
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use events::Event;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::subjects::Subjects;
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000_000;

    fn event(user: u8, id: u8, second: u8, payload: serde_json::Value) -> Event {
        let event = json!({
            "event_id": format!("evt-{id}"), "event_type": "t", "schema_version": "1.0",
            "occurred_at": format!("1970-01-01T00:00:{second:02}Z"),
            "key": { "user_id": format!("user-{user}") }, "payload": payload,
        });
        Event::parse(event.to_string().as_bytes(), UnixMicros(DAY)).unwrap()
    }

    fn take(subjects: &mut Subjects, event: Event, now: u64) {
        let _ = subjects.merge(&event.subject, event.register, 1, UnixMicros(now)).unwrap();
    }

    fn block(id: u8, second: u8, span: Option<&str>) -> Event {
        let mut payload = json!({ "action": "block", "reason": "fraud" });
        if let Some(span) = span {
            payload["for"] = span.into();
        }
        event(1, id, second, payload)
    }

    #[test]
    fn what_is_overtaken_may_go_at_once_and_what_has_ended_later() {
        let mut subjects = Subjects::new(10);
        take(&mut subjects, block(1, 1, None), 0);
        assert_eq!(subjects.take_dropped(9), []);
        take(&mut subjects, block(2, 2, Some("1h")), 0);
        let dropped = subjects.take_dropped(9);
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].event_ids, [EventId::parse("evt-1").unwrap()]);
        assert_eq!(dropped[0].not_before, UnixMicros(0));
        take(&mut subjects, block(3, 1, None), 0);
        assert_eq!(subjects.take_dropped(9)[0].event_ids[0].as_str(), "evt-3", "came too late");
        subjects.sweep(UnixMicros(9 * DAY));
        let dropped = subjects.take_dropped(9);
        let ends = UnixMicros(2_000_000).saturating_add(Duration::from_secs(3_600));
        assert_eq!(dropped[0].event_ids[0].as_str(), "evt-2");
        assert_eq!(dropped[0].not_before, ends.saturating_add(RETENTION));
        assert!(subjects.digest().is_empty());
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let payload = prop_oneof![
            Just(json!({ "action": "block", "reason": "fraud" })),
            Just(json!({ "action": "block", "reason": "kyc", "for": "1s" })),
            Just(json!({ "action": "unblock" })),
            Just(json!({ "action": "unblock", "reason": "kyc" })),
            Just(json!({ "action": "zero" })),
        ];
        (0u8..3, 0u8..12, 0u8..9, payload)
            .prop_map(|(user, id, second, payload)| event(user, id, second, payload))
    }

    proptest! {
        #[test]
        fn the_digest_is_always_that_of_the_states(
            history in prop::collection::vec((any_event(), 0u64..12), 0..40),
        ) {
            let mut subjects = Subjects::new(10);
            for (event, day) in history {
                take(&mut subjects, event, day * DAY);
                if day % 3 == 0 {
                    subjects.sweep(UnixMicros(day * DAY));
                }
                let mut counted = Digest::default();
                for (subject, state, _) in subjects.after(None) {
                    for id in event_ids(state) {
                        counted.add(subject, &id);
                    }
                }
                prop_assert_eq!(subjects.digest(), counted);
            }
        }
    }
}
