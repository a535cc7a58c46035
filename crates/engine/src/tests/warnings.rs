//! What publishers are warned of.

use super::*;

fn warnings(engine: &mut Engine, event: Event) -> Vec<String> {
    engine.ingest(event, at(0)).unwrap().warnings
}

fn blocks(engine: &Engine) -> usize {
    engine.view(&user("alice"), at(0)).unwrap().state.blocks(at(0).wall).count()
}

#[test]
fn an_unblock_that_is_older_than_a_block_says_what_stays() {
    let mut engine = usual();
    let ahead = event("1", "alice", 9, json!({ "action": "block", "reason": "fraud" }));
    assert_eq!(warnings(&mut engine, ahead), [""; 0]);
    let stays = "the block \"fraud\" stays in effect: event 1 of 2026-11-22T11:00:09Z is newer than \
                 this event";
    let everything = event("2", "alice", 1, json!({ "action": "unblock" }));
    assert_eq!(warnings(&mut engine, everything.clone()), [stays]);
    assert_eq!(warnings(&mut engine, everything), [stays], "also when it is repeated");
    let one = event("3", "alice", 2, json!({ "action": "unblock", "reason": "fraud" }));
    assert_eq!(warnings(&mut engine, one), [stays]);
    let other = event("4", "alice", 2, json!({ "action": "unblock", "reason": "cooling_off" }));
    let nothing = "payload.reason: lifts nothing: no block \"cooling_off\" is in effect";
    let alone = "the block \"fraud\" stays in effect: this event is about \"cooling_off\" alone";
    assert_eq!(warnings(&mut engine, other), [alone, nothing]);
    assert_eq!(blocks(&engine), 1);
    let newer = event("5", "alice", 10, json!({ "action": "unblock" }));
    assert_eq!(warnings(&mut engine, newer), [""; 0]);
    assert_eq!(blocks(&engine), 0);
}

#[test]
fn an_unblock_that_is_older_than_a_zero_says_so() {
    let mut engine = usual();
    engine
        .ingest(event("1", "alice", 9, json!({ "action": "zero", "for": "24h" })), at(0))
        .unwrap();
    let lift = event("2", "alice", 1, json!({ "action": "unblock" }));
    assert!(warnings(&mut engine, lift)[0].starts_with("the zero stays in effect"));
}

#[test]
fn an_effect_that_is_over_is_warned_of() {
    let rate = json!({
        "name": "per-user", "max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "60s",
    });
    let nothing = "payload.until: is over already: the event has no effect";
    let buckets = "payload.until: is over already: the event only empties the buckets";
    let cases = [
        (json!({ "action": "block", "until": "2026-11-22T11:59:59Z" }), nothing),
        (json!({ "action": "block", "for": "1s" }), nothing),
        (json!({ "action": "zero", "for": "1s" }), buckets),
        (json!({ "action": "override", "limit": rate, "for": "1s" }), nothing),
    ];
    for (payload, warning) in cases {
        let mut engine = usual();
        let warned = warnings(&mut engine, event("1", "alice", 0, payload.clone()));
        assert_eq!(warned, [warning], "{payload}");
    }
    let lasting = json!({ "action": "block", "for": "24h" });
    assert_eq!(warnings(&mut usual(), event("1", "alice", 0, lasting)), [""; 0]);
}

#[test]
fn a_node_that_was_turned_away_is_warned_of_for_a_minute() {
    let limits = Limits { nodes_max: 1, ..Limits::default() };
    let mut engine = engine(limits, BatchBounds::default());
    ask(&mut engine, &poll("a"), 0);
    assert_eq!(warnings(&mut engine, block("1", "alice")), [""; 0]);
    assert_eq!(engine.poll(&poll("b"), at(0)).unwrap_err(), PollError::TooManyNodes);
    let warning =
        "limits.nodes_max: a node was turned away within the last minute and may not enforce this";
    assert_eq!(warnings(&mut engine, block("2", "alice")), [warning]);
    ask(&mut engine, &applied("a", 0), 60_000);
    let later = engine.ingest(block("3", "alice"), at(60_000)).unwrap();
    assert_eq!(later.warnings, [""; 0]);
}
