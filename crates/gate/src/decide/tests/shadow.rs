//! Shadow: everything is decided and counted, nothing is rejected.

use model::memory::ATTEMPTS_MAX;
use model::state::Zero;

use super::*;

/// What would have rejected, by name.
fn notes(decision: &Decision) -> Vec<&'static str> {
    assert_eq!(decision.verdict, Verdict::Allow);
    assert!(decision.notes.iter().all(|note| note.why == Why::Shadow));
    decision.notes.iter().map(|note| note.denial.cause.as_str()).collect()
}

#[test]
fn a_limit_in_shadow_is_counted_beside_one_that_rejects() {
    let mut shadowed = limit("tight", json!("user"), 1);
    shadowed["shadow"] = json!(true);
    let limits = json!([shadowed, limit("per-user", json!("user"), 3)]);
    let mut bench = Bench::new(&base_with("/limits", limits));
    assert_eq!(bench.alice("/"), "ok");
    assert_eq!(bench.alice("/"), "shadow=limit:tight");
    assert_eq!(bench.alice("/"), "shadow=limit:tight");
    assert_eq!(bench.alice("/"), "rule=limit:per-user");
    bench.pass(1.0);
    assert_eq!(bench.alice("/"), "ok", "a token that was not there was not taken either");
}

#[test]
fn blocks_and_zeros_in_shadow_are_counted() {
    let mut bench = Bench::new(&base_with("/blocks", json!({"shadow": true})));
    let hold = Zero { until: Some(at(30)), ..zero() };
    bench.push(&user("alice"), [blocked("fraud"), event("z", 0, Effect::Zero(hold))]);
    assert_eq!(notes(&bench.ask(&alice("/"))), ["block", "zero"]);
    bench.push(&user("bob"), [event("z", 0, Effect::Zero(zero()))]);
    let decision = bench.ask(&Plain::get("/").with("x-user-id", "bob"));
    assert_eq!(notes(&decision), ["zero"]);
    let zero = &decision.notes[0].denial;
    assert_eq!((zero.cause.limit(), zero.event.is_some()), (Some(0), true));
    assert_eq!(decision.quotas[0].1.remaining, 2, "the bucket itself is as full as before");
}

#[test]
fn identity_and_freshness_in_shadow_are_counted() {
    let mut config = base_with("/identity/missing_user", json!("deny"));
    config["identity"]["shadow"] = json!(true);
    config["invalidator"]["shadow"] = json!(true);
    let mut bench = Bench::new(&config);
    for (freshness, word) in [(Freshness::Stale, "stale"), (Freshness::NeverSynced, "never_synced")]
    {
        let request = Plain::get("/");
        let decision = bench.gate.decide(&request, &mut bench.memory, &bench.time, freshness);
        assert_eq!(notes(&decision), [word, "missing_identity"]);
    }
}

#[test]
fn the_global_shadow_rejects_nothing_whatever_happens() {
    let mut config = base_with("/identity/missing_user", json!("deny"));
    config["shadow"] = json!(true);
    config["storage"]["slab_bytes_max"] = json!(64);
    let mut bench = Bench::new(&config);
    let stale = |bench: &mut Bench, request: &Plain| {
        bench.gate.decide(request, &mut bench.memory, &bench.time, Freshness::Stale)
    };
    bench.push(&user("alice"), [blocked("fraud"), event("z", 0, Effect::Zero(zero()))]);
    assert_eq!(notes(&stale(&mut bench, &alice("/"))), ["stale", "block", "zero"]);
    assert_eq!(notes(&stale(&mut bench, &Plain::get("/"))), ["stale", "missing_identity"]);
    bench.memory.lose_next = ATTEMPTS_MAX;
    let bob = Plain::get("/").with("x-user-id", "bob");
    assert_eq!(notes(&bench.ask(&bob)), ["contention"]);
    let everybody = (0..200).map(|i| Plain::get("/").with("x-user-id", &format!("user-{i}")));
    let full = everybody.filter(|request| notes(&bench.ask(request)) == ["slab_full"]);
    assert!(full.count() > 100);
    for (value, _) in bench.memory.values.values_mut() {
        value[0] = crate::slab::VERSION + 1;
    }
    assert_eq!(notes(&bench.ask(&alice("/"))), ["slab_unreadable"]);
}
