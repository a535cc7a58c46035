//! What goes ahead of its turn, what is tried again, and what is checked.

use model::state::PACKED_FORM;

use super::*;
use crate::node::RETRY_REFUSED_AFTER;

fn extras(poll: Poll) -> Poll {
    Poll { takes_extras: true, ..poll }
}

fn unblock(id: usize) -> Event {
    event(&format!("l{id}"), &format!("crowd-{id}"), 0, json!({ "action": "unblock" }))
}

/// The ids of the users in one part of a batch.
fn users(changes: &[model::push::Change]) -> Vec<String> {
    let subjects = changes.iter().map(|change| change.subject.clone().unwrap());
    subjects.map(|subject| Subject::try_from(subject).unwrap().id().to_owned()).collect()
}

fn small() -> Engine {
    let bounds = BatchBounds { changes_max: 4, ..BatchBounds::default() };
    let mut engine = engine(Limits::default(), bounds);
    let snapshot = batch(ask(&mut engine, &extras(poll("a")), 0));
    ask(&mut engine, &Poll { batch: snapshot.id, ..extras(applied("a", 0)) }, 0);
    engine
}

#[test]
fn a_block_goes_ahead_of_a_crowd_and_its_publisher_hears_at_once() {
    let mut engine = small();
    for id in 0..100 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    let done = engine.ingest(block("1", "alice"), at(2)).unwrap();
    let waiter = engine.wait(&user("alice"), done.sequence, at(2));
    let first = batch(ask(&mut engine, &extras(applied("a", 0)), 3));
    assert_eq!((first.changes.len(), first.sequence), (4, 4));
    assert_eq!(users(&first.urgent), ["alice"]);
    let next = Poll { batch: first.id, ..extras(applied("a", 4)) };
    let polled = engine.poll(&next, at(5)).unwrap();
    assert!(engine.finish(waiter).unwrap().enforced);
    assert!(polled.acknowledged.iter().any(|change| change.after == Duration::from_millis(3)));
    let Answer::Batch(second) = polled.answer else { panic!("held") };
    assert_eq!((second.urgent.len(), second.sequence), (0, 8), "once is enough");
    assert!(engine.view(&user("alice"), at(5)).unwrap().nodes.iter().all(|(_, has)| *has));
}

#[test]
fn an_urgent_change_that_was_not_confirmed_comes_again() {
    let mut engine = small();
    for id in 0..20 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    engine.ingest(block("1", "alice"), at(2)).unwrap();
    let first = batch(ask(&mut engine, &extras(applied("a", 0)), 3));
    let again = batch(ask(&mut engine, &extras(applied("a", 0)), 4));
    assert_eq!(users(&again.urgent), ["alice"]);
    assert!(again.id > first.id);
    // The first one is confirmed after all, by a VM that was slow: the second stands.
    let late = Poll { batch: first.id, ..extras(applied("a", 4)) };
    assert_eq!(users(&batch(ask(&mut engine, &late, 5)).urgent), ["alice"]);
    assert!(!engine.view(&user("alice"), at(5)).unwrap().nodes.iter().any(|(_, has)| *has));
}

#[test]
fn a_refused_urgent_change_is_not_enforced() {
    let mut engine = small();
    for id in 0..20 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    let done = engine.ingest(block("1", "alice"), at(2)).unwrap();
    let waiter = engine.wait(&user("alice"), done.sequence, at(2));
    let first = batch(ask(&mut engine, &extras(applied("a", 0)), 3));
    let refused = vec![Refusal { sequence: done.sequence, cause: "full".into() }];
    ask(&mut engine, &Poll { batch: first.id, refused, ..extras(applied("a", 4)) }, 4);
    let receipt = engine.finish(waiter).unwrap();
    assert!(!receipt.enforced && receipt.pending.is_empty());
    assert_eq!(receipt.refused[0].cause, "full");
}

