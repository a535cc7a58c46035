//! Requests that are held for their bodies: verified, refused, given up, and the bounds of all that.

use super::*;

/// A payment whose whole body has come.
fn payment(nonce: &str, body: &[u8]) -> Exchange {
    Exchange { body: body.into(), received: 100, ..signed(nonce, body) }
}

fn status(proxy: &Proxy, id: u32) -> Option<u32> {
    proxy.stream(id).answer().map(|(status, _)| status)
}

fn details(proxy: &Proxy, id: u32) -> String {
    proxy.stream(id).answer().unwrap().1.to_owned()
}

#[test]
fn a_signed_body_is_verified_as_it_comes() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    let (mut stream, action) = vm.open(1, payment("n", BODY), false);
    assert_eq!(action, Action::Pause);
    assert_eq!(stream.on_request_body(vm.call(), 3, false), Action::Pause);
    assert_eq!(stream.on_request_body(vm.call(), 3, false), Action::Pause, "nothing new");
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Continue);
    let seen = proxy.stream(1);
    assert_eq!(seen.answer(), None);
    assert_eq!(seen.header("x-portcullis-partner"), Some("acme"));
    assert_eq!(seen.header("x-portcullis-key-id"), Some("k1"));
    let (mut stream, _) = vm.open(2, payment("n", BODY), false);
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Pause);
    assert_eq!(status(&proxy, 2), Some(409), "used before");
}

#[test]
fn trailers_end_a_body() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    for (id, body, expected) in [(1, BODY, Action::Continue), (2, b"{\"a\":2}", Action::Pause)] {
        let request = Exchange { body: body.into(), ..signed(&format!("n{id}"), BODY) };
        let (mut stream, _) = vm.open(id, request, false);
        assert_eq!(stream.on_request_body(vm.call(), body.len(), false), Action::Pause);
        assert_eq!(stream.on_request_trailers(vm.call()), expected);
    }
    assert_eq!(status(&proxy, 2), Some(401));
    assert!(details(&proxy, 2).starts_with("portcullis:rule=signature:mismatch"));
}

#[test]
fn without_a_body_headers_are_enough() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    assert_eq!(vm.open(1, signed("n", b""), true).1, Action::Continue);
    assert_eq!(vm.open(2, signed("m", BODY), true).1, Action::Pause);
    assert_eq!(status(&proxy, 2), Some(401));
}

#[test]
fn no_more_is_read_than_a_body_may_have() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    let long = [b'x'; 11];
    let (mut stream, action) = vm.open(1, payment("n", &long), false);
    assert_eq!(action, Action::Pause);
    assert_eq!(stream.on_request_body(vm.call(), 10, false), Action::Pause);
    assert_eq!(status(&proxy, 1), None, "it may have been all");
    assert_eq!(stream.on_request_body(vm.call(), 11, false), Action::Pause);
    assert_eq!(status(&proxy, 1), Some(413));
    assert_eq!(stream.on_request_body(vm.call(), 20, true), Action::Pause, "and no second answer");
    assert_eq!(proxy.stream(1).answers.len(), 1);
}

#[test]
fn a_body_that_cannot_be_read_is_not_verified() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    let (mut stream, _) = vm.open(1, payment("n", BODY), false);
    assert_eq!(stream.on_request_body(vm.call(), BODY.len() + 1, true), Action::Pause);
    assert_eq!(status(&proxy, 1), Some(503));
    assert!(details(&proxy, 1).starts_with("portcullis:rule=body_not_held"));
}

