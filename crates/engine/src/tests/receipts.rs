//! What publishers are told: enforced only if the subject's current state is stored.

use super::*;

fn refusing(applied_up_to: u64, sequence: u64) -> Poll {
    let refusal = Refusal { sequence, cause: "slab_full".into() };
    Poll { refused: vec![refusal], ..applied("a", applied_up_to) }
}

/// An engine whose one node has applied everything there is: nothing.
fn synced() -> Engine {
    let mut engine = usual();
    ask(&mut engine, &poll("a"), 0);
    ask(&mut engine, &applied("a", 0), 0);
    engine
}

/// What a publisher of this event is told when no node polls again.
fn told(engine: &mut Engine, event: Event, ms: u64) -> (Verdict, bool, Receipt) {
    let subject = event.subject.clone();
    let ingested = engine.ingest(event, at(ms)).unwrap();
    let waiter = engine.wait(&subject, ingested.sequence, at(ms));
    let complete = engine.is_complete(waiter);
    (ingested.verdict, complete, engine.finish(waiter).unwrap())
}

#[test]
fn a_refused_event_that_is_repeated_is_refused_at_once() {
    let mut engine = synced();
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    ask(&mut engine, &refusing(1, 1), 2);
    let (verdict, complete, receipt) = told(&mut engine, block("1", "alice"), 3);
    assert_eq!((verdict, complete, receipt.enforced), (Verdict::Duplicate, true, false));
    assert_eq!(receipt.refused[0].cause, "slab_full");
    assert!(receipt.nodes.is_empty() && receipt.pending.is_empty());
}

#[test]
fn a_refusal_in_an_earlier_chunk_of_a_snapshot_reaches_who_waits() {
    let bounds = BatchBounds { changes_max: 1, ..BatchBounds::default() };
    let mut engine = engine(Limits::default(), bounds);
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    engine.ingest(block("2", "bob"), at(0)).unwrap();
    let first = batch(ask(&mut engine, &poll("a"), 1));
    let waiter = engine.wait(&user("alice"), 1, at(1));
    let next = Poll { in_snapshot: true, cursor: first.cursor, ..refusing(2, 1) };
    ask(&mut engine, &next, 2);
    ask(&mut engine, &applied("a", 2), 3);
    let receipt = engine.finish(waiter).unwrap();
    assert!(!receipt.enforced);
    assert_eq!(receipt.refused[0].cause, "slab_full");
}

#[test]
fn each_of_two_events_sent_as_one_change_is_refused() {
    let mut engine = synced();
    let other = event("2", "alice", 1, json!({ "action": "block", "reason": "other" }));
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    let waiter = engine.wait(&user("alice"), 1, at(1));
    engine.ingest(other.clone(), at(1)).unwrap();
    ask(&mut engine, &refusing(2, 2), 2);
    assert!(!engine.finish(waiter).unwrap().enforced);
    for (again, ms) in [(block("1", "alice"), 3), (other, 4)] {
        let (verdict, complete, receipt) = told(&mut engine, again, ms);
        assert_eq!((verdict, complete, receipt.enforced), (Verdict::Duplicate, true, false));
    }
}

#[test]
fn a_refusal_of_a_change_that_the_log_forgot_counts_for_whomever_it_may_be_about() {
    let limits = Limits { log_entries_max: 1, ..Limits::default() };
    let mut engine = engine(limits, BatchBounds::default());
    ask(&mut engine, &poll("a"), 0);
    ask(&mut engine, &applied("a", 0), 0);
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    let waiter = engine.wait(&user("alice"), 1, at(1));
    let other = event("2", "alice", 1, json!({ "action": "block", "reason": "other" }));
    engine.ingest(other, at(1)).unwrap();
    engine.ingest(block("3", "bob"), at(1)).unwrap();
    ask(&mut engine, &applied("a", 0), 2);
    ask(&mut engine, &refusing(3, 2), 3);
    assert!(!engine.finish(waiter).unwrap().enforced);
    let (_, _, bob) = told(&mut engine, block("3", "bob"), 4);
    assert!(bob.enforced, "this one was stored");
}

#[test]
fn an_event_id_used_again_for_somebody_else_is_an_event_of_its_own() {
    let mut engine = synced();
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    let reused = engine.ingest(block("1", "bob"), at(2)).unwrap();
    assert_eq!((reused.verdict, reused.sequence), (Verdict::Applied, 2));
    assert_eq!(engine.view(&user("bob"), at(2)).unwrap().state.blocks(at(2).wall).count(), 1);
    assert_eq!(engine.ingest(block("1", "bob"), at(3)).unwrap().verdict, Verdict::Duplicate);
    assert_eq!(engine.ingest(block("1", "alice"), at(3)).unwrap().verdict, Verdict::Duplicate);
}
