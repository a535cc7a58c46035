//! Open streams of subjects that are blocked.

use model::name::Name;
use model::state::Scope;
use model::testing::{user, zero};
use model::time::UnixMicros;

use super::*;
use crate::open::LOOKS_PER_TICK_MAX;

/// Alice's stream of this id, which was let through.
fn open(vm: &Vm<'_>, id: u32, path: &str) -> crate::Stream<u32> {
    let (stream, action) = vm.open(id, alice(path), true);
    assert_eq!(action, Action::Continue, "{path}");
    stream
}

/// The invalidator tells of a block of Alice, within this scope.
fn block_alice(vm: &mut Vm<'_>, scope: &[&str]) {
    let mut what = block("fraud");
    what.scope = Scope::of(scope.iter().map(|name| Name::parse(name).unwrap()).collect());
    vm.answer_with(&batch(&[(&user("alice"), event("evt-1", 0, Effect::Block(what)))]));
}

const DETAILS: &str = "portcullis:ended;rule=block:fraud;event=evt-1";

#[test]
fn a_block_ends_what_its_subject_has_open() {
    let proxy = Proxy::default();
    let mut vm = start_synced(&proxy, &base());
    let _waits = open(&vm, 1, "/");
    let mut streams = open(&vm, 2, "/");
    assert!(streams.awaits_response());
    let _ = streams.on_response_headers(vm.call());
    let bob = Exchange::get("/").with("x-user-id", "bob");
    let _other = vm.open(3, bob, true);
    let _nobody = vm.open(4, Exchange::get("/"), true);
    vm.tick_after(50);
    block_alice(&mut vm, &[]);
    assert!(proxy.stream(1).answer().is_none(), "not before the tick");
    vm.tick_after(50);
    assert_eq!(proxy.stream(1).answer(), Some((403, DETAILS)));
    assert_eq!(proxy.stream(2).broken_off, [DETAILS]);
    for other in [3, 4] {
        let seen = proxy.stream(other);
        assert!(seen.answers.is_empty() && seen.broken_off.is_empty(), "{other}");
    }
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.streams.answered"), Some(1));
    assert_eq!(proxy.counter("portcullis.streams.broken_off"), Some(1));
}

#[test]
fn only_what_is_in_its_scope_and_configured_to_end_ends() {
    let config = base_with(
        "/blocks",
        json!({"open_streams": {"default": "end", "route_groups": {"bet": "keep"}}}),
    );
    for (config, scope, ended) in [
        (base(), &["bet"][..], [false, true]),
        (base(), &[][..], [true, true]),
        (config, &[][..], [true, false]),
        (base_with("/blocks", json!({"open_streams": "keep"})), &[][..], [false, false]),
    ] {
        let proxy = Proxy::default();
        let mut vm = start_synced(&proxy, &config);
        let streams = [open(&vm, 1, "/"), open(&vm, 2, "/bet/live")];
        vm.tick_after(50);
        block_alice(&mut vm, scope);
        vm.tick_after(50);
        let seen = [1, 2].map(|id| proxy.stream(id).answer().is_some());
        assert_eq!(seen, ended, "{scope:?}");
        drop(streams);
    }
}

#[test]
fn in_shadow_it_is_only_counted() {
    for blocks in [json!({"open_streams_shadow": true}), json!({"shadow": true})] {
        let proxy = Proxy::default();
        let mut vm = start_synced(&proxy, &base_with("/blocks", blocks));
        let _stream = open(&vm, 1, "/");
        vm.tick_after(50);
        block_alice(&mut vm, &[]);
        vm.tick_after(50);
        let seen = proxy.stream(1);
        assert!(seen.answers.is_empty() && seen.broken_off.is_empty());
        assert_eq!(seen.log_line.as_deref(), Some("shadow=block:fraud event=evt-1"));
        assert_eq!(proxy.counter("portcullis.streams.would_end"), Some(1));
    }
}

