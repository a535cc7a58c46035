//! What becomes known while a request is held for its body.

use super::*;
use crate::testing::{rate_of, scope};

/// Uploads without an announced length are held until they are counted.
fn config() -> Value {
    base_with(
        "/integrations",
        json!([{"name": "uploads", "match": [{"path": {"prefix": "/"}}], "body_bytes_max": 10}]),
    )
}

impl Bench {
    fn hold(&mut self, request: &Plain, freshness: Freshness) -> Box<Pending> {
        let decided = self.anew(|gate, context| gate.decide_headers(request, freshness, context));
        let HeadersDecision::NeedBody(pending) = decided else { panic!("not held") };
        pending
    }

    fn release(&mut self, pending: Box<Pending>, freshness: Option<Freshness>) -> String {
        let decision = self.finish_at(pending, freshness);
        line(&self.gate, &decision)
    }

    fn finish_at(&mut self, pending: Box<Pending>, freshness: Option<Freshness>) -> Decision {
        self.anew(|gate, context| pending.finish(gate, freshness, context, &mut |_, _, _| ()))
    }

    /// The line of a request by Alice, during which this became known.
    fn meanwhile(&mut self, path: &str, register: Register) -> String {
        let pending = self.hold(&alice(path), Freshness::Fresh);
        self.push(&user("alice"), [register]);
        self.release(pending, Some(Freshness::Fresh))
    }
}

#[test]
fn a_block_that_comes_meanwhile_holds() {
    let mut bench = Bench::new(&config());
    assert_eq!(bench.meanwhile("/bet", blocked("fraud")), "rule=block:fraud event=evt-fraud");
    let mut bench = Bench::new(&config());
    let elsewhere = Effect::Block(Block { scope: scope(&["bet"]), ..block("cool") });
    assert_eq!(bench.meanwhile("/other", event("b", 0, elsewhere)), "ok", "out of its scope");
    let pending = bench.hold(&alice("/other"), Freshness::Fresh);
    bench.push(&user("alice"), [blocked("fraud")]);
    let decision = bench
        .anew(|gate, context| pending.abandon(Cause::BodyNotHeld, gate, Freshness::Fresh, context));
    assert_eq!(line(&bench.gate, &decision), "rule=block:fraud event=evt-fraud");
}

#[test]
fn a_block_of_any_of_its_subjects_holds() {
    let mut bench = Bench::new(&config());
    let request = alice("/").with("cookie", "sid=s");
    let pending = bench.hold(&request, Freshness::Fresh);
    bench.push(&Subject::session("s").unwrap(), [blocked("fraud")]);
    let said = bench.release(pending, Some(Freshness::Fresh));
    assert_eq!(said, "rule=block:fraud event=evt-fraud");
}

#[test]
fn a_block_that_is_lifted_meanwhile_and_one_that_ends_do_not() {
    let mut bench = Bench::new(&config());
    let pending = bench.hold(&alice("/"), Freshness::Fresh);
    bench.push(&user("alice"), [blocked("fraud"), event("l", 1, crate::testing::lift(None))]);
    let until = Some(at(5));
    bench.push(&user("alice"), [event("e", 2, Effect::Block(Block { until, ..block("x") }))]);
    bench.pass(6.0);
    assert_eq!(bench.release(pending, Some(Freshness::Fresh)), "ok");
}

#[test]
fn a_zero_that_comes_meanwhile_is_felt_and_one_that_was_there_only_once() {
    let zero_at = |seconds, until| model::state::Zero { at: at(seconds), until, ..zero() };
    let mut bench = Bench::new(&config());
    let held = event("z", 1, Effect::Zero(zero_at(0, Some(at(60)))));
    assert_eq!(bench.meanwhile("/", held), "rule=zero event=z");
    let mut bench = Bench::new(&config());
    let emptied = event("z", 1, Effect::Zero(zero_at(0, None)));
    assert_eq!(bench.meanwhile("/", emptied), "rule=zero:per-user event=z");
    bench.pass(1.0);
    let pending = bench.hold(&alice("/"), Freshness::Fresh);
    assert_eq!(bench.release(pending, Some(Freshness::Fresh)), "ok", "it has that token");
}

#[test]
fn a_limit_that_is_lowered_meanwhile_leaves_the_token_that_was_taken() {
    let mut bench = Bench::new(&config());
    assert_eq!(bench.allowed("/", 2), 0, "each is held, and abandoned");
    let lowered = event("o", 1, Effect::Override(rate_of(1)));
    assert_eq!(bench.meanwhile("/", lowered), "ok");
}

#[test]
fn a_node_that_has_become_stale_meanwhile_says_so() {
    let mut bench = Bench::new(&config());
    let pending = bench.hold(&alice("/"), Freshness::Fresh);
    assert_eq!(bench.release(pending, Some(Freshness::Stale)), "rule=stale");
    let mut open = config();
    open["fail_policy"]["stale"] = json!("allow");
    let mut bench = Bench::new(&open);
    for before in [Freshness::Fresh, Freshness::Stale] {
        let pending = bench.hold(&alice("/"), before);
        let decision = bench.finish_at(pending, Some(Freshness::Stale));
        assert_eq!(line(&bench.gate, &decision), "fail_open=stale");
        assert_eq!(decision.notes.len(), 1, "noted once");
    }
}

#[test]
fn what_is_only_counted_is_counted_once() {
    let mut shadow = config();
    shadow["blocks"] = json!({"shadow": true});
    let mut bench = Bench::new(&shadow);
    bench.push(&user("alice"), [blocked("fraud")]);
    let pending = bench.hold(&alice("/"), Freshness::Fresh);
    bench.push(&user("alice"), [blocked("kyc")]);
    let decision = bench.finish_at(pending, Some(Freshness::Fresh));
    let events: Vec<_> = decision.notes.iter().filter_map(|n| n.denial.event.as_ref()).collect();
    assert_eq!(events.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["evt-fraud", "evt-kyc"]);
}

#[test]
fn a_request_that_was_not_held_costs_no_second_look() {
    let mut bench = Bench::new(&config());
    let pending = bench.hold(&alice("/"), Freshness::Fresh);
    bench.push(&user("alice"), [blocked("fraud")]);
    assert_eq!(bench.release(pending, None), "ok", "decided as of its headers, at once");
}

#[test]
fn memory_that_cannot_be_read_is_answered_as_configured() {
    let mut bench = Bench::new(&config());
    let pending = bench.hold(&alice("/"), Freshness::Fresh);
    for (value, _) in bench.memory.values.values_mut() {
        value[0] = crate::slab::VERSION + 1;
    }
    assert_eq!(bench.release(pending, Some(Freshness::Fresh)), "rule=slab_unreadable");
}