#[test]
fn a_new_block_does_not_wait_for_the_end_of_a_snapshot() {
    let bounds = BatchBounds { changes_max: 4, ..BatchBounds::default() };
    let mut engine = engine(Limits::default(), bounds);
    for id in 0..40 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    let first = batch(ask(&mut engine, &extras(poll("a")), 2));
    let done = engine.ingest(block("1", "zoe"), at(3)).unwrap();
    let waiter = engine.wait(&user("zoe"), done.sequence, at(3));
    let chunk = |batch: &Batch| {
        let cursor = batch.cursor.clone();
        let next = Poll { in_snapshot: true, cursor, ..applied("a", batch.sequence) };
        extras(Poll { batch: batch.id, ..next })
    };
    let second = batch(ask(&mut engine, &chunk(&first), 4));
    assert_eq!((second.kind(), users(&second.urgent)), (Kind::Snapshot, vec!["zoe".to_owned()]));
    ask(&mut engine, &chunk(&second), 5);
    let receipt = engine.finish(waiter).unwrap();
    assert!(receipt.enforced && receipt.nodes.len() == 1, "{receipt:?}");
}

#[test]
fn a_chunk_that_was_made_ahead_is_what_comes_and_newer_blocks_go_ahead_of_it() {
    let bounds = BatchBounds { changes_max: 4, ..BatchBounds::default() };
    let mut engine = engine(Limits::default(), bounds);
    for id in 0..40 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    let polled = engine.poll(&extras(poll("a")), at(2)).unwrap();
    let (ticket, first) = (polled.ticket, batch(polled.answer));
    engine.prepare(&ticket, &SentChunk::of(&first).unwrap());
    let carried = users(&first.changes);
    // Blocks of one whom the chunk has in another state, and one whom it has not.
    let known = "crowd-12".to_owned();
    assert_eq!(carried, ["crowd-0", "crowd-1", "crowd-10", "crowd-11"]);
    assert_eq!(engine.ingest(block("z", &known), at(3)).unwrap().verdict, Verdict::Applied);
    engine.ingest(block("2", "crowd-12-new"), at(3)).unwrap();
    let next = Poll { in_snapshot: true, cursor: first.cursor, ..applied("a", first.sequence) };
    let next = extras(Poll { batch: first.id, ..next });
    let second = batch(ask(&mut engine, &next, 4));
    assert_eq!((second.kind(), second.changes.len()), (Kind::Snapshot, 4));
    assert_eq!(users(&second.changes), ["crowd-12", "crowd-13", "crowd-14", "crowd-15"]);
    assert_eq!(users(&second.urgent), [known, "crowd-12-new".to_owned()]);
    // Asked again, it is made anew: what was made ahead is for one answer.
    let again = batch(ask(&mut engine, &next, 5));
    assert!(users(&again.changes).contains(&"crowd-12-new".to_owned()));
    // Too late: another poll of the same node has come.
    engine.prepare(&ticket, &SentChunk::of(&second).unwrap());
    let again = batch(ask(&mut engine, &next, 6));
    assert!(users(&again.changes).contains(&"crowd-12-new".to_owned()));
}

#[test]
fn packed_states_are_for_nodes_that_read_them() {
    let mut engine = engine(Limits::default(), BatchBounds::default());
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    let old = batch(ask(&mut engine, &poll("old"), 2));
    assert!(old.changes[0].state.is_some() && old.changes[0].packed.is_empty());
    let new = batch(ask(&mut engine, &Poll { packed_form: PACKED_FORM, ..poll("new") }, 2));
    assert!(new.changes[0].state.is_none() && !new.changes[0].packed.is_empty());
    let states = [old, new].map(|batch| State::try_from(batch.changes[0].clone()).unwrap());
    assert_eq!(states[0], states[1]);
}

#[test]
fn what_urgent_is() {
    let mut engine = small();
    for id in 0..20 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    let limit = json!({ "name": "per-user", "default": true });
    let events = [
        ("zero", json!({ "action": "zero" })),
        ("over", json!({ "action": "block", "reason": "r", "for": "1s" })),
        ("held", json!({ "action": "zero", "until": "2026-11-23T12:00:00Z" })),
        ("rate", json!({ "action": "override", "limit": limit })),
        ("ends", json!({ "action": "block", "reason": "r", "for": "10d" })),
    ];
    for (id, payload) in events {
        engine.ingest(event(id, id, 0, payload), at(2)).unwrap();
    }
    let answer = batch(ask(&mut engine, &extras(applied("a", 0)), 3));
    assert_eq!(users(&answer.urgent), ["held", "ends"]);
}

