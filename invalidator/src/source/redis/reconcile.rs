//! One subject as Redis holds it and as it is known here: what to write there, what to forget
//! there, and what to leave alone. Plain and synchronous.

use engine::{derived, prune};
use events::{Document, Event};
use model::name::EventId;
use model::state::{Merge, Register, State};
use model::subject::Subject;
use model::time::UnixMicros;

use crate::intake::hash;

/// One event as Redis holds it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) event_id: EventId,
    /// The event, if this daemon has taken it in: what it refuses decides nothing.
    pub(super) register: Option<Register>,
}

impl Held {
    /// An event that was taken in. It is only of use if it is about this subject, under this id.
    pub(super) fn accepted(
        subject: &Subject,
        event_id: EventId,
        bytes: &[u8],
        (heard, now): (UnixMicros, UnixMicros),
    ) -> Self {
        let event = Document::read(bytes).and_then(|document| Event::of(&document, heard, now));
        let register = event.ok().filter(|(event, _)| event.subject == *subject);
        let register = register.and_then(|(event, _)| {
            let mut register = event.register;
            let own = &register.version.event_id;
            let is_its = *own == event_id || derived(own, hash(bytes)).as_ref() == Some(&event_id);
            register.version.event_id = event_id.clone();
            is_its.then_some(register)
        });
        Self { event_id, register }
    }
}

/// What to do about one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Events known here that Redis lacks.
    pub(super) write: Vec<EventId>,
    /// Events that Redis need not hold any more, each with the time before which it must.
    pub(super) forget: Vec<(EventId, UnixMicros)>,
    /// Events that Redis holds and goes on to hold, and that are not known here.
    pub(super) foreign: Vec<EventId>,
    /// Those of them that are in force by all that Redis holds, although it holds all that is known here.
    pub(super) standing: Vec<EventId>,
}

