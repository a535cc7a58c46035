//! What is said of changes that nodes do not acknowledge in time.

use super::*;

const PATIENCE: Duration = Duration::from_millis(100);

fn sequences(engine: &mut Engine, ms: u64) -> Vec<u64> {
    let overdue = engine.overdue(PATIENCE, at(ms));
    overdue.iter().map(|overdue| overdue.change.sequence).collect()
}

#[test]
fn what_a_connected_node_does_not_acknowledge_is_said_once() {
    let mut engine = usual();
    ask(&mut engine, &poll("a"), 0);
    ask(&mut engine, &applied("a", 0), 0);
    engine.ingest(block("1", "alice"), at(10)).unwrap();
    engine.ingest(block("2", "bob"), at(60)).unwrap();
    assert!(sequences(&mut engine, 109).is_empty());
    assert_eq!(sequences(&mut engine, 110), [1]);
    assert_eq!(sequences(&mut engine, 200), [2]);
    assert!(sequences(&mut engine, 300).is_empty());
    let change = engine.change(1, at(300)).unwrap();
    assert_eq!((change.event_id.as_str(), change.after), ("1", Duration::from_millis(290)));
    assert_eq!(engine.change(3, at(300)), None);
}

#[test]
fn what_is_acknowledged_and_what_a_snapshot_brings_is_not_overdue() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    ask(&mut engine, &poll("a"), 1);
    assert!(sequences(&mut engine, 500).is_empty(), "its snapshot is under way");
    ask(&mut engine, &applied("a", 1), 501);
    engine.ingest(block("2", "bob"), at(502)).unwrap();
    ask(&mut engine, &applied("a", 2), 503);
    assert!(sequences(&mut engine, 900).is_empty());
}
