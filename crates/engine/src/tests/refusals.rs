//! Changes that a node could not store: never said to be enforced, and tried again.

use super::*;
use crate::node::{RETRY_REFUSED_AFTER, UNSTORED_MAX};

fn refusing(applied_up_to: u64, sequences: impl Iterator<Item = u64>) -> Poll {
    let refusal = |sequence| Refusal { sequence, cause: "slab_full".into() };
    Poll { refused: sequences.map(refusal).collect(), ..applied("a", applied_up_to) }
}

/// An engine whose one node has applied everything there is: nothing.
fn synced() -> Engine {
    let mut engine = usual();
    ask(&mut engine, &poll("a"), 0);
    ask(&mut engine, &applied("a", 0), 0);
    engine
}

fn enforced(engine: &Engine, id: &str, ms: u64) -> bool {
    engine.view(&user(id), at(ms)).unwrap().nodes.iter().all(|(_, enforced)| *enforced)
}

#[test]
fn a_refused_change_is_not_enforced_until_it_is_stored() {
    let mut engine = usual();
    ask(&mut engine, &poll("a"), 0);
    ask(&mut engine, &applied("a", 0), 0);
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    let waiter = engine.wait(&user("alice"), 1, at(1));
    let refusal = Refusal { sequence: 1, cause: "slab_full".into() };
    let polled = Poll { refused: vec![refusal], ..applied("a", 1) };
    assert_eq!(ask(&mut engine, &polled, 2), Answer::Hold);
    let receipt = engine.finish(waiter).unwrap();
    assert!(!receipt.enforced && receipt.nodes.is_empty());
    assert_eq!(receipt.refused[0].cause, "slab_full");
    let seen = engine.view(&user("alice"), at(2)).unwrap();
    assert!(seen.nodes.iter().all(|(_, enforced)| !enforced));
    assert_eq!(engine.status(at(2)).nodes[0].refused, 1);

    let again = event("2", "alice", 1, json!({ "action": "block", "reason": "fraud" }));
    engine.ingest(again, at(3)).unwrap();
    ask(&mut engine, &applied("a", 2), 4);
    assert_eq!(engine.status(at(4)).nodes[0].refused, 0);
    let seen = engine.view(&user("alice"), at(4)).unwrap();
    assert!(seen.nodes.iter().all(|(_, enforced)| *enforced));
}

#[test]
fn what_was_refused_is_tried_again_with_a_snapshot() {
    let mut engine = synced();
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    assert_eq!(ask(&mut engine, &refusing(1, 1..=1), 2), Answer::Hold);
    let due = 2 + u64::try_from(RETRY_REFUSED_AFTER.as_millis()).unwrap();
    assert_eq!(ask(&mut engine, &applied("a", 1), due - 1), Answer::Hold);
    let Answer::Batch(again) = ask(&mut engine, &applied("a", 1), due) else { panic!("held") };
    assert_eq!((again.kind(), again.changes.len(), again.last), (Kind::Snapshot, 1, true));
    assert!(!enforced(&engine, "alice", due));
    assert_eq!(ask(&mut engine, &applied("a", 1), due + 1), Answer::Hold);
    assert!(enforced(&engine, "alice", due + 1));

    // Nothing is left to try again.
    assert_eq!(ask(&mut engine, &applied("a", 1), 3 * due), Answer::Hold);
}

#[test]
fn what_is_refused_again_is_tried_again_later() {
    let mut engine = synced();
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    ask(&mut engine, &refusing(1, 1..=1), 2);
    let span = u64::try_from(RETRY_REFUSED_AFTER.as_millis()).unwrap();
    assert!(matches!(ask(&mut engine, &applied("a", 1), 2 + span), Answer::Batch(_)));
    assert_eq!(ask(&mut engine, &refusing(1, 1..=1), 3 + span), Answer::Hold);
    assert!(!enforced(&engine, "alice", 3 + span));
    assert!(matches!(ask(&mut engine, &applied("a", 1), 3 + 2 * span), Answer::Batch(_)));
}

#[test]
fn beyond_what_is_remembered_nothing_counts_as_enforced() {
    let mut engine = synced();
    engine.ingest(block("1", "alice"), at(1)).unwrap();
    ask(&mut engine, &applied("a", 1), 2);
    assert!(enforced(&engine, "alice", 2));
    // More refusals than one poll reports, of changes that the log has long forgotten.
    let all: Vec<u64> = (2..).take(UNSTORED_MAX + 1).collect();
    for some in all.chunks(1_024) {
        ask(&mut engine, &refusing(1, some.iter().copied()), 3);
    }
    assert!(!enforced(&engine, "alice", 3));
}
