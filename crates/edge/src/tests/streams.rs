//! Requests that are decided by their headers, and responses.

use gate::claim::Claim;
use model::testing::user;

use super::*;

fn header<'a>(lines: &'a [(String, String)], name: &str) -> Option<&'a str> {
    lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn an_unknown_request_passes_untouched() {
    let proxy = Proxy::default();
    let vm = start_synced(&proxy, &base());
    let (mut stream, action) = vm.open(1, Exchange::get("/"), false);
    assert_eq!(action, Action::Continue);
    assert_eq!(stream.on_request_body(vm.call(), 3, true), Action::Continue);
    assert_eq!(stream.on_request_trailers(vm.call()), Action::Continue);
    assert_eq!(stream.on_response_headers(vm.call()), Action::Continue);
    let seen = proxy.stream(1);
    assert_eq!(seen.headers, Exchange::get("/").headers);
    assert!(seen.answer().is_none() && seen.response_headers.is_empty() && seen.log_line.is_none());
}

#[test]
fn nothing_of_an_answered_request_goes_on() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    vm.tick_after(50);
    vm.answer_with(&batch(&[(&user("alice"), blocked("fraud"))]));
    let (mut stream, action) = vm.open(1, alice("/bet"), false);
    assert_eq!(action, Action::Pause);
    let seen = proxy.stream(1);
    assert_eq!(
        seen.answer(),
        Some((403, "portcullis:rule=block:fraud;event=evt-fraud")),
        "no spaces in details"
    );
    assert!(!seen.answers[0].0.body.contains("fraud"), "the client is told nothing");
    assert_eq!(stream.on_request_body(vm.call(), 3, true), Action::Pause);
    assert_eq!(stream.on_request_trailers(vm.call()), Action::Pause);
    assert_eq!(stream.on_response_headers(vm.call()), Action::Continue);
    assert!(proxy.stream(1).response_headers.is_empty());
}

#[test]
fn only_the_gate_says_who_has_signed() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    let forged = alice("/").with("x-portcullis-partner", "acme").with("x_portcullis_key-id", "k1");
    let (mut stream, _) = vm.open(1, forged, false);
    assert_eq!(proxy.stream(1).headers, alice("/").headers);
    let lines = ["x-user-id", "x-portcullis-partner", "grpc-status"];
    let trailers = lines.map(|name| (name.into(), "x".into()));
    proxy.streams.borrow_mut().get_mut(&1).unwrap().trailers = trailers.into();
    assert_eq!(stream.on_request_trailers(vm.call()), Action::Continue);
    assert_eq!(proxy.stream(1).trailers, [("grpc-status".into(), "x".into())]);
}

#[test]
fn responses_say_what_is_left_if_they_are_to() {
    for (when, expected) in [("always", Some("\"per-user\";r=2;t=1")), ("on_reject", None)] {
        let proxy = Proxy::default();
        let vm = start(&proxy, &base_with("/responses", json!({"ratelimit_headers": when})));
        let (mut stream, _) = vm.open(1, alice("/"), true);
        assert_eq!(stream.on_response_headers(vm.call()), Action::Continue);
        assert_eq!(header(&proxy.stream(1).response_headers, "ratelimit"), expected, "{when}");
    }
}

#[test]
fn a_rule_in_shadow_is_for_the_access_log() {
    let proxy = Proxy::default();
    let vm = start_synced(&proxy, &base_with("/limits/0/shadow", json!(true)));
    for _ in 0..3 {
        assert_eq!(vm.ask(alice("/")).log_line, None);
    }
    let seen = vm.ask(alice("/"));
    assert_eq!((seen.answer(), seen.log_line.as_deref()), (None, Some("shadow=limit:per-user")));
}

#[test]
fn claims_and_addresses_are_asked_of_the_proxy() {
    let proxy = Proxy::default();
    let mut config = base_with(
        "/identity/user",
        json!([{"jwt_claim": {"payload": "jwt", "claim": "sub"}}, {"header": "x-user-id"}]),
    );
    config["limits"] = json!([{"name": "per-ip", "key": "client_ip", "max_tokens": 1,
                               "tokens_per_fill": 1, "fill_interval": "1s"}]);
    let vm = start(&proxy, &config);
    assert_eq!(vm.ask(alice("/").from("10.0.0.1:1")).answer(), None);
    let again = vm.ask(alice("/").from("10.0.0.1:2"));
    assert_eq!(again.answer(), Some((429, "portcullis:rule=limit:per-ip")));
    let mut odd = alice("/").from("10.0.0.2:1");
    odd.claims.insert("sub".into(), Claim::Unusable);
    assert_eq!(vm.ask(odd).answer(), Some((401, "portcullis:rule=unusable_claim")));
}

#[test]
fn the_second_of_two_equal_gates_does_nothing() {
    let proxy = Proxy::default();
    let mut vm = start(&proxy, &base());
    for id in 1..=4 {
        let (_, first) = vm.open(id, alice("/"), true);
        let mut second = crate::Stream::begin(vm.call(), id);
        let second = second.on_request_headers(vm.call(), true);
        let expected = if id <= 3 { Action::Continue } else { Action::Pause };
        assert_eq!(first, expected, "only the first takes a token");
        assert_eq!(second, Action::Continue);
    }
    vm.tick_after(50);
    assert_eq!(proxy.counter("portcullis.repeated"), Some(4));
    assert_eq!(proxy.logged("this gate stands twice in a chain of filters"), 1);
}

#[test]
fn two_different_gates_in_a_chain_are_an_error() {
    let proxy = Proxy::default();
    let first = start(&proxy, &base());
    let second = start(&proxy, &base_with("/limits/0/max_tokens", json!(2)));
    for id in 1..=2 {
        assert_eq!(first.open(id, alice("/"), true).1, Action::Continue);
        let mut stream = crate::Stream::begin(second.call(), id);
        assert_eq!(stream.on_request_headers(second.call(), true), Action::Pause);
        assert_eq!(proxy.stream(id).answer(), Some((503, "portcullis:rule=second_gate")));
    }
    assert_eq!(proxy.logged("another gate stands before this one"), 1);
}

#[test]
fn without_a_configuration_nothing_passes() {
    let proxy = Proxy::default();
    proxy.begin(1, Exchange::get("/"));
    assert_eq!(crate::stream::refuse_unconfigured(&proxy), Action::Pause);
    assert_eq!(proxy.stream(1).answer(), Some((503, "portcullis:unconfigured")));
}
