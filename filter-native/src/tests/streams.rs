//! Requests without bodies: let through, answered, and met by a panic.

use super::*;

#[test]
fn a_limit_lets_through_what_it_has_tokens_for() {
    let _turn = turn();
    let gate = Gate::new("streams-limit", &configuration());
    let ask = || {
        let mut request = Exchange::get("/", "alice");
        let status = gate.ask(&mut request);
        (status, request)
    };
    for _ in 0..3 {
        assert_eq!(ask().0, 200);
    }
    let (status, request) = ask();
    assert_eq!(status, 429);
    let answer = &request.answers[0];
    assert!(answer.details.starts_with("portcullis:rule=limit:per-user"), "{}", answer.details);
    assert!(answer.body.contains("quota-exceeded"), "{}", answer.body);
    let header = |name: &str| answer.headers.iter().find(|(known, _)| known == name);
    assert_eq!(header("content-type").unwrap().1, "application/problem+json");
    assert!(header("retry-after").is_some() && header("grpc-status").is_none());
    assert_eq!((counted("portcullis.allowed"), counted("portcullis.denied.limit")), (3, 1));
    assert_eq!(counted("portcullis.limit.per-user.denied"), 1);
}

#[test]
fn a_grpc_call_that_is_rejected_has_a_status_that_says_so() {
    let _turn = turn();
    let gate = Gate::new("streams-grpc", &configuration());
    for (number, content_type, expected) in [
        (0, "application/grpc", Some("14")),
        (1, "application/grpc+proto", Some("14")),
        (2, "application/grpc-web", None),
        (3, "application/json", None),
    ] {
        let user = format!("grpc-{number}");
        (0..3).for_each(|_| assert_eq!(gate.ask(&mut Exchange::get("/", &user)), 200));
        let mut request = Exchange::get("/", &user).with("content-type", content_type);
        assert_eq!(gate.ask(&mut request), 429);
        let headers = &request.answers[0].headers;
        let status = headers.iter().find(|(name, _)| name == "grpc-status");
        assert_eq!(status.map(|(_, value)| value.as_str()), expected, "{content_type}");
    }
}

#[test]
fn headers_that_only_the_gate_may_set_are_removed() {
    let _turn = turn();
    let gate = Gate::new("streams-scrub", &configuration());
    let mut request = Exchange::get("/", "alice").with("x-portcullis-partner", "acme");
    for number in 0..60 {
        // More lines than fit on the stack.
        request = request.with(&format!("x-{number}"), "y");
    }
    assert_eq!(gate.ask(&mut request), 200);
    assert!(request.headers.iter().all(|(name, _)| name != "x-portcullis-partner"));
    assert_eq!(request.headers.len(), 63);
}

/// Envoy destroys a stream while it is answered, if there is nothing more of it to come.
#[test]
fn a_stream_may_be_destroyed_while_it_is_answered() {
    let _turn = turn();
    let gate = Gate::new("streams-destroy", &configuration());
    (0..3).for_each(|_| assert_eq!(gate.ask(&mut Exchange::get("/", "alice")), 200));
    let mut request = Exchange::get("/", "alice");
    let stream = gate.open(&mut request);
    request.on_answer = Some(Box::new(move || filter_destroy(stream)));
    assert_eq!(request_headers(request.pointer(), stream, true), 1);
    assert_eq!(request.answer().unwrap().0, 429);
}

#[test]
fn what_is_left_is_told_in_the_response() {
    let _turn = turn();
    let mut configuration = configuration();
    configuration["responses"] = json!({"ratelimit_headers": "always"});
    let gate = Gate::new("streams-quota", &configuration);
    let mut request = Exchange::get("/", "alice");
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, true), 0);
    assert_eq!(response_headers(request.pointer(), stream), 0);
    filter_destroy(stream);
    let names: Vec<_> = request.response_headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ratelimit-policy", "ratelimit"]);
}

#[test]
fn a_second_gate_in_a_chain_knows_of_the_first() {
    let _turn = turn();
    let first = Gate::new("streams-chain", &configuration());
    let mut other = configuration();
    other["stat_prefix"] = json!("other");
    let (same, other) =
        (Gate::new("streams-chain", &configuration()), Gate::new("streams-chain", &other));
    for (second, expected) in [(&same, 200), (&other, 503)] {
        let mut request = Exchange::get("/", "alice");
        assert_eq!(first.ask(&mut request), 200);
        assert_eq!(second.ask(&mut request), expected);
    }
    assert_eq!(counted("portcullis.allowed"), 2);
    assert_eq!(counted("portcullis.repeated"), 1);
}

#[test]
fn one_panic_costs_one_request() {
    let _turn = turn();
    let gate = Gate::new("streams-panic", &configuration());
    let mut request = Exchange::get("/", "alice");
    let stream = gate.open(&mut request);
    crate::shield::testing::panic_at_next();
    assert_eq!(request_headers(request.pointer(), stream, false), 1);
    assert_eq!(request.answer(), Some((503, "portcullis:panicked")));
    assert_eq!(request_body(request.pointer(), stream, true), 1, "nothing of it goes on");
    assert_eq!(request.answers.len(), 1, "and it is answered once");
    filter_destroy(stream);
    assert_eq!(counted("portcullis.panics"), 1);
    assert!(envoy(|envoy| envoy
        .log
        .iter()
        .any(|line| line.contains("panicked in request headers: as asked"))));
    assert_eq!(gate.ask(&mut Exchange::get("/", "alice")), 200, "the next is decided as ever");
}

#[test]
fn a_stream_that_could_not_be_made_is_answered() {
    let _turn = turn();
    let mut request = Exchange::get("/", "alice");
    let stream = filter_new(std::ptr::null(), request.pointer());
    assert!(stream.is_null());
    assert_eq!(request_headers(request.pointer(), stream, true), 1);
    assert_eq!(request.answer(), Some((503, "portcullis:panicked")));
    filter_destroy(stream);
}
