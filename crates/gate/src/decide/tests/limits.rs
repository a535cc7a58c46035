//! Buckets: whose, for which requests, and all or nothing.

use model::bucket::Rate;

use super::*;
use crate::testing::rate_of;

fn bench(limits: Value) -> Bench {
    Bench::new(&base_with("/limits", limits))
}

#[test]
fn a_burst_and_then_the_rate() {
    let mut bench = Bench::new(&base());
    assert_eq!(bench.allowed("/", 10), 3);
    let denied = bench.ask(&alice("/"));
    let Verdict::Deny(denial) = denied.verdict else { panic!("not denied") };
    assert_eq!(denial.retry_after, Some(Duration::from_secs(1)));
    bench.pass(0.999);
    assert_eq!(bench.allowed("/", 10), 0);
    bench.pass(0.001);
    assert_eq!(bench.allowed("/", 10), 1);
    bench.pass(60.0);
    assert_eq!(bench.allowed("/", 10), 3, "no more than a full bucket, however long the wait");
    assert_eq!(bench.says(&Plain::get("/").with("x-user-id", "bob")), "ok");
}

#[test]
fn what_is_left_is_told_by_limit_in_their_order() {
    let mut bench = bench(json!([
        limit("a", json!("client_ip"), 5),
        limit("b", json!("user"), 9),
        limit("c", json!({"header": "x-api-key"}), 7),
        limit("d", json!("session"), 4),
    ]));
    let request = alice("/").from("192.0.2.1:1").with("x-api-key", "k").with("cookie", "sid=s");
    let decision = bench.ask(&request);
    let left: Vec<_> = decision.quotas.iter().map(|(i, quota)| (*i, quota.remaining)).collect();
    assert_eq!(left, [(0, 4), (1, 8), (2, 6), (3, 3)]);
}

#[test]
fn a_rejected_request_takes_no_token_from_any_bucket() {
    let mut bench = bench(json!([
        limit("per-user", json!("user"), 5),
        limit("also-user", json!("user"), 2),
        limit("per-ip", json!("client_ip"), 9),
        limit("per-key", json!({"header": "x-api-key"}), 9),
    ]));
    let request = alice("/").from("192.0.2.1").with("x-api-key", "k");
    let allowed = (0..50).filter(|_| bench.ask(&request).verdict == Verdict::Allow).count();
    assert_eq!(allowed, 2);
    let slabs = bench.memory.values.clone();
    assert_eq!(bench.says(&request), "rule=limit:also-user");
    assert_eq!(bench.memory.values, slabs);
    // Only the two tokens of the requests that went on are missing.
    let other = Plain::get("/").with("x-user-id", "bob").from("192.0.2.1").with("x-api-key", "k");
    let quotas = bench.ask(&other).quotas;
    assert_eq!(quotas.iter().find(|(i, _)| *i == 2).unwrap().1.remaining, 6);
    assert_eq!(quotas.iter().find(|(i, _)| *i == 3).unwrap().1.remaining, 6);
}

#[test]
fn of_several_empty_buckets_the_longest_wait_is_told() {
    let mut slow = limit("slow", json!("user"), 1);
    slow["fill_interval"] = json!("60s");
    let mut bench = bench(json!([limit("per-user", json!("user"), 1), slow]));
    assert_eq!(bench.alice("/"), "ok");
    assert_eq!(bench.alice("/"), "rule=limit:slow");
}

#[test]
fn each_kind_of_key_has_buckets_of_its_own() {
    let keys = [
        json!("user"),
        json!("session"),
        json!("partner"),
        json!("client_ip"),
        json!({"header": "x-api-key"}),
    ];
    for key in keys {
        let mut bench = bench(json!([limit("one", key.clone(), 1)]));
        let all = |id: &str| {
            let cookie = format!("sid={id}");
            let ip = if id == "a" { "192.0.2.1:1" } else { "192.0.2.2:1" };
            let request = Plain::get("/").with("x-user-id", id).with("cookie", &cookie);
            request.with("x-partner", id).with("x-api-key", id).from(ip)
        };
        assert_eq!(bench.says(&all("a")), "ok", "{key}");
        assert_eq!(bench.says(&all("a")), "rule=limit:one", "{key}");
        assert_eq!(bench.says(&all("b")), "ok", "{key}");
        assert_eq!(bench.says(&Plain::get("/")), "ok", "{key}: nobody to limit");
    }
}

#[test]
fn the_same_id_under_two_kinds_is_two_subjects() {
    let mut bench = bench(json!([
        limit("per-user", json!("user"), 1),
        limit("per-key", json!({"header": "x-user-id"}), 2),
    ]));
    assert_eq!(bench.alice("/"), "ok");
    assert_eq!(bench.alice("/"), "rule=limit:per-user");
    let mut config = base();
    config["identity"]["user"] = json!([{"header": "x-user-id"}, {"client_ip": true}]);
    let mut bench = Bench::new(&config);
    bench.push(&user("192.0.2.1"), [blocked("fraud")]);
    assert_eq!(bench.says(&Plain::get("/").from("192.0.2.1")), "ok", "an address is no user's id");
}

