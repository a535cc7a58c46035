//! What the engine does, case by case. Random interleavings are in `simulation`.

use std::time::Duration;

use events::Event;
use model::push::batch::Kind;
use model::push::{Batch, Poll, Refusal};
use model::state::State;
use model::subject::Subject;
use model::time::UnixMicros;
use serde_json::json;

use super::*;
use crate::Limits;

mod enforcement;
mod firsts;
mod idle;
pub(super) mod keys;
mod order;
mod overdue;
mod receipts;
mod refusals;
mod urgent;
mod warnings;

const EPOCH: &str = "this-run";

pub(super) fn engine(limits: Limits, batch: BatchBounds) -> Engine {
    Engine::new(settings(limits, batch))
}

pub(super) fn settings(limits: Limits, batch: BatchBounds) -> Settings {
    Settings {
        epoch: EPOCH.to_owned(),
        limits,
        batch,
        connected_for: Duration::from_secs(3),
        scrub: 0,
        sources: vec![Source { name: "embedded", built_in: true }],
    }
}

/// A given number of milliseconds after the start.
pub(super) fn at(ms: u64) -> Now {
    let wall = UnixMicros::parse_rfc3339("2026-11-22T12:00:00Z").unwrap();
    let mono = Duration::from_millis(ms);
    Now { wall: wall.saturating_add(mono), mono }
}

pub(super) fn event(id: &str, user: &str, second: u32, payload: serde_json::Value) -> Event {
    let occurred_at = format!("2026-11-22T11:00:{second:02}Z");
    let heard = UnixMicros::parse_rfc3339(&occurred_at).unwrap();
    let json = json!({
        "event_id": id, "event_type": "test", "schema_version": "1.0",
        "occurred_at": occurred_at, "key": { "user_id": user }, "payload": payload,
    });
    Event::parse(json.to_string().as_bytes(), heard).unwrap()
}

fn block(id: &str, user: &str) -> Event {
    event(id, user, 0, json!({ "action": "block", "reason": "fraud" }))
}

fn user(id: &str) -> Subject {
    Subject::user(id).unwrap()
}

fn poll(boot_id: &str) -> Poll {
    Poll { protocol: 1, node: "edge-1".into(), boot_id: boot_id.into(), ..Poll::default() }
}

fn applied(boot_id: &str, applied: u64) -> Poll {
    Poll { epoch: EPOCH.into(), applied, ..poll(boot_id) }
}

fn usual() -> Engine {
    engine(Limits::default(), BatchBounds::default())
}

fn batch(answer: Answer) -> Batch {
    match answer {
        Answer::Batch(batch) => batch,
        Answer::Hold => panic!("the poll is held"),
    }
}

fn ask(engine: &mut Engine, poll: &Poll, ms: u64) -> Answer {
    engine.poll(poll, at(ms)).unwrap().answer
}

#[test]
fn a_new_boot_id_gets_a_snapshot_even_of_nothing() {
    let mut engine = usual();
    let first = batch(ask(&mut engine, &poll("a"), 0));
    assert_eq!((first.kind(), first.sequence, first.last), (Kind::Snapshot, 0, true));
    assert_eq!(first.epoch, EPOCH);
    assert_eq!(first.source_age_ms, Some(0));
    assert_eq!(ask(&mut engine, &applied("a", 0), 1), Answer::Hold);
    engine.ingest(block("1", "alice"), at(2)).unwrap();
    let other = batch(ask(&mut engine, &poll("b"), 3));
    assert_eq!((other.kind(), other.sequence, other.changes.len()), (Kind::Snapshot, 1, 1));
}

#[test]
fn a_wrong_epoch_or_a_sequence_of_the_future_gets_a_snapshot() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    let strangers = [
        Poll { epoch: "another-run".into(), ..applied("a", 1) },
        applied("a", 2),
        Poll { in_snapshot: true, cursor: b"\xff\xff".to_vec(), ..applied("a", 1) },
    ];
    for stranger in strangers {
        let answer = batch(ask(&mut engine, &stranger, 1));
        assert_eq!((answer.kind(), answer.sequence), (Kind::Snapshot, 1), "{stranger:?}");
    }
}

#[test]
fn a_held_poll_is_answered_with_the_change_and_then_is_not_held() {
    let mut engine = usual();
    ask(&mut engine, &poll("a"), 0);
    let polled = engine.poll(&applied("a", 0), at(1)).unwrap();
    assert_eq!(polled.answer, Answer::Hold);
    assert_eq!(polled.progress, Some(Progress::Synchronized));
    assert_eq!(engine.recheck(&polled.ticket, at(2)), Answer::Hold);
    assert_eq!(engine.heartbeat(&polled.ticket, at(2)).kind(), Kind::Heartbeat);
    engine.ingest(block("1", "alice"), at(3)).unwrap();
    let answer = batch(engine.recheck(&polled.ticket, at(3)));
    assert_eq!((answer.kind(), answer.sequence, answer.changes.len()), (Kind::Changes, 1, 1));
}

