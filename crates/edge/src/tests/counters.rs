//! What is counted, under which names, and when the proxy is told.

use model::testing::user;

use super::*;

#[test]
fn all_names_that_are_known_stand_at_zero() {
    let proxy = Proxy::default();
    start(&proxy, &base_with("/stat_prefix", json!("edge")));
    for name in [
        "edge.allowed",
        "edge.repeated",
        "edge.decision_ns",
        "edge.denied.limit",
        "edge.would_deny.block",
        "edge.failed_open.stale",
        "edge.limit.per-user.denied",
        "edge.integration.payments.would_deny",
        "edge.signature.portcullis.verified",
        "edge.signature.portcullis.too_large",
        "edge.push.batches",
        "edge.push.lease_taken",
    ] {
        assert_eq!(proxy.counter(name), Some(0), "{name}");
    }
    let known: Vec<_> = proxy.metrics.borrow().iter().map(|(name, _)| name.clone()).collect();
    let mut once = known.clone();
    once.sort();
    once.dedup();
    assert_eq!(known.len(), once.len());
}

#[test]
fn decisions_are_told_with_the_next_tick() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    for _ in 0..4 {
        vm.ask(alice("/"));
    }
    assert_eq!(proxy.counter("portcullis.allowed"), Some(0));
    vm.tick_after(50);
    assert_eq!(proxy.values("portcullis.allowed"), Some(vec![3]), "in one call");
    assert_eq!(proxy.counter("portcullis.denied.limit"), Some(1));
    assert_eq!(proxy.counter("portcullis.limit.per-user.denied"), Some(1));
    vm.tick_after(50);
    assert_eq!(proxy.values("portcullis.allowed"), Some(vec![3]), "and once");
}

#[test]
fn workers_count_together() {
    let proxy = Proxy::default();
    let (mut first, mut second) = (start(&proxy, &base()), start(&proxy, &base()));
    first.ask(alice("/"));
    second.ask(alice("/"));
    first.tick_after(50);
    second.tick_after(0);
    assert_eq!(proxy.counter("portcullis.allowed"), Some(2));
}

#[test]
fn reasons_have_counters_of_their_own_up_to_a_bound() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    let users: Vec<_> = (0..66).map(|at| user(&format!("u{at}"))).collect();
    let changes: Vec<_> =
        users.iter().enumerate().map(|(at, user)| (user, blocked(&format!("r{at}")))).collect();
    vm.tick_after(50);
    vm.answer_with(&batch(&changes));
    for _ in 0..2 {
        for user in &users {
            vm.ask(Exchange::get("/").with("x-user-id", user.id()));
        }
    }
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.denied.block"), Some(132));
    assert_eq!(proxy.counter("portcullis.block.r0.denied"), Some(2));
    assert_eq!(proxy.counter("portcullis.block.r63.denied"), Some(2));
    assert_eq!(proxy.counter("portcullis.block.r64.denied"), None);
    assert_eq!(proxy.counter("portcullis.block.other.denied"), Some(4));
}

#[test]
fn signatures_and_their_skew_are_counted() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    proxy.pass_ms(1_500);
    for at in 0..6 {
        assert_eq!(vm.open(at, signed(&format!("n{at}"), b""), true).1, Action::Continue);
    }
    vm.open(7, signed("m", BODY), true);
    let too_large = Exchange { body: [0; 11].into(), ..signed("l", b"") };
    let (mut stream, _) = vm.open(8, too_large, false);
    stream.on_request_body(vm.call(), 11, false);
    let skews = proxy.values("portcullis.signature.skew_ms.k1").unwrap();
    assert_eq!(skews, [1_500; 4], "so many in one tick are enough");
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.signature.portcullis.verified"), Some(6));
    assert_eq!(proxy.counter("portcullis.signature.portcullis.mismatch"), Some(1));
    assert_eq!(proxy.counter("portcullis.signature.portcullis.too_large"), Some(1));
    assert_eq!(proxy.counter("portcullis.integration.payments.denied"), Some(2));
    vm.open(9, signed("after", b""), true);
    assert_eq!(proxy.values("portcullis.signature.skew_ms.k1").unwrap().len(), 5);
}

#[test]
fn one_request_in_64_is_timed() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    for _ in 0..65 {
        vm.ask(Exchange::get("/"));
    }
    assert_eq!(proxy.values("portcullis.decision_ns"), Some(vec![0, 0]));
}

#[test]
fn what_is_in_shadow_or_fails_open_is_counted_as_such() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base_with("/limits/0/shadow", json!(true)));
    for _ in 0..4 {
        vm.ask(alice("/"));
    }
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.allowed"), Some(4));
    assert_eq!(proxy.counter("portcullis.would_deny.limit"), Some(1));
    assert_eq!(proxy.counter("portcullis.limit.per-user.would_deny"), Some(1));
    assert_eq!(proxy.counter("portcullis.failed_open.never_synced"), Some(4));
}