#[test]
fn only_what_was_refused_is_tried_again() {
    let mut engine = small();
    for id in 0..9 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    let done = engine.ingest(block("1", "alice"), at(1)).unwrap();
    let refused = vec![Refusal { sequence: done.sequence, cause: "full".into() }];
    let next = Poll { refused, ..extras(applied("a", done.sequence)) };
    let polled = engine.poll(&next, at(2)).unwrap();
    assert_eq!((polled.refused.len(), &polled.answer), (1, &Answer::Hold));
    let due = at(2 + u64::try_from(RETRY_REFUSED_AFTER.as_millis()).unwrap());
    let again = engine.heartbeat(&polled.ticket, due);
    assert_eq!((again.kind(), users(&again.urgent)), (Kind::Heartbeat, vec!["alice".to_owned()]));
    // Refused once more: no news for anybody, and not enforced.
    let polled = engine.poll(&Poll { batch: again.id, ..next.clone() }, due).unwrap();
    assert_eq!((polled.refused.len(), &polled.answer), (0, &Answer::Hold));
    assert!(engine.heartbeat(&polled.ticket, due).urgent.is_empty(), "not at once");
    let later = Now { mono: due.mono * 2, ..due };
    let again = engine.heartbeat(&polled.ticket, later);
    assert_eq!(users(&again.urgent), ["alice"]);
    let stored = Poll { batch: again.id, refused: Vec::new(), ..next };
    engine.poll(&stored, later).unwrap();
    assert!(engine.view(&user("alice"), later).unwrap().nodes.iter().all(|(_, has)| *has));
    assert_eq!(engine.status(later).nodes[0].refused, 0);
}

#[test]
fn checks_go_round_within_their_rate() {
    let bounds = BatchBounds::default();
    let mut engine = Engine::new(Settings { scrub: 2, ..settings(Limits::default(), bounds) });
    for id in 0..5 {
        engine.ingest(unblock(id), at(0)).unwrap();
    }
    let first = batch(ask(&mut engine, &extras(poll("a")), 0));
    let mut next = Poll { batch: first.id, ..extras(applied("a", 5)) };
    let mut seen = Vec::new();
    for second in 1..=4 {
        let polled = engine.poll(&next, at(second * 1_000)).unwrap();
        let heartbeat = engine.heartbeat(&polled.ticket, at(second * 1_000));
        assert_eq!(heartbeat.kind(), Kind::Heartbeat);
        let checked = users(&heartbeat.check);
        assert!(checked.len() <= 2);
        seen.extend(checked);
        next.batch = heartbeat.id;
    }
    let name = |id| format!("crowd-{id}");
    assert_eq!(seen, [0, 1, 2, 3, 4, 0, 1].map(name));
    // One that is not confirmed comes again.
    let polled = engine.poll(&Poll { batch: 0, ..next.clone() }, at(5_000)).unwrap();
    assert_eq!(users(&engine.heartbeat(&polled.ticket, at(5_000)).check), [name(0), name(1)]);
    // What is found missing is counted once.
    let polled = engine.poll(&Poll { repaired: 3, ..next.clone() }, at(5_001)).unwrap();
    assert_eq!(polled.repaired, 3);
    let polled = engine.poll(&Poll { repaired: 3, ..next }, at(5_002)).unwrap();
    assert_eq!((polled.repaired, engine.status(at(5_002)).nodes[0].repaired), (0, 3));
}

#[test]
fn an_older_filter_gets_what_it_always_got() {
    let mut engine = small();
    for id in 0..20 {
        engine.ingest(unblock(id), at(1)).unwrap();
    }
    engine.ingest(block("1", "alice"), at(2)).unwrap();
    let answer = batch(ask(&mut engine, &applied("a", 0), 3));
    assert_eq!((answer.id, answer.urgent.len(), answer.check.len()), (0, 0, 0));
}