#[test]
fn a_newer_poll_of_the_same_node_supersedes_the_held_one() {
    let mut engine = usual();
    ask(&mut engine, &poll("a"), 0);
    let old = engine.poll(&applied("a", 0), at(1)).unwrap();
    let other = engine.poll(&applied("b", 0), at(1)).unwrap();
    let new = engine.poll(&applied("a", 0), at(2)).unwrap();
    assert!(new.superseded && !other.superseded);
    assert_eq!(batch(engine.recheck(&old.ticket, at(2))).kind(), Kind::Heartbeat);
    assert_eq!(engine.recheck(&new.ticket, at(2)), Answer::Hold);
    assert_eq!(engine.recheck(&other.ticket, at(2)), Answer::Hold);
    // The end of the old one must not look like the end of the new one.
    engine.release(&old.ticket);
    let long_after = at(60_000);
    assert!(engine.status(long_after).nodes.iter().all(|node| node.connected));
    engine.release(&new.ticket);
    engine.release(&other.ticket);
    assert!(engine.status(long_after).nodes.iter().all(|node| !node.connected));
}

#[test]
fn a_node_that_is_too_far_behind_gets_a_snapshot() {
    let limits = Limits { log_entries_max: 3, ..Limits::default() };
    let mut engine = engine(limits, BatchBounds::default());
    for number in 0..5 {
        engine.ingest(block(&number.to_string(), &format!("u{number}")), at(0)).unwrap();
    }
    let reached = batch(ask(&mut engine, &applied("a", 2), 1));
    assert_eq!((reached.kind(), reached.changes.len()), (Kind::Changes, 3));
    let beyond = batch(ask(&mut engine, &applied("a", 1), 2));
    assert_eq!((beyond.kind(), beyond.changes.len(), beyond.sequence), (Kind::Snapshot, 5, 5));
}

#[test]
fn batches_are_bounded_in_changes_bytes_and_entries() {
    let bounds = [
        BatchBounds { changes_max: 2, ..BatchBounds::default() },
        BatchBounds { bytes: 1, ..BatchBounds::default() },
        BatchBounds { scan_max: 2, ..BatchBounds::default() },
    ];
    for (bounds, expected) in bounds.into_iter().zip([2, 1, 2]) {
        let mut engine = engine(Limits::default(), bounds);
        for number in 0..5 {
            engine.ingest(block(&number.to_string(), &format!("u{number}")), at(0)).unwrap();
        }
        let answer = batch(ask(&mut engine, &applied("a", 0), 1));
        assert_eq!(answer.changes.len(), expected);
        assert_eq!(answer.sequence, u64::try_from(expected).unwrap());
    }
}

#[test]
fn a_subject_that_changed_often_is_sent_once_in_its_current_state() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    let lift = event("2", "alice", 1, json!({ "action": "unblock" }));
    engine.ingest(lift, at(0)).unwrap();
    let answer = batch(ask(&mut engine, &applied("a", 0), 1));
    assert_eq!((answer.sequence, answer.changes.len()), (2, 1));
    assert_eq!(answer.changes[0].sequence, 2);
}

#[test]
fn repeated_and_late_events_get_the_sequence_that_covers_them() {
    let mut engine = usual();
    let newer = event("2", "alice", 9, json!({ "action": "unblock" }));
    assert_eq!(engine.ingest(newer.clone(), at(0)).unwrap().verdict, Verdict::NoEffect);
    engine.ingest(block("other", "bob"), at(0)).unwrap();
    let again = engine.ingest(newer, at(1)).unwrap();
    assert_eq!((again.verdict, again.sequence), (Verdict::Duplicate, 1));
    let late = engine.ingest(block("1", "alice"), at(2)).unwrap();
    assert_eq!((late.verdict, late.sequence), (Verdict::Stale, 1));
    assert_eq!(engine.status(at(2)).sequence, 2);
}

#[test]
fn event_ids_beyond_the_bound_are_forgotten_and_still_harmless() {
    let limits = Limits { event_ids_max: 1, ..Limits::default() };
    let mut engine = engine(limits, BatchBounds::default());
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    engine.ingest(block("2", "bob"), at(0)).unwrap();
    let again = engine.ingest(block("1", "alice"), at(0)).unwrap();
    assert_eq!((again.verdict, again.sequence), (Verdict::Duplicate, 1));
}

#[test]
fn subjects_beyond_the_bound_are_refused_and_known_ones_still_change() {
    let limits = Limits { subjects_max: 1, ..Limits::default() };
    let mut engine = engine(limits, BatchBounds::default());
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    assert_eq!(engine.ingest(block("2", "bob"), at(0)), Err(IngestError::SubjectsFull));
    let lift = event("3", "alice", 1, json!({ "action": "unblock" }));
    assert_eq!(engine.ingest(lift, at(0)).unwrap().verdict, Verdict::Applied);
}

