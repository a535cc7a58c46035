//! Signed requests are used once, and in time.

use model::push::{self, Message, SigningKey};
use signing::SignatureRules;

use super::*;

#[test]
fn a_request_over_a_limit_is_not_used_up() {
    let mut bench = Bench::new(&config());
    for nonce in ["a", "b"] {
        assert_eq!(bench.sends(&signed(nonce), BODY), "partner=acme key=k1");
    }
    let limited = "rule=limit:per-partner partner=acme key=k1";
    assert_eq!(bench.sends(&signed("c"), BODY), limited);
    let remembered = |bench: &Bench| {
        let slabs = (0..16).filter_map(|slab| bench.memory.values.get(&MemoryKey::Replay(slab)));
        slabs.map(|(slab, _)| slab.len() / 24).sum::<usize>()
    };
    assert_eq!(remembered(&bench), 2, "a flood does not fill the memory that all partners share");
    bench.pass(1.0);
    assert_eq!(bench.sends(&signed("c"), BODY), "partner=acme key=k1", "once there is a token");
    bench.pass(1.0);
    for _ in 0..3 {
        let replayed = "rule=signature:replay integration=payments partner=acme key=k1";
        assert_eq!(bench.sends(&signed("c"), BODY), replayed, "and it takes none");
    }
}

/// What a profile does not sign may be another place, with another tolerance.
#[test]
fn a_request_is_not_used_again_elsewhere() {
    let mut config = config();
    let hooks = |name: &str, tolerance: &str| {
        json!({"name": name, "match": [{"path": {"prefix": format!("/{name}")}}],
               "signature": {"profile": "stripe", "tolerance": tolerance}})
    };
    config["integrations"] = json!([hooks("strict", "10s"), hooks("lenient", "300s")]);
    config["limits"] = json!([]);
    let mut bench = Bench::new(&config);
    let secret = Secret::new(SECRET.into()).unwrap();
    let content = Unsigned {
        method: "GET",
        authority: "edge",
        path: "/",
        body: BODY,
        timestamp: EPOCH_S,
        nonce: None,
    };
    let lines = sign(Profile::Stripe, &KeyId::parse("k1").unwrap(), &secret, &content).unwrap();
    let to = |path: &str| {
        lines.iter().fold(Plain::get(path), |request, (name, value)| request.with(name, value))
    };
    assert_eq!(bench.sends(&to("/strict"), BODY), "partner=acme key=k1");
    bench.pass(100.0);
    let replayed = "rule=signature:replay integration=lenient partner=acme key=k1";
    assert_eq!(bench.sends(&to("/lenient"), BODY), replayed);
}

#[test]
fn a_request_that_cannot_be_remembered_is_rejected() {
    let mut bench = Bench::new(&config());
    for slab in 0..16 {
        bench.memory.values.insert(MemoryKey::Replay(slab), (vec![9], 1));
    }
    let full = "rule=signature:replay_full integration=payments partner=acme key=k1";
    assert_eq!(bench.sends(&signed("a"), BODY), full);
}

#[test]
fn a_slow_body_does_not_outlast_the_tolerance() {
    let mut bench = Bench::new(&config());
    let HeadersDecision::NeedBody(mut pending) = bench.headers(&signed("a")) else { panic!() };
    bench.pass(300.5);
    pending.on_data(BODY);
    let decision = bench.finish(pending);
    let late = "rule=signature:stale integration=payments partner=acme key=k1";
    assert_eq!(line(&bench.gate, &decision), late);
    assert_eq!(SignatureRules::of(Profile::Portcullis).tolerance, Duration::from_secs(300));
}

#[test]
fn a_slow_body_does_not_outlast_its_key() {
    let mut bench = Handed::new();
    let ended = "rule=signature:expired_key integration=payments";
    for (nonce, id, secret, not_after, expected) in [
        ("a", "k2", SECRET, None, ended),
        ("b", "k1", "another secret of acme", None, ended),
        ("c", "k1", SECRET, Some(at(0).0 - 1), ended),
        ("d", "k1", SECRET, Some(at(2).0), "partner=acme key=k1"),
    ] {
        bench.hand_out("k1", SECRET, None);
        let pending = bench.headers(nonce);
        bench.hand_out(id, secret, not_after);
        bench.0.pass(0.011);
        assert_eq!(bench.finish(pending), expected, "{nonce}");
    }
}

#[test]
fn a_body_that_follows_at_once_is_verified_with_the_keys_of_its_headers() {
    let ended = "rule=signature:expired_key integration=payments";
    for (passed, expected) in [(0.01, "partner=acme key=k1"), (0.010_001, ended)] {
        let mut bench = Handed::new();
        bench.hand_out("k1", SECRET, None);
        let pending = bench.headers("a");
        bench.hand_out("k2", SECRET, None);
        bench.0.pass(passed);
        assert_eq!(bench.finish(pending), expected, "{passed}");
    }
}

/// A gate whose keys all come from the invalidator.
struct Handed(Bench, u64);

impl Handed {
    fn new() -> Self {
        let mut config = config();
        config["keys"] = json!([]);
        Self(Bench::new(&config), 0)
    }

    fn hand_out(&mut self, id: &str, secret: &str, not_after: Option<u64>) {
        let Self(bench, version) = self;
        *version += 1;
        let key = SigningKey {
            id: id.into(),
            partner: "acme".into(),
            secret: secret.into(),
            not_after,
            ..SigningKey::default()
        };
        let set = push::KeySet { version: *version, keys: vec![key] };
        let mark = 1_000 + u32::try_from(*version).unwrap();
        bench.memory.values.insert(MemoryKey::Keys, (set.encode_to_vec(), mark));
    }

    fn headers(&mut self, nonce: &str) -> Box<Pending> {
        let HeadersDecision::NeedBody(pending) = self.0.headers(&signed(nonce)) else { panic!() };
        pending
    }

    fn finish(&mut self, mut pending: Box<Pending>) -> String {
        pending.on_data(BODY);
        let decision = self.0.finish(pending);
        line(&self.0.gate, &decision)
    }
}
