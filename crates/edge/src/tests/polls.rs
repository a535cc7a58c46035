//! Who polls the invalidator and when, and what becomes of answers and of their absence.

use std::time::Duration;

use model::push::{BATCH_BYTES_MAX, KeySet, Message as _, SigningKey};
use model::testing::user;

use super::*;
use crate::host::Level;

fn polls(proxy: &Proxy) -> usize {
    proxy.sent.borrow().len()
}

#[test]
fn a_poll_goes_with_the_first_tick() {
    let proxy = Proxy::default();
    *proxy.node.borrow_mut() = Some("edge-7".into());
    let mut vm = start(&proxy, &base());
    assert_eq!(proxy.tick_period.get(), Some(Duration::from_millis(50)));
    assert_eq!(polls(&proxy), 0, "not from the thread that only looks at the configuration");
    vm.tick_after(50);
    let sent = proxy.sent.borrow()[0].clone();
    assert_eq!((sent.cluster.as_str(), sent.timeout), ("daemon", Duration::from_secs(3)));
    let header = |name: &str| {
        let found = sent.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(header(":method"), Some("POST"));
    assert_eq!(header("authorization"), Some("Bearer 0123456789abcdef"));
    assert_eq!(sent.poll().node, "edge-7");
    assert_eq!(sent.poll().limits, ["per-user"]);
    for _ in 0..20 {
        vm.tick_after(50);
    }
    assert_eq!(polls(&proxy), 1, "one at a time");
    assert_eq!(proxy.counter("portcullis.push.lease_taken"), Some(1));
}

#[test]
fn a_node_has_a_name_that_the_invalidator_takes() {
    for (configured, own, expected) in [
        (Some("configured"), Some("own"), "configured"),
        (None, Some("own"), "own"),
        (None, Some("no name:\n"), "envoy"),
        (None, None, "envoy"),
    ] {
        let proxy = Proxy::default();
        *proxy.node.borrow_mut() = own.map(Into::into);
        let config = configured.map_or_else(base, |name| base_with("/node", json!(name)));
        let mut vm = start(&proxy, &config);
        vm.tick_after(50);
        assert_eq!(proxy.sent.borrow()[0].poll().node, expected);
    }
}

#[test]
fn without_an_invalidator_nobody_polls() {
    let proxy = Proxy::default();
    let mut config = base();
    config.as_object_mut().unwrap().remove("invalidator");
    config["fail_policy"] = json!({"slab_full": "deny", "contention": "deny"});
    let mut vm = start(&proxy, &config);
    assert!(vm.follower.is_none());
    vm.tick_after(50);
    assert_eq!(polls(&proxy), 0);
    assert_eq!(vm.ask(alice("/")).answer(), None);
}

#[test]
fn an_answer_is_applied_and_acknowledged_at_once() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    let other = start(&proxy, &base());
    vm.tick_after(50);
    vm.answer_with(&batch(&[(&user("alice"), blocked("fraud"))]));
    assert_eq!(polls(&proxy), 2);
    let next = proxy.sent.borrow()[1].poll();
    assert_eq!((next.epoch.as_str(), next.applied), ("e", 1));
    for vm in [&vm, &other] {
        assert_eq!(vm.ask(alice("/")).answer().map(|(status, _)| status), Some(403));
    }
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.push.batches"), Some(1));
    assert_eq!(proxy.counter("portcullis.push.changes"), Some(1));
    assert_eq!(proxy.counter("portcullis.push.snapshots"), Some(1));
}

#[test]
fn answers_to_other_requests_are_nothing_to_it() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.answer(0, Some(200), batch(&[]).encode_to_vec());
    vm.tick_after(50);
    vm.answer(77, Some(500), Vec::new());
    vm.answer(0, Some(200), batch(&[]).encode_to_vec());
    vm.answer(0, Some(500), Vec::new());
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.push.failed"), Some(0));
    assert_eq!(proxy.counter("portcullis.push.batches"), Some(1));
}

/// How long after a failure the next poll is sent, in steps of 5 ms.
fn wait_for_poll(vm: &mut Vm<'_>) -> u64 {
    let before = polls(vm.proxy);
    (1..1_000)
        .map(|step| step * 5)
        .find(|_| {
            vm.tick_after(5);
            polls(vm.proxy) > before
        })
        .unwrap()
}

#[test]
fn failures_are_tried_again_later_and_later() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    for longest in [100, 200, 400, 800, 1_000, 1_000] {
        let newest = u32::try_from(polls(&proxy) - 1).unwrap();
        vm.answer(newest, None, Vec::new());
        let waited = wait_for_poll(&mut vm);
        assert!((longest / 2..=longest + 5).contains(&waited), "{waited} of {longest} ms");
    }
    vm.answer_with(&batch(&[]));
    let newest = u32::try_from(polls(&proxy) - 1).unwrap();
    vm.answer(newest, Some(503), Vec::new());
    assert!(wait_for_poll(&mut vm) <= 105, "after a success it begins anew");
    assert_eq!(proxy.counter("portcullis.push.failed"), Some(7));
}

#[test]
fn one_line_says_that_polls_fail_and_one_that_they_work_again() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    for number in 0..3 {
        vm.answer(number, Some(401), Vec::new());
        wait_for_poll(&mut vm);
    }
    assert_eq!(proxy.logged("polling the invalidator: it refuses the secret (status 401)"), 1);
    vm.answer_with(&batch(&[]));
    let again = (Level::Info, "polling the invalidator works again".to_owned());
    assert_eq!(proxy.log.borrow().iter().filter(|line| **line == again).count(), 1);
}