#[test]
fn two_limits_on_one_subject_are_one_write() {
    let mut config = base();
    config["identity"]["user"] = json!([{"client_ip": true}]);
    config["limits"] =
        json!([limit("per-user", json!("user"), 3), limit("ip", json!("client_ip"), 3)]);
    let mut bench = Bench::new(&config);
    assert_eq!(bench.ask(&Plain::get("/").from("192.0.2.1")).quotas.len(), 2);
    assert_eq!(bench.memory.next, 1);
}

#[test]
fn limits_are_about_the_requests_that_match() {
    let with_match = |name: &str, matches: Value| {
        let mut limit = limit(name, json!("user"), 1);
        limit["match"] = matches;
        limit
    };
    let mut bench = bench(json!([
        with_match("group", json!([{"route_group": "bet"}])),
        with_match("method", json!([{"methods": ["DELETE"]}])),
        with_match("exact", json!([{"path": {"exact": "/x"}}, {"path": {"regex": "/y[0-9]+"}}])),
    ]));
    let twice = |bench: &mut Bench, request: Plain| {
        bench.pass(60.0);
        [bench.says(&request), bench.says(&request)].map(|line| line == "ok")
    };
    assert_eq!(twice(&mut bench, alice("/other")), [true, true]);
    assert_eq!(twice(&mut bench, alice("/bet/1?a")), [true, false]);
    assert_eq!(twice(&mut bench, alice("/x/")), [true, true]);
    assert_eq!(twice(&mut bench, alice("/x?y=z")), [true, false]);
    assert_eq!(twice(&mut bench, alice("/y12")), [true, false]);
    assert_eq!(twice(&mut bench, alice("/y")), [true, true]);
    assert_eq!(twice(&mut bench, alice("/").with(":method", "DELETE")), [true, false]);
}

#[test]
fn missing_identity_is_answered_as_configured() {
    let mut bench = Bench::new(&base_with("/identity/missing_user", json!("deny")));
    assert_eq!(bench.says(&Plain::get("/")), "rule=missing_identity");
    assert_eq!(bench.says(&Plain::get("/").with("cookie", "sid=s")), "rule=missing_identity");
    let mut bench = Bench::new(&base());
    assert_eq!(bench.says(&Plain::get("/")), "ok");
}

#[test]
fn a_raised_limit_ends_a_stale_denial() {
    let mut config = base();
    config["limits"][0]["fill_interval"] = json!("60s");
    let mut bench = Bench::new(&config);
    assert_eq!(bench.allowed("/", 4), 3);
    bench.push(&user("alice"), [event("up", 1, Effect::Override(rate_of(100)))]);
    bench.allowed("/", 1);
    bench.pass(0.01);
    assert_eq!(bench.alice("/"), "ok", "one token's time at the new rate, not a minute");
    bench.pass(1.0);
    assert_eq!(bench.allowed("/", 200), 100);
}

#[test]
fn a_rejected_request_takes_no_token_where_the_rate_has_changed_either() {
    let limits = json!([limit("per-user", json!("user"), 9), limit("tight", json!("user"), 2)]);
    let mut bench = bench(limits);
    assert_eq!(bench.allowed("/", 3), 2);
    let slow = Rate::new(100, 1, Duration::from_secs(60)).ok();
    let slow = model::state::Override { rate: slow, ..rate_of(1) };
    bench.push(&user("alice"), [event("up", 1, Effect::Override(slow))]);
    for _ in 0..50 {
        assert_eq!(bench.alice("/"), "rule=limit:tight");
    }
    bench.pass(1.0);
    // Missing: the one just taken, and part of one for the second that the old rate still lacked.
    assert_eq!(bench.ask(&alice("/")).quotas[0].1.remaining, 98);
}

#[test]
fn overrides_lower_return_to_the_default_and_expire() {
    let mut bench = Bench::new(&base());
    bench.push(&user("alice"), [event("a", 1, Effect::Override(rate_of(1)))]);
    assert_eq!(bench.allowed("/", 9), 1);
    bench.pass(60.0);
    let default = model::state::Override { rate: None, ..rate_of(1) };
    bench.push(&user("alice"), [event("b", 2, Effect::Override(default))]);
    assert_eq!(bench.allowed("/", 9), 3);
    bench.pass(60.0);
    let until = Some(at(130));
    let for_a_while = model::state::Override { until, ..rate_of(1) };
    bench.push(&user("alice"), [event("c", 3, Effect::Override(for_a_while))]);
    assert_eq!(bench.allowed("/", 9), 1);
    bench.pass(60.0);
    assert_eq!(bench.allowed("/", 9), 3, "over since 50 s");
    let elsewhere = model::state::Override { limit: name("another"), ..rate_of(1) };
    bench.pass(60.0);
    bench.push(&user("alice"), [event("d", 4, Effect::Override(elsewhere))]);
    assert_eq!(bench.allowed("/", 9), 3);
}
