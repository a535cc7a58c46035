use model::bucket::Rate;
use model::name::EventId;
use serde_json::{Value, json};

use super::*;
use crate::decide::Gate;
use crate::testing::{at, base, gate, limit, name};

/// Two limits, and these settings of responses.
fn with(responses: &Value) -> Gate {
    let mut config = base();
    config["limits"] = json!([limit("per-user", json!("user"), 3), limit("b", json!("user"), 5)]);
    config["limits"][1]["tokens_per_fill"] = json!(2);
    config["responses"] = responses.clone();
    gate(&config)
}

fn default() -> Gate {
    with(&json!({}))
}

fn block(disclose: bool, until: Option<i64>) -> Cause {
    Cause::Block { reason: name("fraud"), disclose, until: until.map(at) }
}

fn denial(cause: Cause, retry_after_ms: Option<u64>) -> Denial {
    let event = EventId::parse("evt-secret");
    let retry_after = retry_after_ms.map(Duration::from_millis);
    Denial { cause, event, subject: None, retry_after, rate: None }
}

fn headers(response: &Response) -> Vec<(&str, &str)> {
    response.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn body(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

/// A body with no members but these.
fn problem(status: u32, title: &str, name: Option<&str>) -> Value {
    let of = |name| format!("https://iana.org/assignments/http-problem-types#{name}");
    let type_uri = name.map_or_else(|| "about:blank".to_owned(), of);
    json!({"type": type_uri, "title": title, "status": status})
}

const JSON: (&str, &str) = ("content-type", "application/problem+json");

#[test]
fn a_block_says_nothing() {
    for responses in [json!({}), json!({"ratelimit_headers": "always", "legacy_headers": true})] {
        let gate = with(&responses);
        let response = rejection(gate.config(), &denial(block(false, Some(3_600)), None));
        assert_eq!(response.status, 403);
        assert_eq!(headers(&response), [JSON]);
        assert_eq!(body(&response), problem(403, "Forbidden", None));
    }
}

#[test]
fn a_block_that_may_be_told_says_why_and_until_when() {
    let gate = default();
    let told = |until| rejection(gate.config(), &denial(block(true, until), None));
    assert_eq!(
        body(&told(Some(0))),
        json!({"type": "about:blank", "title": "Forbidden", "status": 403,
               "reason": "fraud", "until": "2027-01-15T08:00:00Z"})
    );
    assert_eq!(headers(&told(Some(0))), [JSON]);
    let endless = body(&told(None));
    assert_eq!((&endless["reason"], endless.get("until")), (&json!("fraud"), None));
}

#[test]
fn an_empty_bucket_says_which_and_how_long() {
    let gate = default();
    let response = rejection(gate.config(), &denial(Cause::Limit { index: 0 }, Some(333)));
    assert_eq!(response.status, 429);
    assert_eq!(
        headers(&response),
        [
            JSON,
            ("retry-after", "1"),
            ("ratelimit-policy", r#""per-user";q=3;w=3"#),
            ("ratelimit", r#""per-user";r=0;t=1"#),
        ]
    );
    assert_eq!(
        body(&response),
        json!({"type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
               "title": "Quota Exceeded", "status": 429, "violated-policies": ["per-user"]})
    );
}

#[test]
fn an_emptied_bucket_is_abnormal_usage() {
    let gate = default();
    let felt = rejection(gate.config(), &denial(Cause::Zero { limit: Some(1) }, Some(1_001)));
    assert_eq!(felt.status, 429);
    assert_eq!(
        headers(&felt),
        [
            JSON,
            ("retry-after", "2"),
            ("ratelimit-policy", r#""b";q=5;w=3"#),
            ("ratelimit", r#""b";r=0;t=2"#),
        ]
    );
    let held = rejection(gate.config(), &denial(Cause::Zero { limit: None }, Some(3_600_000)));
    assert_eq!(headers(&held), [JSON, ("retry-after", "3600")]);
    assert_eq!(
        body(&held),
        problem(429, "Abnormal Usage Detected", Some("abnormal-usage-detected"))
    );
}

#[test]
fn nobody_is_401() {
    let gate = default();
    let response = rejection(gate.config(), &denial(Cause::MissingIdentity, None));
    assert_eq!((response.status, headers(&response)), (401, vec![JSON]));
    assert_eq!(body(&response), problem(401, "Unauthorized", None));
}

#[test]
fn trouble_of_our_own_is_503_and_all_the_same() {
    let gate = default();
    for cause in [
        Cause::NeverSynced,
        Cause::Stale,
        Cause::SlabFull,
        Cause::SlabUnreadable,
        Cause::Contention,
    ] {
        let response = rejection(gate.config(), &denial(cause, None));
        assert_eq!((response.status, headers(&response)), (503, vec![JSON, ("retry-after", "1")]));
        assert_eq!(
            body(&response),
            problem(503, "Service Unavailable", Some("temporary-reduced-capacity"))
        );
    }
}

#[test]
fn no_response_names_the_event() {
    let gate = with(&json!({"ratelimit_headers": "always", "legacy_headers": true}));
    for cause in [block(true, None), block(false, None), Cause::Zero { limit: Some(0) }] {
        let response = rejection(gate.config(), &denial(cause, Some(1)));
        assert!(!format!("{response:?}").contains("evt-secret"));
    }
}

#[test]
fn rate_limit_headers_are_as_configured() {
    let limited = denial(Cause::Limit { index: 0 }, Some(1));
    let off = with(&json!({"ratelimit_headers": "off", "legacy_headers": true}));
    assert_eq!(headers(&rejection(off.config(), &limited)), [JSON, ("retry-after", "1")]);
    let legacy = with(&json!({"legacy_headers": true}));
    let response = rejection(legacy.config(), &limited);
    assert_eq!(
        headers(&response)[4..],
        [("x-ratelimit-limit", "3"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")]
    );
}

#[test]
fn allowed_requests_are_told_what_is_left() {
    let gate = with(&json!({"ratelimit_headers": "always", "legacy_headers": true}));
    let some_rate = Rate::new(1, 1, Duration::from_secs(1)).unwrap();
    let quota = |index: usize, remaining, reset_ms| {
        let rate = gate.config().limits.get(index).map_or(some_rate, |limit| limit.rate);
        (index, Quota { rate, remaining, reset: Duration::from_millis(reset_ms) })
    };
    let told = rate_limit(gate.config(), &[quota(0, 2, 1_000), quota(1, 1, 2_500)]);
    let told: Vec<_> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(
        told,
        [
            ("ratelimit-policy", r#""per-user";q=3;w=3, "b";q=5;w=3"#),
            ("ratelimit", r#""per-user";r=2;t=1, "b";r=1;t=3"#),
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "1"),
            ("x-ratelimit-reset", "3"),
        ]
    );
    assert_eq!(rate_limit(gate.config(), &[]), []);
    assert_eq!(rate_limit(gate.config(), &[quota(9, 1, 1)]), [], "no such limit");
}

#[test]
fn the_rate_that_was_applied_is_told() {
    let gate = with(&json!({"legacy_headers": true}));
    let raised = Rate::new(50, 5, Duration::from_secs(1)).unwrap();
    let limited = Denial { rate: Some(raised), ..denial(Cause::Limit { index: 0 }, Some(200)) };
    let response = rejection(gate.config(), &limited);
    assert!(headers(&response).contains(&("ratelimit-policy", r#""per-user";q=50;w=10"#)));
    assert!(headers(&response).contains(&("x-ratelimit-limit", "50")));
}

#[test]
fn seconds_are_rounded_up() {
    let rounded = [0, 1, 999, 1_000, 1_001, u64::MAX].map(Duration::from_millis).map(ceil_seconds);
    assert_eq!(rounded, [0, 1, 1, 1, 2, u64::MAX / 1_000 + 1]);
    assert_eq!(ceil_seconds(Duration::MAX), u64::MAX);
}

#[test]
fn a_signature_says_nothing_about_what_is_wrong_with_it() {
    use signing::Profile;
    let gate = with(&json!({"ratelimit_headers": "always"}));
    let answer = |failure, replay_status| {
        let profile = Profile::Portcullis;
        let accept = None;
        let cause = Cause::Signature { profile, failure, replay_status, accept };
        rejection(gate.config(), &Denial::of(cause))
    };
    let unauthorized = answer(Failure::Mismatch, 409);
    assert_eq!(body(&unauthorized), problem(401, "Unauthorized", None));
    let challenge = ("www-authenticate", "HMAC-SHA256 profile=\"portcullis\"");
    assert_eq!(headers(&unauthorized), [JSON, challenge]);
    for failure in [
        Failure::Missing { header: "x-signature" },
        Failure::Malformed { header: "x-signature", rule: "r" },
        Failure::UnknownKey,
        Failure::ExpiredKey,
        Failure::OutOfScope,
        Failure::Stale,
        Failure::Future,
    ] {
        assert_eq!(answer(failure, 409), unauthorized, "{failure}");
    }
    assert_eq!(answer(Failure::Replay, 401), unauthorized);
    assert_eq!(body(&answer(Failure::Replay, 409)), problem(409, "Conflict", None));
    let received = answer(Failure::Replay, 200);
    assert_eq!((received.status, &*received.body), (200, r#"{"status":"received before"}"#));
    assert_eq!(headers(&received), [("content-type", "application/json")]);
    assert_eq!(answer(Failure::Mismatch, 200), unauthorized);
    let full = answer(Failure::ReplayFull, 409);
    let reduced = Some("temporary-reduced-capacity");
    assert_eq!(body(&full), problem(503, "Service Unavailable", reduced));
    assert_eq!(headers(&full), [JSON, ("retry-after", "1")]);
}

#[test]
fn integrations_have_answers_of_their_own() {
    let gate = default();
    for (cause, status, title) in [
        (Cause::IpNotAllowed, 403, "Forbidden"),
        (Cause::BodyTooLarge, 413, "Content Too Large"),
        (Cause::ContentType, 415, "Unsupported Media Type"),
    ] {
        let response = rejection(gate.config(), &Denial::of(cause));
        assert_eq!(body(&response), problem(status, title, None));
    }
    let response = rejection(gate.config(), &Denial::of(Cause::BodyNotHeld));
    assert_eq!(response.status, 503);
}