#[test]
fn an_address_has_its_part_of_what_is_held() {
    let proxy = Proxy::default();
    let held = json!({"requests_max": 4, "address_requests_max": 2});
    let vm = start(&proxy, &base_with("/held", held));
    let mut streams = Vec::new();
    for id in 1..=2 {
        let (stream, action) = vm.open(id, payment(&format!("n{id}"), BODY), false);
        assert_eq!(action, Action::Pause);
        streams.push(stream);
    }
    vm.open(3, payment("n3", BODY), false);
    assert_eq!(status(&proxy, 3), Some(503));
    assert!(details(&proxy, 3).starts_with("portcullis:rule=body_no_room"));
    vm.open(4, payment("n4", BODY).from("10.0.0.2:80"), false);
    assert_eq!(status(&proxy, 4), None, "another address");
    streams.pop();
    vm.open(5, payment("n5", BODY), false);
    assert_eq!(status(&proxy, 5), None, "a stream that is gone makes room");
}

#[test]
fn a_body_has_only_so_long() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base_with("/held", json!({"time_max": "2s"})));
    let (mut stream, _) = vm.open(1, payment("n", BODY), false);
    stream.on_request_body(vm.call(), 3, false);
    vm.open(2, alice("/"), true);
    vm.tick_after(50);
    vm.tick_after(2_000);
    assert_eq!(status(&proxy, 1), None);
    vm.tick_after(50);
    assert_eq!(status(&proxy, 1), Some(408), "though another stream was the current one");
    assert_eq!(status(&proxy, 2), None);
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Pause);
    assert_eq!(stream.on_request_trailers(vm.call()), Action::Pause);
    vm.tick_after(5_000);
    assert_eq!(proxy.stream(1).answers.len(), 1);
}

#[test]
fn a_body_that_is_kept_from_the_plugin_is_given_up() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    let (_stream, _) = vm.open(1, payment("n", BODY), false);
    let (_silent, _) = vm.open(2, payment("m", BODY), false);
    proxy.streams.borrow_mut().get_mut(&1).unwrap().received += 7;
    vm.tick_after(1_000);
    assert_eq!(status(&proxy, 1), None, "filters before this one may keep it for a while");
    vm.tick_after(1_000);
    assert_eq!(status(&proxy, 1), Some(503));
    assert_eq!(proxy.logged("set allow_on_headers_stop_iteration: true"), 1);
    assert_eq!(status(&proxy, 2), None, "whose client has sent nothing yet");
}

#[test]
fn once_a_body_has_come_none_is_kept_back() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    let (mut first, _) = vm.open(1, payment("n", BODY), false);
    let (_slow, _) = vm.open(2, payment("m", BODY), false);
    proxy.streams.borrow_mut().get_mut(&2).unwrap().received += 7;
    first.on_request_body(vm.call(), 3, false);
    vm.tick_after(1_000);
    vm.tick_after(1_000);
    assert_eq!(status(&proxy, 2), None);
}

#[test]
fn in_shadow_a_request_that_is_given_up_goes_on() {
    let proxy = Proxy::default();
    let mut config = base_with("/held", json!({"time_max": "1s"}));
    config["integrations"][0]["shadow"] = json!(true);
    let mut vm = start_synced(&proxy, &config);
    let (mut stream, action) = vm.open(1, payment("n", BODY), false);
    assert_eq!(action, Action::Pause);
    vm.tick_after(50);
    vm.tick_after(1_050);
    let seen = proxy.stream(1);
    assert!(seen.is_resumed && seen.answer().is_none());
    assert_eq!(seen.log_line.as_deref(), Some("shadow=body_too_slow integration=payments"));
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Continue);
}

#[test]
fn who_is_blocked_meanwhile_does_not_get_through() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    let request = payment("n", BODY).with("x-user-id", "alice");
    let (mut stream, action) = vm.open(1, request, false);
    assert_eq!(action, Action::Pause);
    vm.tick_after(50);
    vm.answer_with(&batch(&[(&model::testing::user("alice"), blocked("fraud"))]));
    proxy.begin(1, proxy.stream(1));
    assert_eq!(stream.on_request_body(vm.call(), BODY.len(), true), Action::Pause);
    assert_eq!(status(&proxy, 1), Some(403));
}
