//! Who a request is from and where it goes, where upstreams could read another answer.

use super::*;
use crate::claim::Claim;
use crate::testing::scope;

const BLOCKED: &str = "rule=block:fraud event=evt-fraud";
const AMBIGUOUS: &str = "rule=ambiguous_identity";

/// A gate that has blocked the user alice and the session s1, everywhere.
fn bench(config: &Value) -> Bench {
    let mut bench = Bench::new(config);
    bench.push(&user("alice"), [blocked("fraud")]);
    bench.push(&Subject::session("s1").unwrap(), [blocked("fraud")]);
    bench
}

fn named(id: &str) -> Plain {
    Plain::get("/").with("x-user-id", id)
}

fn cookie(line: &str) -> Plain {
    Plain::get("/").with("cookie", line)
}

#[test]
fn a_block_holds_however_the_id_is_written() {
    let mut bench = bench(&base());
    for id in ["alice", "alice ", " alice\t", "\talice"] {
        assert_eq!(bench.says(&named(id)), BLOCKED, "{id:?}");
    }
    for id in ["alice, bob", "alice\u{a0}", "alice\0", "al\nice"] {
        assert_eq!(bench.says(&named(id)), AMBIGUOUS, "{id:?}");
    }
    assert_eq!(bench.says(&Plain::get("/").with("x_user_id", "alice")), AMBIGUOUS);
    assert_eq!(bench.says(&named("bob").and("x_user_id", "alice")), AMBIGUOUS);
    for line in ["sid=s1", "a=1; sid=\"s1\"", "sid=%731", "SID=s1", "s%69d=s1", "sid=x; sid=s1 "] {
        assert_eq!(bench.says(&cookie(line)), BLOCKED, "{line}");
    }
    for line in ["a=1\tsid=s1", "a=1, sid=s1", "sid=\"\\1631\"", "sid=s1 x", "sid=s1,x"] {
        assert_eq!(bench.says(&cookie(line)), AMBIGUOUS, "{line}");
    }
    assert_eq!(bench.says(&cookie("_ga=a b,\"\\; sid=s2; x=\"")), "ok");
}

#[test]
fn a_limit_holds_however_its_header_is_written() {
    let limits = json!([limit("per-key", json!({"header": "x-api-key"}), 2)]);
    let mut bench = Bench::new(&base_with("/limits", limits));
    let key = |header: &str, value: &str| Plain::get("/").with(header, value);
    assert_eq!(bench.says(&key("x-api-key", "k")), "ok");
    assert_eq!(bench.says(&key("x-api-key", "k ")), "ok");
    assert_eq!(bench.says(&key("x-api-key", " k\t")), "rule=limit:per-key");
    assert_eq!(bench.says(&key("x_api_key", "k")), "rule=limit:per-key");
    assert_eq!(bench.says(&key("x-api-key", "other").and("x_api-key", "k")), "rule=limit:per-key");
    assert_eq!(bench.says(&key("x-api-key", "other")), "ok");
}

#[test]
fn an_unusable_claim_is_answered_by_policy() {
    let sources = json!([{"jwt_claim": {"payload": "p", "claim": "sub"}}, {"header": "x-user-id"}]);
    let config = base_with("/identity/user", sources);
    let request = || named("bob").with_claim("sub", Claim::Unusable);
    assert_eq!(bench(&config).says(&request()), "rule=unusable_claim");
    let mut ignoring = config.clone();
    ignoring["identity"]["unusable_claim"] = json!("ignore");
    assert_eq!(bench(&ignoring).says(&request()), "ok");
    let mut shadow = config;
    shadow["identity"]["shadow"] = json!(true);
    assert_eq!(bench(&shadow).says(&request()), "shadow=unusable_claim");
    let alice = named("alice").with_claim("sub", Claim::Unusable);
    assert_eq!(bench(&shadow).says(&alice), BLOCKED, "who can be seen is still blocked");
}

