//! What is held, and what is hashed in vain, through the whole gate.

use super::*;

/// Webhooks without key ids, by two keys; uploads that are only counted.
fn hooks() -> Value {
    let mut config = config();
    config["integrations"][0] = json!({
        "name": "payments", "match": [{"path": {"prefix": "/pay"}}], "body_bytes_max": 10_000_000,
        "signature": {"profile": "github"}});
    let key = |id: &str| json!({"id": id, "partner": "acme", "secret": format!("{SECRET} {id}")});
    config["keys"] = json!([key("k1"), key("k2")]);
    config["limits"] = json!([limit("per-ip", json!("client_ip"), 1_000)]);
    config
}

/// A gate with the worker that remembers.
struct Worked(Bench, WorkerMemo);

impl Worked {
    fn new(config: &Value) -> Self {
        let bench = Bench::new(config);
        let worker = WorkerMemo::new(bench.gate.config());
        worker.load.tick(bench.time.monotonic());
        Self(bench, worker)
    }

    fn begin(&mut self, request: &Plain) -> HeadersDecision {
        let Self(Bench { gate, memory, time }, worker) = self;
        let mut context = Context { shared: memory, clock: time, worker };
        gate.decide_headers(request, Freshness::Fresh, &mut context)
    }

    /// What comes of it, and how many bytes were read again.
    fn send(&mut self, request: &Plain, body: &[u8]) -> (String, usize) {
        let mut pending = match self.begin(request) {
            HeadersDecision::Done(decision) => return (line(&self.0.gate, &decision), 0),
            HeadersDecision::NeedBody(pending) => pending,
        };
        for chunk in body.chunks(300_000) {
            if pending.on_data(chunk) == BodyProgress::Done {
                break;
            }
        }
        let Self(Bench { gate, memory, time }, worker) = self;
        let mut again = 0;
        let mut read = |start: usize, size: usize, read: &mut dyn FnMut(&[u8])| {
            again += size;
            // In pieces, so that nothing relies on one.
            body.get(start..start + size).unwrap_or_default().chunks(9_999).for_each(read);
        };
        let fresh = Some(Freshness::Fresh);
        let mut context = Context { shared: memory, clock: time, worker };
        let decision = pending.finish(gate, fresh, &mut context, &mut read);
        (line(gate, &decision), again)
    }
}

fn hook(key: &str, delivery: &str, body: &[u8]) -> Plain {
    let (id, secret) =
        (KeyId::parse(key).unwrap(), Secret::new(format!("{SECRET} {key}").into()).unwrap());
    let nonce = Some(delivery);
    let content = Unsigned {
        method: "POST",
        authority: "edge",
        path: "/pay",
        body,
        timestamp: EPOCH_S,
        nonce,
    };
    let lines = sign(Profile::Github, &id, &secret, &content).unwrap();
    let request = Plain::get("/pay").from("10.0.0.1:80");
    lines.into_iter().fold(request, |request, (name, value)| request.with(name, &value))
}

fn ok(key: &str) -> String {
    format!("partner=acme key={key}")
}

const MISMATCH: &str = "rule=signature:mismatch integration=payments";

#[test]
fn the_body_is_read_again_only_if_another_key_than_the_last_has_signed() {
    let mut worked = Worked::new(&hooks());
    let body = vec![b'x'; 200_000];
    let size = body.len();
    let expected = [("k1", 0), ("k1", 0), ("k2", size), ("k2", 0), ("k1", size), ("k1", 0)];
    for (n, (key, again)) in expected.into_iter().enumerate() {
        let request = hook(key, &format!("d{n}"), &body);
        assert_eq!(worked.send(&request, &body), (ok(key), again), "{n}");
    }
    assert_eq!(worked.send(&hook("k3", "d", &body), &body), (MISMATCH.to_owned(), size));
    assert_eq!(worked.1.load.held(), (0, 0));
}

#[test]
fn what_cannot_be_read_again_is_not_verified() {
    let mut worked = Worked::new(&hooks());
    let request = hook("k2", "d", b"body");
    let HeadersDecision::NeedBody(mut pending) = worked.begin(&request) else { panic!("not held") };
    assert_eq!(pending.on_data(b"body"), BodyProgress::More);
    let Worked(Bench { gate, memory, time }, worker) = &mut worked;
    let fresh = Some(Freshness::Fresh);
    let mut context = Context { shared: memory, clock: time, worker };
    let decision = pending.finish(gate, fresh, &mut context, &mut |_, _, read| read(b"bod"));
    assert_eq!(line(gate, &decision), "rule=body_not_held integration=payments");
}