#[test]
fn a_zero_ends_what_is_open_if_it_holds_until_a_time_to_come() {
    for (until_s, ended) in [(None, false), (Some(EPOCH_S + 60), true)] {
        let proxy = Proxy::default();
        let mut vm = start_synced(&proxy, &base());
        let _stream = open(&vm, 1, "/");
        vm.tick_after(50);
        let mut what = zero();
        what.until = until_s.map(|seconds| UnixMicros(seconds * 1_000_000));
        let told = (&user("alice"), event("evt-1", 0, Effect::Zero(what)));
        vm.answer_with(&batch(&[told]));
        vm.tick_after(50);
        let status = proxy.stream(1).answer().map(|(status, _)| status);
        assert_eq!(status, ended.then_some(429), "{until_s:?}");
    }
}

/// Most requests are over in a moment.
#[test]
fn what_has_just_begun_has_a_tick_to_be_over_by_itself() {
    let proxy = Proxy::default();
    let mut vm = start_synced(&proxy, &base());
    vm.tick_after(50);
    let _stream = open(&vm, 1, "/");
    block_alice(&mut vm, &[]);
    vm.call().end_open_streams();
    vm.tick_after(1);
    vm.call().end_open_streams();
    assert!(proxy.stream(1).answer().is_none());
    vm.tick_after(50);
    assert_eq!(proxy.stream(1).answer(), Some((403, DETAILS)));
}

#[test]
fn what_is_over_is_not_ended_and_no_stream_is_ended_twice() {
    let proxy = Proxy::default();
    let mut vm = start_synced(&proxy, &base());
    let mut over = open(&vm, 1, "/");
    over.on_done(vm.call());
    over.on_done(vm.call());
    let mut ended = open(&vm, 2, "/");
    vm.tick_after(50);
    block_alice(&mut vm, &[]);
    vm.tick_after(50);
    assert!(proxy.stream(1).answers.is_empty());
    assert_eq!(proxy.stream(2).answers.len(), 1);
    ended.on_done(vm.call());
    vm.tick_after(50);
    assert_eq!(proxy.stream(2).answers.len(), 1);
}

/// The proxy calls about each stream by itself, in its worker.
#[test]
fn a_stream_that_is_reached_for_is_looked_at_once_more() {
    let proxy = Proxy::default();
    proxy.lacks.set(Lacks { switching: true, ..Lacks::default() });
    let mut vm = start_synced(&proxy, &base());
    let mut stream = open(&vm, 7, "/");
    vm.tick_after(50);
    block_alice(&mut vm, &[]);
    vm.tick_after(50);
    assert_eq!(*proxy.reached.borrow(), [7]);
    assert!(proxy.stream(7).answer().is_none());
    assert!(!stream.on_wake(vm.call()), "it is not held");
    assert_eq!(proxy.stream(7).answer(), Some((403, DETAILS)));
}

/// A body was awaited, so the request was let through later than its headers.
#[test]
fn what_was_held_and_let_through_is_ended_as_well() {
    let proxy = Proxy::default();
    let mut vm = start_synced(&proxy, &base());
    let request = signed("n1", BODY).with("x-user-id", "alice");
    let (mut stream, action) = vm.open(1, request, false);
    assert_eq!(action, Action::Pause);
    proxy.streams.borrow_mut().get_mut(&1).unwrap().body = BODY.into();
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Continue);
    vm.tick_after(50);
    block_alice(&mut vm, &[]);
    vm.tick_after(50);
    assert_eq!(proxy.stream(1).answer(), Some((403, DETAILS)));
}

#[test]
fn one_subject_with_many_streams_does_not_stop_a_worker() {
    let proxy = Proxy::default();
    let mut vm = start_synced(&proxy, &base_with("/limits", json!([])));
    let many = u32::try_from(LOOKS_PER_TICK_MAX).unwrap() + 10;
    let streams: Vec<_> = (1..=many).map(|id| open(&vm, id, "/")).collect();
    vm.tick_after(50);
    block_alice(&mut vm, &[]);
    let ended = || (1..=many).filter(|id| proxy.stream(*id).answer().is_some()).count();
    vm.tick_after(50);
    assert_eq!(ended(), LOOKS_PER_TICK_MAX);
    vm.tick_after(50);
    assert_eq!(ended(), streams.len());
}