#[test]
fn what_has_no_effect_takes_no_room_of_a_block() {
    let limits = Limits { subjects_max: 2, ..Limits::default() };
    let mut engine = engine(limits, BatchBounds::default());
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    for number in 0..3_000 {
        let unknown = format!("unknown-{number}");
        let lift = event("u", &unknown, 1, json!({ "action": "unblock" }));
        assert_eq!(engine.ingest(lift, at(0)).unwrap().verdict, Verdict::NoEffect);
    }
    assert_eq!(engine.subjects(), 1_001, "the oldest are forgotten");
    assert_eq!(engine.take_dropped(9_999).len(), 2_000);
    // Those that are remembered still win over a block that comes later and is older.
    let late = engine.ingest(block("l", "unknown-2999"), at(0)).unwrap();
    assert_eq!(late.verdict, Verdict::Stale);
    engine.ingest(block("2", "bob"), at(0)).unwrap();
    assert!(engine.status(at(0)).is_full);
    assert_eq!(engine.ingest(block("3", "carol"), at(0)), Err(IngestError::SubjectsFull));
    engine.ingest(event("4", "bob", 1, json!({ "action": "unblock" })), at(0)).unwrap();
    assert_eq!(engine.ingest(block("3", "carol"), at(0)).unwrap().verdict, Verdict::Applied);
    let status = engine.status(at(0));
    assert_eq!((status.subjects_holding, status.is_full), (2, true));
}

#[test]
fn what_has_no_effect_any_more_is_forgotten_in_the_end() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    engine.ingest(event("2", "alice", 1, json!({ "action": "unblock" })), at(0)).unwrap();
    engine.ingest(block("3", "bob"), at(0)).unwrap();
    let day_ms = 24 * 60 * 60 * 1000;
    engine.sweep(at(day_ms));
    assert_eq!(engine.status(at(day_ms)).subjects, 2);
    engine.sweep(at(9 * day_ms));
    engine.sweep(at(9 * day_ms));
    assert_eq!(engine.status(at(9 * day_ms)).subjects, 1, "a block without end stays");
    // The log still names the subject that is gone.
    let answer = batch(ask(&mut engine, &applied("a", 0), 9 * day_ms));
    assert_eq!((answer.sequence, answer.changes.len()), (3, 1));
}

#[test]
fn publishers_wait_for_connected_nodes_only() {
    let mut engine = usual();
    for boot_id in ["a", "gone"] {
        ask(&mut engine, &poll(boot_id), 0);
    }
    let gone = engine.poll(&applied("gone", 0), at(1)).unwrap().ticket;
    engine.release(&gone);
    let held = engine.poll(&applied("a", 0), at(4_000)).unwrap();
    assert_eq!(held.answer, Answer::Hold);
    let done = engine.ingest(block("1", "alice"), at(5_000)).unwrap();
    let waiter = engine.wait(&user("alice"), done.sequence, at(5_000));
    assert!(!engine.is_complete(waiter));
    let polled = engine.poll(&applied("a", 1), at(5_002)).unwrap();
    let after: Vec<_> = polled.acknowledged.iter().map(|change| change.after).collect();
    assert_eq!(after, [Duration::from_millis(2)]);
    assert!(engine.is_complete(waiter));
    let receipt = engine.finish(waiter).unwrap();
    assert!(receipt.enforced);
    assert_eq!((receipt.nodes.len(), receipt.elapsed_ms), (1, 2.0));
    assert_eq!(engine.finish(waiter), None);
}

#[test]
fn nobody_connected_means_not_enforced() {
    let mut engine = usual();
    let done = engine.ingest(block("1", "alice"), at(0)).unwrap();
    let waiter = engine.wait(&user("alice"), done.sequence, at(0));
    assert!(engine.is_complete(waiter));
    assert!(!engine.finish(waiter).unwrap().enforced);
}

#[test]
fn a_node_in_a_snapshot_has_not_acknowledged_anything() {
    let bounds = BatchBounds { changes_max: 1, ..BatchBounds::default() };
    let mut engine = engine(Limits::default(), bounds);
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    engine.ingest(block("2", "bob"), at(0)).unwrap();
    let first = batch(ask(&mut engine, &poll("a"), 1));
    assert!(!first.last);
    let waiter = engine.wait(&user("alice"), 1, at(1));
    let next = Poll { in_snapshot: true, cursor: first.cursor, ..applied("a", first.sequence) };
    let second = batch(ask(&mut engine, &next, 2));
    assert!(second.last && !engine.is_complete(waiter));
    ask(&mut engine, &applied("a", second.sequence), 3);
    assert!(engine.is_complete(waiter));
}

#[test]
fn a_wall_clock_that_jumps_ahead_ends_nothing_for_good() {
    let mut engine = usual();
    let block = json!({ "action": "block", "reason": "fraud", "for": "24h" });
    engine.ingest(event("1", "alice", 0, block), at(0)).unwrap();
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    engine.sweep(Now { wall: at(1000).wall.saturating_add(month), ..at(1000) });
    let snapshot = batch(ask(&mut engine, &poll("a"), 2000));
    assert_eq!(snapshot.changes.len(), 1);
    for _ in 0..2 {
        // The first one only finds that it is at the end.
        engine.sweep(Now { mono: month, wall: at(0).wall.saturating_add(month) });
    }
    assert_eq!(batch(ask(&mut engine, &poll("b"), 3000)).changes.len(), 0);
}
