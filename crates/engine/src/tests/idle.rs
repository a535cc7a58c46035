//! Nodes that store an event and do nothing about it.

use model::push::idle;

use super::*;

/// The causes, of an engine whose one node is idle about this.
fn causes(idle: &[&str], event: Event) -> Vec<&'static str> {
    let mut engine = usual();
    let idle = idle.iter().map(|name| (*name).to_owned()).collect();
    let (limits, route_groups) = (vec!["per-user".into()], vec!["bet".into()]);
    ask(&mut engine, &Poll { idle, limits, route_groups, ..poll("a") }, 0);
    let ingested = engine.ingest(event, at(0)).unwrap();
    ingested.idle.into_iter().map(|(_, cause)| cause).collect()
}

#[test]
fn a_node_is_idle_about_what_its_configuration_has_no_part_for() {
    let rate = json!({
        "name": "per-user", "max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "60s",
    });
    let of = |payload| event("1", "alice", 0, payload);
    let block = || of(json!({ "action": "block" }));
    let zero = || of(json!({ "action": "zero" }));
    let held = || of(json!({ "action": "zero", "for": "24h" }));
    let change = || of(json!({ "action": "override", "limit": rate }));
    let unblock = || of(json!({ "action": "unblock" }));

    let counted = ["blocks.shadow: blocks and zeros are only counted"];
    assert_eq!(causes(&[idle::BLOCKS], block()), counted);
    assert_eq!(causes(&[idle::BLOCKS], zero()), counted);
    assert_eq!(causes(&[idle::BLOCKS], held()), counted);
    let nobody = ["identity.user: no source names users"];
    for event in [block(), zero(), held(), change()] {
        assert_eq!(causes(&[idle::USERS, idle::BLOCKS], event), nobody);
    }
    let no_buckets = ["limits: none that counts has the key user"];
    assert_eq!(causes(&[idle::USER_BUCKETS], zero()), no_buckets);
    for event in [block(), held(), change()] {
        assert_eq!(causes(&[idle::USER_BUCKETS], event), [""; 0]);
    }
    assert_eq!(causes(&[idle::BLOCKS], change()), [""; 0]);
    assert_eq!(causes(&[idle::BLOCKS, idle::USERS], unblock()), [""; 0], "it ends what there is");
    for event in [block(), zero(), held(), change()] {
        assert_eq!(causes(&[idle::SESSIONS, idle::SESSION_BUCKETS, "unheard-of"], event), [""; 0]);
    }
}

#[test]
fn names_that_no_node_has_are_nothing_to_any() {
    let scoped =
        |scope: &[&str]| event("1", "alice", 0, json!({ "action": "block", "scope": scope }));
    let unknown = ["payload.scope: no connected node has any of these route groups"];
    assert_eq!(causes(&[], scoped(&["bett", "x"])), unknown);
    assert_eq!(causes(&[], scoped(&["bett", "bet"])), [""; 0], "of a part there is a warning");
    assert_eq!(causes(&[], scoped(&["bet"])), [""; 0]);
    let rate = json!({ "name": "other", "default": true });
    let change = event("1", "alice", 0, json!({ "action": "override", "limit": rate }));
    assert_eq!(causes(&[], change), ["payload.limit.name: no connected node has this limit"]);
}