#[test]
fn a_cluster_that_is_not_there_is_a_failure_like_others() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    proxy.lacks.set(Lacks { clusters: true, ..Lacks::default() });
    vm.tick_after(50);
    vm.tick_after(5);
    assert_eq!(proxy.logged("polling the invalidator: it cannot be reached"), 1);
    assert_eq!(proxy.counter("portcullis.push.failed"), Some(1), "and is not tried with each tick");
    proxy.lacks.set(Lacks::default());
    wait_for_poll(&mut vm);
}

#[test]
fn what_is_no_batch_changes_nothing() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    vm.answer(0, Some(200), b"no batch".to_vec());
    assert_eq!(proxy.logged("its answer is no batch of this protocol"), 2, "a warning, an error");
    wait_for_poll(&mut vm);
    vm.answer(1, Some(200), vec![0; BATCH_BYTES_MAX + 1]);
    wait_for_poll(&mut vm);
    assert_eq!(proxy.counter("portcullis.push.failed"), Some(2));
    assert_eq!(proxy.sent.borrow()[2].poll().epoch, "");
}

#[test]
fn one_worker_of_several_polls_and_another_takes_over() {
    let proxy = Proxy::default();
    let (mut first, mut second) = (start(&proxy, &base()), start(&proxy, &base()));
    first.tick_after(50);
    second.tick_after(0);
    assert_eq!(polls(&proxy), 1);
    // The first is gone, as after a trap: its lease ends by itself.
    second.tick_after(450);
    assert_eq!(polls(&proxy), 1);
    second.tick_after(50);
    assert_eq!(polls(&proxy), 2);
    // An answer that comes to the first now is left to the second.
    first.answer(0, Some(200), batch(&[]).encode_to_vec());
    first.tick_after(0);
    assert_eq!(proxy.counter("portcullis.push.superseded"), Some(1));
    assert_eq!(proxy.counter("portcullis.push.batches"), Some(0));
}

#[test]
fn who_is_better_placed_takes_the_lease_at_once() {
    let proxy = Proxy::default();
    let (mut busy, mut idle) = (start(&proxy, &base()), start(&proxy, &base()));
    busy.ask(alice("/"));
    busy.tick_after(50);
    assert_eq!(polls(&proxy), 1);
    idle.tick_after(0);
    assert_eq!(polls(&proxy), 2, "it serves no requests");
    proxy.is_singleton.set(true);
    let mut singleton = start(&proxy, &base());
    singleton.tick_after(0);
    assert_eq!(polls(&proxy), 3);
    busy.tick_after(10);
    idle.tick_after(10);
    assert_eq!(polls(&proxy), 3);
}

#[test]
fn a_silent_invalidator_makes_the_node_stale() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    vm.answer_with(&batch(&[]));
    assert_eq!(vm.ask(Exchange::get("/")).log_line, None);
    proxy.pass_ms(5_001);
    assert_eq!(vm.ask(Exchange::get("/")).answer(), Some((503, "portcullis:rule=stale")));
    vm.answer_with(&Batch { kind: Kind::Heartbeat.into(), ..batch(&[]) });
    assert_eq!(vm.ask(Exchange::get("/")).answer(), None);
}

#[test]
fn changes_without_room_are_reported() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    let mut wrong = batch(&[(&user("alice"), blocked("fraud"))]);
    wrong.changes[0].subject = None;
    vm.answer_with(&wrong);
    assert_eq!(proxy.logged("1 changes could not be stored and are not enforced"), 1);
    assert_eq!(proxy.sent.borrow()[1].poll().refused.len(), 1);
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.push.refused"), Some(1));
}

fn pushed(id: &str, profile: &str) -> SigningKey {
    SigningKey {
        id: id.into(),
        partner: "acme".into(),
        secret: SECRET.into(),
        profile: profile.into(),
        ..SigningKey::default()
    }
}

#[test]
fn operators_are_told_of_keys_that_will_not_be_tried() {
    let proxy = Proxy::default();
    let mut config = base();
    config["integrations"] = json!([
        {"name": "payments", "match": [{"path": {"prefix": "/pay"}}], "signature": {"profile": "portcullis"}},
        {"name": "hooks", "match": [{"path": {"prefix": "/hook"}}],
         "signature": {"profile": "github", "keys_max": 1}},
    ]);
    config["keys"] = json!([]);
    let mut vm = start(&proxy, &config);
    vm.tick_after(50);
    let keys = vec![pushed("a", "github"), pushed("b", "github"), pushed("c", "")];
    vm.answer_with(&Batch { keys: Some(KeySet { version: 1, keys }), ..batch(&[]) });
    assert_eq!(proxy.logged("key c: is for integrations of different profiles"), 1);
    assert_eq!(proxy.logged("is not tried for integration hooks"), 1);
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.push.keys_left_out"), Some(1));
    let keys = vec![SigningKey { id: "not an id".into(), ..pushed("", "") }];
    vm.answer_with(&Batch { keys: Some(KeySet { version: 2, keys }), ..batch(&[]) });
    assert_eq!(proxy.logged("the keys handed out are not used: "), 1);
}
