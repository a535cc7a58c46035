//! Integrations and signed requests: what is checked when, and what is taken.

use signing::key::{KeyId, Secret};
use signing::signer::{Unsigned, sign};

use super::*;
use crate::testing::EPOCH_S;

mod load;
mod used;

const BODY: &[u8] = b"{}";
const SECRET: &str = "a secret of acme";

/// Payments must be signed; uploads must be small; both per partner, and the first per address.
fn config() -> Value {
    let mut config = base();
    config["integrations"] = json!([
        {"name": "payments", "match": [{"path": {"prefix": "/pay"}}],
         "allow_ips": ["10.0.0.0/8"], "content_types": ["application/json"],
         "body_bytes_max": 10, "signature": {"profile": "portcullis"}},
        {"name": "uploads", "match": [{"path": {"prefix": "/upload"}}], "body_bytes_max": 10},
    ]);
    config["keys"] = json!([{"id": "k1", "partner": "acme", "secret": SECRET}]);
    config["replay"] = json!({"slabs": 16, "slab_bytes_max": 256});
    config["limits"] =
        json!([limit("per-ip", json!("client_ip"), 5), limit("per-partner", json!("partner"), 2)]);
    config
}

fn in_shadow() -> Value {
    let mut config = config();
    config["integrations"][0]["shadow"] = json!(true);
    config
}

fn unsigned(nonce: &str) -> Plain {
    let request = Plain::get("/pay").from("10.0.0.1:80");
    request.with("content-type", "application/json").with("x-request-id", nonce)
}

fn signed(nonce: &str) -> Plain {
    let (id, secret) = (KeyId::parse("k1").unwrap(), Secret::new(SECRET.into()).unwrap());
    let (timestamp, nonce) = (EPOCH_S, Some(nonce));
    let content =
        Unsigned { method: "GET", authority: "edge", path: "/pay", body: BODY, timestamp, nonce };
    let lines = sign(Profile::Portcullis, &id, &secret, &content).unwrap();
    lines.into_iter().fold(unsigned(""), |request, (name, value)| request.with(name, &value))
}

impl Bench {
    fn headers(&mut self, request: &Plain) -> HeadersDecision {
        self.anew(|gate, context| gate.decide_headers(request, Freshness::Fresh, context))
    }

    /// What comes of a request with a body.
    fn send(&mut self, request: &Plain, body: &[u8]) -> Decision {
        match self.headers(request) {
            HeadersDecision::Done(decision) => decision,
            HeadersDecision::NeedBody(mut pending) => {
                for chunk in body.chunks(3) {
                    if pending.on_data(chunk) == BodyProgress::Done {
                        break;
                    }
                }
                self.finish(pending)
            }
        }
    }

    fn finish(&mut self, pending: Box<Pending>) -> Decision {
        let fresh = Some(Freshness::Fresh);
        self.anew(|gate, context| pending.finish(gate, fresh, context, &mut |_, _, _| ()))
    }

    fn abandon(&mut self, pending: Box<Pending>) -> Decision {
        let (cause, fresh) = (Cause::BodyNotHeld, Freshness::Fresh);
        self.anew(|gate, context| pending.abandon(cause, gate, fresh, context))
    }

    fn sends(&mut self, request: &Plain, body: &[u8]) -> String {
        let decision = self.send(request, body);
        line(&self.gate, &decision)
    }

    fn tokens(&mut self, limit: usize) -> Option<u32> {
        let decision = self.send(&signed("probe"), BODY);
        decision.quotas.iter().find(|(index, _)| *index == limit).map(|(_, quota)| quota.remaining)
    }
}

