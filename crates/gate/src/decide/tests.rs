use std::time::Duration;

use model::memory::MemoryKey;
use model::state::{Block, Effect, Register};
use model::subject::Subject;
use model::testing::Memory;
use serde_json::{Value, json};
use signing::{Failure, Profile};

use super::*;
use crate::request::testing::Plain;
use crate::testing::{Time, at, base, block, event, gate, limit, name, state, user, zero};

mod amnesty;
mod blocks;
mod identity;
mod limits;
mod memory;
mod races;
mod rates;
mod recheck;
mod shadow;
mod signed;

impl Gate {
    /// Decides on one request without its body. One whose body would have to be held is rejected.
    fn decide(
        &self,
        request: &impl Request,
        shared: &mut impl SharedMemory,
        clock: &impl Clock,
        freshness: Freshness,
    ) -> Decision {
        let mut context = Context { shared, clock, worker: &mut WorkerMemo::new(&self.config) };
        match self.decide_headers(request, freshness, &mut context) {
            HeadersDecision::Done(decision) => decision,
            HeadersDecision::NeedBody(pending) => {
                pending.abandon(Cause::BodyNotHeld, self, freshness, &mut context)
            }
        }
    }
}

/// A gate with its memory and clocks.
struct Bench {
    gate: Gate,
    memory: Memory,
    time: Time,
}

impl Bench {
    /// Calls the gate with a worker that has seen nothing yet.
    fn anew<T>(&mut self, ask: impl FnOnce(&Gate, &mut Context<'_, Memory, Time>) -> T) -> T {
        let Self { gate, memory, time } = self;
        let worker = &mut WorkerMemo::new(gate.config());
        ask(gate, &mut Context { shared: memory, clock: time, worker })
    }

    fn new(config: &Value) -> Self {
        Self { gate: gate(config), memory: Memory::default(), time: Time::default() }
    }

    fn ask(&mut self, request: &Plain) -> Decision {
        self.gate.decide(request, &mut self.memory, &self.time, Freshness::Fresh)
    }

    /// The access log's line of a request by Alice; `ok` if no rule spoke.
    fn alice(&mut self, path: &str) -> String {
        self.says(&alice(path))
    }

    fn says(&mut self, request: &Plain) -> String {
        let decision = self.ask(request);
        line(&self.gate, &decision)
    }

    fn push(&mut self, subject: &Subject, registers: impl IntoIterator<Item = Register>) {
        let state = state(registers);
        crate::testing::apply(&self.gate, &mut self.memory, &self.time, subject, &state).unwrap();
    }

    fn pass(&self, seconds: f64) {
        self.time.pass(Duration::from_secs_f64(seconds));
    }

    /// How many of the next requests by Alice go on.
    fn allowed(&mut self, path: &str, tries: usize) -> usize {
        (0..tries).filter(|_| self.ask(&alice(path)).verdict == Verdict::Allow).count()
    }
}

fn line(gate: &Gate, decision: &Decision) -> String {
    let words = decision.words(gate.config());
    if words.is_empty() { "ok".into() } else { words.join(" ") }
}

fn alice(path: &str) -> Plain {
    Plain::get(path).with("x-user-id", "alice")
}

fn blocked(reason: &str) -> Register {
    event(&format!("evt-{reason}"), 0, Effect::Block(block(reason)))
}

/// The base configuration with one place (a JSON pointer) set.
fn base_with(pointer: &str, value: Value) -> Value {
    let mut config = base();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(last.to_owned(), value);
    config
}

#[test]
fn the_first_rule_that_rejects_decides() {
    let mut bench = Bench::new(&base_with("/identity/missing_user", json!("deny")));
    bench.push(&user("alice"), [blocked("fraud"), event("z", 0, Effect::Zero(zero()))]);
    let ask = |bench: &mut Bench, request: &Plain, freshness| {
        let decision = bench.gate.decide(request, &mut bench.memory, &bench.time, freshness);
        line(&bench.gate, &decision)
    };
    let nobody = Plain::get("/");
    assert_eq!(ask(&mut bench, &nobody, Freshness::NeverSynced), "rule=never_synced");
    assert_eq!(ask(&mut bench, &nobody, Freshness::Stale), "rule=stale");
    assert_eq!(ask(&mut bench, &nobody, Freshness::Fresh), "rule=missing_identity");
    assert_eq!(bench.alice("/"), "rule=block:fraud event=evt-fraud");
    bench.push(&user("alice"), [event("l", 1, crate::testing::lift(Some("fraud")))]);
    assert_eq!(bench.alice("/"), "rule=zero:per-user event=z");
    bench.push(&user("alice"), [event("m", 2, crate::testing::lift(None))]);
    assert_eq!(bench.allowed("/", 9), 3);
    assert_eq!(bench.alice("/"), "rule=limit:per-user");
}

#[test]
fn every_cause_has_its_name() {
    let causes = [
        Cause::Block { reason: name("r"), disclose: false, until: None },
        Cause::Zero { limit: None },
        Cause::Limit { index: 0 },
        Cause::MissingIdentity,
        Cause::TooManyIdentities,
        Cause::AmbiguousIdentity,
        Cause::UnusableClaim,
        Cause::AmbiguousPath,
        Cause::NeverSynced,
        Cause::Stale,
        Cause::SlabFull,
        Cause::SlabUnreadable,
        Cause::Contention,
        Cause::IpNotAllowed,
        Cause::ContentType,
        Cause::BodyTooLarge,
        Cause::Signature {
            profile: Profile::Portcullis,
            failure: Failure::Mismatch,
            replay_status: 409,
            accept: None,
        },
        Cause::BodyNotHeld,
        Cause::SecondGate,
        Cause::BodyTooSlow,
        Cause::BodyNoRoom,
        Cause::Unverified,
        Cause::PathTooLong,
        Cause::FleetLost,
    ];
    assert_eq!(causes.map(|cause| cause.as_str()), Cause::NAMES);
}

#[test]
fn freshness_is_answered_by_route() {
    let by_route = json!({"default": "deny", "route_groups": {"public": "allow"}});
    let mut config = base_with("/fail_policy/never_synced", by_route);
    config["fail_policy"]["stale"] = json!("allow");
    let mut bench = Bench::new(&config);
    bench.push(&user("alice"), [blocked("fraud")]);
    let mut ask = |request: &Plain, freshness| {
        let decision = bench.gate.decide(request, &mut bench.memory, &bench.time, freshness);
        line(&bench.gate, &decision)
    };
    let bob = |path: &str| Plain::get(path).with("x-user-id", "bob");
    assert_eq!(ask(&bob("/bet"), Freshness::NeverSynced), "rule=never_synced");
    assert_eq!(ask(&bob("/?q"), Freshness::NeverSynced), "fail_open=never_synced");
    assert_eq!(ask(&bob("/bet"), Freshness::Stale), "fail_open=stale");
    assert_eq!(ask(&alice("/bet"), Freshness::Stale), "rule=block:fraud event=evt-fraud");
}

#[test]
fn without_an_invalidator_no_status_is_looked_at() {
    let mut config = base();
    config.as_object_mut().unwrap().remove("invalidator");
    config["fail_policy"] = json!({"slab_full": "deny", "contention": "deny"});
    let mut bench = Bench::new(&config);
    bench.push(&user("alice"), [blocked("fraud")]);
    assert_eq!(bench.alice("/"), "ok");
}