/// Shadow lets pass what its own rule would reject, and nothing else.
#[test]
fn identity_in_shadow_switches_off_no_other_rule() {
    let mut bench = bench(&base_with("/identity/shadow", json!(true)));
    let crowd = |n: usize| {
        (1..n).fold(Plain::get("/"), |request, i| request.and("x-user-id", &format!("u{i}")))
    };
    for n in [5, 16] {
        assert_eq!(bench.says(&crowd(n).and("x-user-id", "alice")), BLOCKED, "{n} ids");
    }
    for _ in 0..3 {
        assert_eq!(bench.says(&crowd(6)), "shadow=too_many_identities");
    }
    assert_eq!(bench.says(&crowd(6)), "rule=limit:per-user", "each of them has its bucket");
    // Who is not looked at may be blocked.
    assert_eq!(bench.says(&crowd(17).and("x-user-id", "alice")), "rule=too_many_identities");
    for id in ["alice, bob", "bob,alice", "alice,"] {
        assert_eq!(bench.says(&named(id)), BLOCKED, "{id}");
    }
    assert_eq!(bench.says(&Plain::get("/").with("x_user_id", "alice")), BLOCKED);
    assert_eq!(bench.says(&named("dave,erin")), "shadow=ambiguous_identity");
    assert_eq!(bench.says(&cookie("a=1, sid=s1; sid=s1")), BLOCKED);
    assert_eq!(bench.says(&cookie("a=1, sid=s1")), "shadow=ambiguous_identity");
}

#[test]
fn the_global_shadow_rejects_no_crowd() {
    let mut config = base_with("/shadow", json!(true));
    config["limits"] = json!([]);
    let crowd = (0..40).fold(Plain::get("/"), |r, i| r.and("x-user-id", &format!("u{i}")));
    assert_eq!(bench(&config).says(&crowd), "shadow=too_many_identities");
}

#[test]
fn a_scope_holds_however_the_path_is_written() {
    let mut bench = Bench::new(&base());
    let betting = Block { scope: scope(&["bet"]), ..block("fraud") };
    bench.push(&user("alice"), [event("evt-fraud", 0, Effect::Block(betting))]);
    for path in ["/bet", "/bet;x/1", "/bet;", "/%62et", "/bet//1", "/x/;?", "/bet?/x"] {
        let expected = if path.starts_with("/x") { "ok" } else { BLOCKED };
        assert_eq!(bench.alice(path), expected, "{path}");
    }
    for path in ["/;/bet", "/x/../bet", "/x/..;/bet", "//x/bet", "/x%2fbet", "/bet%00", "/%zz"] {
        assert_eq!(bench.alice(path), "rule=ambiguous_path", "{path}");
    }
}

#[test]
fn ambiguous_paths_in_shadow_switch_off_no_other_rule() {
    let mut bench = Bench::new(&base_with("/paths", json!({"shadow": true})));
    let betting = Block { scope: scope(&["bet"]), ..block("fraud") };
    bench.push(&user("alice"), [event("evt-fraud", 0, Effect::Block(betting))]);
    for path in ["/;/bet", "/x/../bet", "/x/..;/bet", "//bet", "/bet%2fx"] {
        assert_eq!(bench.alice(path), BLOCKED, "{path}");
        let bob = Plain::get(path).with("x-user-id", path);
        assert_eq!(bench.says(&bob), "shadow=ambiguous_path", "{path}");
    }
}

#[test]
fn where_no_rule_is_about_paths_none_is_ambiguous() {
    let mut config = base();
    config["route_groups"] = json!([]);
    assert_eq!(Bench::new(&config).alice("/;/x/..;/%zz"), "ok");
}

#[test]
fn a_tunnel_is_a_path_that_nobody_sees() {
    let connect = |config: &Value, path: Option<&str>| {
        let request = Plain::default().with(":method", "CONNECT").with("x-user-id", "alice");
        let request = path.iter().fold(request, |request, path| request.with(":path", path));
        Bench::new(config).says(&request)
    };
    assert_eq!(connect(&base(), None), "rule=ambiguous_path");
    assert_eq!(connect(&base(), Some("/bet")), "ok", "extended CONNECT says where");
    let allowing = |key: &str, value: Value| base_with("/paths", json!({key: value}));
    assert_eq!(connect(&allowing("connect", json!("allow")), None), "ok");
    assert_eq!(connect(&allowing("shadow", json!(true)), None), "shadow=ambiguous_path");
    let mut pathless = base_with("/route_groups", json!([]));
    assert_eq!(connect(&pathless, None), "ok", "no rule is about a path");
    pathless["shadow"] = json!(true);
    assert_eq!(connect(&pathless, None), "ok");
}

#[test]
fn another_gate_before_this_one_is_refused() {
    let bench = Bench::new(&base());
    let refused = bench.gate.second_gate();
    assert_eq!(line(&bench.gate, &refused), "rule=second_gate");
    assert_eq!(
        crate::response::rejection(bench.gate.config(), &Denial::of(Cause::SecondGate)).status,
        503
    );
    let trial = Bench::new(&base_with("/shadow", json!(true)));
    assert_eq!(line(&trial.gate, &trial.gate.second_gate()), "shadow=second_gate");
}