#[test]
fn an_address_that_has_spent_its_budget_is_refused_before_anything_is_taken() {
    let mut worked = Worked::new(&hooks());
    let body = vec![b'x'; 9_000_000];
    for _ in 0..2 {
        assert_eq!(worked.send(&hook("k3", "d", &body), &body).0, MISMATCH);
    }
    let refused = "rule=unverified integration=payments";
    assert_eq!(worked.send(&hook("k1", "d", b"{}"), b"{}").0, refused);
    let HeadersDecision::Done(decision) = worked.begin(&hook("k1", "d", b"{}")) else {
        panic!("held")
    };
    let Verdict::Deny(denial) = &decision.verdict else { panic!("allowed") };
    let response = crate::response::rejection(worked.0.gate.config(), denial);
    assert_eq!(response.status, 429);
    assert!(response.headers.iter().any(|(name, _)| *name == "retry-after"));
    assert!(decision.quotas.is_empty(), "no token is taken");
    let other = |request: Plain| request.from("10.0.0.2:80");
    assert_eq!(worked.send(&other(hook("k1", "e", b"{}")), b"{}").0, ok("k1"));
    worked.0.time.pass(Duration::from_secs(2));
    worked.1.load.tick(worked.0.time.monotonic());
    assert_eq!(worked.send(&hook("k1", "d", b"{}"), b"{}").0, ok("k1"));
}

#[test]
fn of_ipv6_a_whole_network_shares_a_budget() {
    let mut worked = Worked::new(&hooks());
    let body = vec![b'x'; 9_000_000];
    for n in 0..2 {
        let request = hook("k3", "d", &body).from(&format!("[2001:db8::{n}]:80"));
        assert_eq!(worked.send(&request, &body).0, MISMATCH);
    }
    let from = |address: &str| hook("k1", address, b"{}").from(address);
    let refused = "rule=unverified integration=payments";
    assert_eq!(worked.send(&from("[2001:db8::ffff:1]:80"), b"{}").0, refused);
    assert_eq!(worked.send(&from("[2001:db8:0:1::1]:80"), b"{}").0, ok("k1"));
}

#[test]
fn a_request_that_was_used_is_hashed_in_vain() {
    let mut worked = Worked::new(&hooks());
    let body = vec![b'x'; 9_000_000];
    let request = hook("k1", "d", &body);
    assert_eq!(worked.send(&request, &body).0, ok("k1"));
    let mut refused = 0;
    for _ in 0..6 {
        refused += usize::from(worked.send(&request, &body).0.contains("unverified"));
    }
    assert_eq!(refused, 2);
}

#[test]
fn a_body_for_which_there_is_no_room_is_refused_as_soon_as_that_is_certain() {
    let mut config = hooks();
    config["held"] = json!({"bytes_max": 20_000_010, "address_bytes_max": 10_000_000});
    let mut worked = Worked::new(&config);
    let HeadersDecision::NeedBody(mut first) = worked.begin(&hook("k1", "a", b"")) else {
        panic!("not held")
    };
    assert_eq!(first.on_data(&vec![b'x'; 9_000_000]), BodyProgress::More);
    let refused = "rule=body_no_room integration=payments";
    let announced = hook("k1", "b", b"").with("content-length", "1000001");
    assert_eq!(worked.send(&announced, b"").0, refused, "before its body");
    let body = vec![b'x'; 1_000_001];
    assert_eq!(worked.send(&hook("k1", "b", &body), &body).0, refused, "with it");
    drop(first);
    assert_eq!(worked.send(&hook("k1", "b", &body), &body).0, ok("k1"));
    let uploads = Plain::get("/upload").from("10.0.0.1:80");
    assert_eq!(worked.send(&uploads, b"0123456789").0, "ok");
}

#[test]
fn in_shadow_what_is_not_held_goes_on() {
    let mut config = hooks();
    config["integrations"][0]["shadow"] = json!(true);
    let mut worked = Worked::new(&config);
    let body = vec![b'x'; 9_000_000];
    for _ in 0..2 {
        let (said, _) = worked.send(&hook("k3", "d", &body), &body);
        assert_eq!(said, "shadow=signature:mismatch integration=payments");
    }
    let HeadersDecision::Done(decision) = worked.begin(&hook("k1", "d", b"{}")) else {
        panic!("held")
    };
    assert_eq!(decision.verdict, Verdict::Allow);
    let said = line(&worked.0.gate, &decision);
    assert_eq!(said, "shadow=unverified integration=payments");
}

#[test]
fn a_path_that_is_too_long_for_regular_expressions_is_refused() {
    let mut config = base();
    config["route_groups"] = json!([{"name": "r", "match": [{"path": {"regex": "/a*"}}]}]);
    let mut bench = Bench::new(&config);
    let path = format!("/{}", "a".repeat(1_023));
    assert_eq!(bench.alice(&path), "ok");
    assert_eq!(bench.alice(&format!("{path}a")), "rule=path_too_long");
    assert_eq!(bench.alice(&format!("{path}?{path}")), "ok");
    config["paths"] = json!({"shadow": true});
    assert_eq!(Bench::new(&config).alice(&format!("{path}a")), "shadow=path_too_long");
}
