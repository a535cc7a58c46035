//! Blocks and zeros: scope, end, and what of several is told.

use model::name::EventId;
use model::state::Zero;

use super::*;
use crate::testing::{lift, scope};

fn blocking(id: &str, block: Block) -> Register {
    event(id, 0, Effect::Block(block))
}

fn denial(decision: Decision) -> Denial {
    match decision.verdict {
        Verdict::Deny(denial) => denial,
        Verdict::Allow => panic!("allowed"),
    }
}

#[test]
fn a_block_holds_until_it_is_lifted() {
    let mut bench = Bench::new(&base());
    bench.push(&user("alice"), [blocked("fraud")]);
    assert_eq!(bench.alice("/"), "rule=block:fraud event=evt-fraud");
    assert_eq!(bench.says(&Plain::get("/").with("x-user-id", "bob")), "ok");
    bench.pass(1e9);
    assert_eq!(bench.allowed("/", 1), 0);
    bench.push(&user("alice"), [event("u", 1, lift(Some("other")))]);
    assert_eq!(bench.allowed("/", 1), 0);
    bench.push(&user("alice"), [event("v", 1, lift(Some("fraud")))]);
    assert_eq!(bench.alice("/"), "ok");
}

#[test]
fn a_blocked_request_is_one_read_and_no_write() {
    let mut bench = Bench::new(&base());
    bench.push(&user("alice"), [blocked("fraud")]);
    let before = bench.memory.values.clone();
    bench.alice("/");
    assert_eq!(bench.memory.values, before);
}

#[test]
fn a_session_is_blocked_by_itself() {
    let mut bench = Bench::new(&base());
    bench.push(&Subject::session("s1").unwrap(), [blocked("stolen")]);
    let with = |sid: &str| alice("/").with("cookie", sid);
    assert_eq!(bench.says(&with("sid=s1")), "rule=block:stolen event=evt-stolen");
    assert_eq!(bench.says(&with("sid=s2")), "ok");
    assert_eq!(
        bench.says(&Plain::get("/").with("cookie", "sid=s1")),
        "rule=block:stolen event=evt-stolen"
    );
}

#[test]
fn whoever_is_named_twice_cannot_hide_behind_the_other() {
    let mut bench = Bench::new(&base());
    bench.push(&user("alice"), [blocked("fraud")]);
    bench.push(&Subject::session("s1").unwrap(), [blocked("stolen")]);
    let bob = || Plain::get("/").and("x-user-id", "bob");
    assert_eq!(bench.says(&bob()), "ok");
    assert_eq!(bench.says(&bob().and("x-user-id", "alice")), "rule=block:fraud event=evt-fraud");
    let cookies = bob().and("cookie", "a=1").and("cookie", "sid=s2; sid=s1");
    assert_eq!(bench.says(&cookies), "rule=block:stolen event=evt-stolen");
    let crowd = (0..5).fold(bob(), |request, i| request.and("x-user-id", &format!("u{i}")));
    assert_eq!(bench.says(&crowd), "rule=too_many_identities");
}

#[test]
fn a_scoped_block_leaves_other_routes_open() {
    let mut bench = Bench::new(&base());
    let cooling = Block { scope: scope(&["deposit", "bet"]), ..block("cooling_off") };
    bench.push(&user("alice"), [blocking("e", cooling)]);
    for path in ["/bet", "/bet/1", "/bet?x=1", "/bet;x"] {
        assert_eq!(bench.alice(path), "rule=block:cooling_off event=e", "{path}");
    }
    assert_eq!(bench.alice("/withdraw"), "ok");
    assert_eq!(bench.alice("/"), "ok");
}

#[test]
fn a_block_ends_at_its_instant() {
    let mut bench = Bench::new(&base());
    bench.push(&user("alice"), [blocking("e", Block { until: Some(at(10)), ..block("r") })]);
    bench.pass(9.999_999);
    assert_eq!(bench.allowed("/", 1), 0);
    bench.pass(0.000_001);
    assert_eq!(bench.alice("/"), "ok");
}

#[test]
fn of_several_blocks_the_one_that_may_be_told_is() {
    let mut bench = Bench::new(&base());
    let open = Block { disclose: true, until: Some(at(60)), ..block("cooling_off") };
    let elsewhere = Block { disclose: true, scope: scope(&["bet"]), ..block("a") };
    bench
        .push(&user("alice"), [blocked("aml"), blocking("open", open), blocking("bet", elsewhere)]);
    let denial = denial(bench.ask(&alice("/")));
    assert_eq!(denial.event.as_ref().map(EventId::as_str), Some("open"));
    let reason = name("cooling_off");
    assert_eq!(denial.cause, Cause::Block { reason, disclose: true, until: Some(at(60)) });
    assert_eq!(denial.retry_after, None, "the end is told by the body, if at all");
    bench.pass(61.0);
    assert_eq!(bench.alice("/"), "rule=block:aml event=evt-aml");
}

#[test]
fn a_zero_empties_and_the_bucket_refills() {
    let mut bench = Bench::new(&base());
    bench.push(&user("alice"), [event("z", 0, Effect::Zero(zero()))]);
    let first = denial(bench.ask(&alice("/")));
    assert_eq!(first.cause, Cause::Zero { limit: Some(0) });
    assert_eq!(first.retry_after, Some(Duration::from_secs(1)));
    bench.pass(1.0);
    assert_eq!(bench.allowed("/", 9), 1);
    assert_eq!(bench.alice("/"), "rule=limit:per-user", "the zero is no longer what is felt");
    bench.pass(60.0);
    assert_eq!(bench.allowed("/", 9), 3);
}

#[test]
fn a_zero_until_a_time_holds_every_request() {
    let mut bench = Bench::new(&base());
    let hold = Zero { until: Some(at(30)), ..zero() };
    bench.push(&user("alice"), [event("z", 0, Effect::Zero(hold))]);
    bench.pass(29.5);
    let held = denial(bench.ask(&alice("/")));
    assert_eq!(held.cause, Cause::Zero { limit: None });
    assert_eq!(held.retry_after, Some(Duration::from_millis(500)));
    bench.pass(0.5);
    assert_eq!(bench.alice("/"), "ok", "whoever waits as long as told is not early");
}

#[test]
fn a_scoped_zero_is_felt_in_its_scope() {
    let mut bench = Bench::new(&base());
    let bets = Zero { scope: scope(&["bet"]), ..zero() };
    bench.push(&user("alice"), [event("z", 0, Effect::Zero(bets))]);
    assert_eq!(bench.alice("/bet"), "rule=zero:per-user event=z");
    assert_eq!(bench.alice("/"), "ok");
    let bets = Zero { scope: scope(&["bet"]), until: Some(at(9)), ..zero() };
    bench.push(&user("alice"), [event("y", 1, Effect::Zero(bets))]);
    assert_eq!(bench.alice("/bet"), "rule=zero event=y");
    assert_eq!(bench.alice("/"), "ok");
}