/// Compares; `known` are the ids of the subject's events after all that Redis holds was taken in,
/// and `now` is the time by Redis's clock.
pub(super) fn plan(held: &[Held], known: &[EventId], now: UnixMicros) -> Plan {
    let write = known.iter().filter(|id| !held.iter().any(|held| held.event_id == **id));
    let mut plan = Plan { write: write.cloned().collect(), ..Plan::default() };
    // What Redis's own events make of each other: whatever is known here, an event that one of
    // them has overtaken can go, and one that has ended long ago as well.
    let mut state = State::default();
    let mut no_room = Vec::new();
    for register in held.iter().filter_map(|held| held.register.clone()) {
        let event_id = register.version.event_id.clone();
        if state.merge(register) == Merge::TooManyTopics {
            no_room.push(event_id);
        }
    }
    let mut pruned = state.clone();
    let ended = prune(&mut pruned, now);
    let stands = |state: &State, id: &EventId| {
        state.registers().iter().any(|register| register.version.event_id == *id)
    };
    // Together, since one may be what keeps another one from having its effect again.
    let from = ended.iter().map(|(_, from)| *from).max().unwrap_or_default();
    for Held { event_id, register } in held.iter().filter(|held| !known.contains(&held.event_id)) {
        let id = event_id.clone();
        match register {
            Some(_) if no_room.contains(event_id) => plan.foreign.push(id),
            Some(_) if stands(&pruned, event_id) => {
                if plan.write.is_empty() {
                    plan.standing.push(id.clone());
                }
                plan.foreign.push(id);
            }
            Some(_) if stands(&state, event_id) => plan.forget.push((id, from)),
            Some(_) => plan.forget.push((id, UnixMicros(0))),
            None => plan.foreign.push(id),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use model::state::{Lane, Sequence};
    use serde_json::json;

    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000_000;

    fn id(text: &str) -> EventId {
        EventId::parse(text).unwrap()
    }

    fn alice() -> Subject {
        Subject::user("alice").unwrap()
    }

    fn held(event_id: &str, second: u8, payload: serde_json::Value) -> Held {
        let event = json!({
            "event_id": event_id, "event_type": "t", "schema_version": "1.0",
            "occurred_at": format!("1970-01-01T00:00:{second:02}Z"),
            "key": { "user_id": "alice" }, "payload": payload,
        });
        let bytes = event.to_string();
        let heard = (UnixMicros(u64::from(second) * 1_000_000), UnixMicros(DAY));
        Held::accepted(&alice(), id(event_id), bytes.as_bytes(), heard)
    }

    fn block(event_id: &str, second: u8) -> Held {
        held(event_id, second, json!({ "action": "block", "reason": "fraud" }))
    }

    fn at(days: u64) -> UnixMicros {
        UnixMicros(days * DAY)
    }

    #[test]
    fn what_redis_lacks_is_written() {
        let plan = plan(&[block("a", 1)], &[id("a"), id("b")], at(0));
        assert_eq!(plan, Plan { write: vec![id("b")], ..Plan::default() });
    }

    #[test]
    fn what_redis_itself_has_overtaken_is_forgotten_and_nothing_else() {
        let both = [block("old", 1), block("new", 2)];
        let forget = vec![(id("old"), UnixMicros(0))];
        assert_eq!(plan(&both, &[id("new")], at(0)), Plan { forget, ..Plan::default() });
        // The event that has overtaken it is not in Redis yet: it may go once that one is there.
        let only_old = plan(&[block("old", 1)], &[id("new")], at(0));
        assert_eq!((only_old.write, only_old.forget), (vec![id("new")], vec![]));
        assert_eq!(only_old.foreign, [id("old")]);
    }

    #[test]
    fn what_stands_in_redis_and_is_not_known_here_is_told_if_nothing_is_missing_there() {
        let both = [block("a", 1), held("b", 2, json!({ "action": "block", "reason": "kyc" }))];
        let plan = super::plan(&both, &[id("a")], at(0));
        assert_eq!((plan.foreign, plan.standing), (vec![id("b")], vec![id("b")]));
        let plan = super::plan(&both, &[id("a"), id("newer")], at(0));
        assert_eq!((plan.foreign, plan.standing), (vec![id("b")], vec![]), "it may be overtaken");
    }

    #[test]
    fn what_was_refused_stays_and_decides_nothing() {
        let forged = Held { event_id: id("forged"), register: None };
        let plan = plan(&[block("real", 1), forged], &[id("real")], at(0));
        assert_eq!(plan, Plan { foreign: vec![id("forged")], ..Plan::default() });
    }

    #[test]
    fn an_event_under_a_wrong_id_or_subject_is_none_of_ours() {
        let bob = Subject::user("bob").unwrap();
        let event = |key: &str| {
            json!({
                "event_id": "a", "event_type": "t", "schema_version": "1.0",
                "occurred_at": "1970-01-01T00:00:00Z", "key": { "user_id": key },
                "payload": { "action": "block" },
            })
            .to_string()
        };
        let alices = event("alice");
        assert!(
            Held::accepted(&bob, id("a"), alices.as_bytes(), (at(1), at(1))).register.is_none()
        );
        assert!(
            Held::accepted(&alice(), id("b"), alices.as_bytes(), (at(1), at(1))).register.is_none()
        );
        assert!(
            Held::accepted(&alice(), id("a"), alices.as_bytes(), (at(1), at(1))).register.is_some()
        );
    }

    #[test]
    fn what_ended_long_ago_by_rediss_clock_is_forgotten_together() {
        let block = |sequence: Option<u64>, event_id: &str, second: u8| {
            let mut held = block(event_id, second);
            let lane = Lane::default();
            let sequence = sequence.map(|number| Sequence { lane, number });
            held.register.as_mut().unwrap().version.sequence = sequence;
            held
        };
        let lift = held("lift", 5, json!({ "action": "unblock", "reason": "fraud" }));
        let both = [block(Some(7), "block", 1), lift];
        let early = plan(&both, &[], at(7));
        assert_eq!((early.forget.len(), early.foreign.len()), (0, 2), "our clock is wrong");
        let late = plan(&both, &[], at(9));
        let from = UnixMicros(5_000_000 + 8 * DAY);
        assert_eq!(late.forget, [(id("block"), from), (id("lift"), from)]);
        // A block without an end, and nothing that overrules it, stays.
        let alone = plan(&[block(Some(7), "block", 1)], &[], at(900));
        assert_eq!(alone.foreign, [id("block")]);
    }
}