#[test]
fn a_signed_request_goes_on_once() {
    let mut bench = Bench::new(&config());
    let decision = bench.send(&signed("a"), BODY);
    assert_eq!(decision.verdict, Verdict::Allow);
    assert_eq!(line(&bench.gate, &decision), "partner=acme key=k1");
    assert_eq!(decision.integration, Some(0));
    assert_eq!(decision.quotas.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    let replayed = "rule=signature:replay integration=payments partner=acme key=k1";
    assert_eq!(bench.sends(&signed("a"), BODY), replayed);
    assert_eq!(bench.sends(&signed("b"), BODY), "partner=acme key=k1");
    let limited = "rule=limit:per-partner partner=acme key=k1";
    assert_eq!(bench.sends(&signed("c"), BODY), limited);
}

#[test]
fn the_order_of_checks_is_as_documented() {
    let mut bench = Bench::new(&config());
    let request = signed("a").with("x-user-id", "alice");
    let refused = |rule: &str| format!("rule={rule} integration=payments");
    bench.push(&user("alice"), [blocked("fraud")]);
    let stranger = request.clone().from("192.0.2.1");
    assert_eq!(bench.sends(&stranger, BODY), "rule=block:fraud event=evt-fraud");
    bench.push(&user("alice"), [event("l", 1, crate::testing::lift(None))]);
    let wrong = stranger.with("content-type", "text/plain").with("content-length", "11");
    assert_eq!(bench.sends(&wrong, BODY), refused("ip_not_allowed"));
    let wrong = wrong.from("10.0.0.1");
    assert_eq!(bench.sends(&wrong, BODY), refused("content_type"));
    let wrong = wrong.with("content-type", "application/json; charset=utf-8");
    let wrong = wrong.with("x-signature", "");
    assert_eq!(bench.sends(&wrong, BODY), refused("body_too_large"));
    let wrong = wrong.with("content-length", "10");
    assert_eq!(bench.sends(&wrong, BODY), refused("signature:missing"));
    assert_eq!(bench.sends(&wrong.with("x-key-id", "k2"), BODY), refused("signature:missing"));
    assert_eq!(
        bench.sends(&request.clone().with("x-key-id", "k2"), BODY),
        refused("signature:unknown_key")
    );
    assert_eq!(bench.tokens(0), Some(4), "none of these has taken a token");
    assert_eq!(bench.sends(&request, b"eleven bytes"), refused("body_too_large"));
    assert_eq!(bench.sends(&request, b"[]"), refused("signature:mismatch"));
    for _ in 0..2 {
        bench.sends(&request, b"[]");
    }
    assert_eq!(bench.sends(&request, b"[]"), "rule=limit:per-ip");
}

#[test]
fn unverified_requests_take_nothing_from_a_partner() {
    let mut bench = Bench::new(&config());
    let forged = signed("a").with("x-partner", "acme");
    for _ in 0..4 {
        assert!(matches!(bench.send(&forged, b"[]").verdict, Verdict::Deny(_)));
    }
    assert_eq!(bench.tokens(1), Some(1), "the first of two");
}

#[test]
fn a_signature_and_no_header_names_the_partner() {
    let mut bench = Bench::new(&config());
    for nonce in ["a", "b"] {
        assert_eq!(
            bench.send(&signed(nonce).with("x-partner", "globex"), BODY).verdict,
            Verdict::Allow
        );
    }
    let third = bench.sends(&signed("c").with("x-partner", "initech"), BODY);
    assert_eq!(third, "rule=limit:per-partner partner=acme key=k1");
    let other = Plain::get("/").from("10.0.0.1").with("x-partner", "acme");
    assert_eq!(bench.sends(&other, b""), "rule=limit:per-partner", "the bucket is the partner's");
}

#[test]
fn a_limit_per_key_counts_what_the_key_has_signed() {
    let mut config = config();
    config["limits"] = json!([limit("per-key", json!("key_id"), 1)]);
    let mut bench = Bench::new(&config);
    assert!(matches!(bench.send(&signed("a"), b"[]").verdict, Verdict::Deny(_)));
    assert_eq!(bench.sends(&signed("b"), BODY), "partner=acme key=k1");
    let limited = "rule=limit:per-key partner=acme key=k1";
    assert_eq!(bench.sends(&signed("c"), BODY), limited);
    let unsigned = Plain::get("/").from("10.0.0.1").with("x-portcullis-key-id", "k1");
    assert_eq!(bench.sends(&unsigned, b""), "ok", "no signature, no key");
}

#[test]
fn a_body_without_announced_length_is_counted() {
    let mut bench = Bench::new(&config());
    let request = Plain::get("/upload").from("192.0.2.1");
    assert_eq!(bench.sends(&request, b"ten bytes!"), "ok");
    assert_eq!(bench.sends(&request, b"eleven byte"), "rule=body_too_large integration=uploads");
    let announced = request.with("content-length", "10");
    assert!(matches!(bench.headers(&announced), HeadersDecision::Done(_)), "no need to hold it");
}

#[test]
fn a_body_that_is_not_held_is_not_let_through() {
    let mut bench = Bench::new(&config());
    let HeadersDecision::NeedBody(pending) = bench.headers(&signed("a")) else { panic!() };
    let decision = bench.abandon(pending);
    assert_eq!(line(&bench.gate, &decision), "rule=body_not_held integration=payments");
    let whole = bench.gate.decide(&signed("b"), &mut bench.memory, &bench.time, Freshness::Fresh);
    assert!(matches!(whole.verdict, Verdict::Deny(_)), "nor one that is asked about as a whole");
}

#[test]
fn an_integration_in_shadow_rejects_nothing() {
    let mut bench = Bench::new(&in_shadow());
    let shadow = |rule: &str| format!("shadow={rule} integration=payments");
    assert_eq!(bench.sends(&unsigned("a"), BODY), shadow("signature:missing"));
    let stranger = signed("a").from("192.0.2.1");
    assert_eq!(bench.sends(&stranger, BODY), shadow("ip_not_allowed"));
    assert_eq!(bench.sends(&signed("a"), b"[]"), shadow("signature:mismatch"));
    assert_eq!(bench.sends(&signed("a"), b"eleven bytes"), shadow("body_too_large"));
    assert_eq!(bench.sends(&signed("a"), BODY), "partner=acme key=k1");
    bench.pass(4.0);
    let replayed = bench.send(&signed("a"), BODY);
    let said = "shadow=signature:replay integration=payments partner=acme key=k1";
    assert_eq!(line(&bench.gate, &replayed), said);
    assert!(replayed.verified.is_some());
    let HeadersDecision::NeedBody(pending) = bench.headers(&signed("b")) else { panic!() };
    assert_eq!(bench.abandon(pending).verdict, Verdict::Allow);
}

#[test]
fn in_shadow_a_header_may_name_the_partner() {
    let mut bench = Bench::new(&in_shadow());
    let claims = |request: Plain| request.with("x-partner", "globex");
    assert_eq!(bench.send(&claims(unsigned("a")), BODY).verdict, Verdict::Allow);
    assert_eq!(bench.send(&claims(signed("b")), b"[]").verdict, Verdict::Allow);
    let third = bench.send(&claims(unsigned("c")), BODY);
    let Verdict::Deny(denial) = third.verdict else { panic!("the limit is not in shadow") };
    assert_eq!(denial.cause, Cause::Limit { index: 1 });
    assert_eq!(bench.send(&claims(signed("d")), BODY).verdict, Verdict::Allow, "acme's bucket");
}
