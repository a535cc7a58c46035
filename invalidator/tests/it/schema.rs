//! `docs/event.schema.json` and the parser say the same of the same events.

use events::{Document, Event, Unknown};
use model::time::UnixMicros;
use serde_json::{Map, Value, json};

use crate::harness::{event, occurred_at};

fn schema() -> jsonschema::Validator {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/event.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::draft202012::meta::validate(&schema).expect("not a schema");
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

fn parses(event: &Value) -> Result<(), String> {
    let now = UnixMicros::parse_rfc3339(&occurred_at(0)).unwrap();
    let bytes = event.to_string();
    let document = Document::read(bytes.as_bytes()).map_err(|error| error.to_string())?;
    let read = Event::of(&document, now, now).map_err(|error| error.to_string());
    let is_named = read?.0.subject.can_be_in_requests();
    let unknown = Unknown::of(&document).in_payload;
    if is_named && unknown.is_empty() { Ok(()) } else { Err(format!("{is_named} {unknown:?}")) }
}

fn payloads(payloads: &[Value]) -> Vec<Value> {
    payloads.iter().map(|payload| event("evt-1", "alice", payload.clone())).collect()
}

/// A good event with one member set, or removed with null.
fn with(member: &str, value: Value) -> Value {
    let mut event = event("evt-1", "alice", json!({ "action": "block" }));
    let members: &mut Map<String, Value> = event.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.to_owned(), value);
    }
    event
}

/// A signature of the right shape with one member set to something.
fn sig(member: &str, value: Value) -> Value {
    let mac = "0".repeat(64);
    let mut sig =
        json!({ "algo": "hmac-sha256", "kid": "acme-1", "ts": 1_795_348_800, "mac": mac });
    sig[member] = value;
    sig
}

#[test]
fn good_events_are_good_to_both() {
    let rate = json!({
        "name": "per-user", "max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "60s",
    });
    let mut good = payloads(&[
        json!({ "action": "block" }),
        json!({ "action": "block", "scope": [], "reason": "fraud", "disclose": true }),
        json!({ "action": "block", "scope": ["bet", "deposit"], "for": "24h" }),
        json!({ "action": "block", "until": "2027-01-01T00:00:00.5+01:00" }),
        json!({ "action": "zero", "scope": ["bet"], "for": "90m", "reason": "remark" }),
        json!({ "action": "unblock" }),
        json!({ "action": "unblock", "reason": "fraud" }),
        json!({ "action": "override", "limit": rate, "for": "7d" }),
        json!({ "action": "override", "limit": { "name": "per-user", "default": true } }),
    ]);
    good.push(with("schema_version", "1.7".into()));
    good.push(with("sequence", 7.into()));
    good.push(with("key", json!({ "session_id": "s" })));
    good.push(with("a_field_of_a_later_version", json!({})));
    good.push(with("publisher", "risk-engine".into()));
    good.push(with("sig", sig("kid", "acme-1".into())));
    let schema = schema();
    for event in good {
        assert_eq!(parses(&event), Ok(()), "{event}");
        let errors: Vec<_> = schema.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:?}");
    }
}

#[test]
fn bad_events_are_bad_to_both() {
    let mut bad = payloads(&[
        json!({}),
        json!({ "action": "block", "scopes": ["bet"] }),
        json!({ "action": "override", "limit": { "name": "x", "default": true, "max": 5 } }),
        json!({ "action": "ban" }),
        json!({ "action": "block", "scope": ["Bet"] }),
        json!({ "action": "block", "scope": "bet" }),
        json!({ "action": "block", "scope": ["1", "2", "3", "4", "5", "6", "7", "8", "9"] }),
        json!({ "action": "block", "reason": "Not a name" }),
        json!({ "action": "block", "disclose": "yes" }),
        json!({ "action": "block", "until": "tomorrow" }),
        json!({ "action": "block", "for": "1 day" }),
        json!({ "action": "block", "for": "1h", "until": "2027-01-01T00:00:00Z" }),
        json!({ "action": "block", "limit": { "name": "per-user", "default": true } }),
        json!({ "action": "zero", "disclose": true }),
        json!({ "action": "unblock", "scope": ["bet"] }),
        json!({ "action": "unblock", "for": "1h" }),
        json!({ "action": "override" }),
        json!({ "action": "override", "limit": { "name": "per-user" } }),
        json!({ "action": "override", "limit": { "name": "per-user", "max_tokens": 5 } }),
        json!({ "action": "override", "limit": { "name": "x", "default": true, "max_tokens": 5 } }),
        json!({ "action": "override", "scope": [], "limit": { "name": "x", "default": true } }),
    ]);
    let members = ["event_id", "event_type", "schema_version", "occurred_at", "key", "payload"];
    bad.extend(members.map(|member| with(member, Value::Null)));
    let others = [
        ("event_id", json!("")),
        ("event_id", json!("a b")),
        ("event_id", json!("x".repeat(65))),
        ("event_type", json!("")),
        ("event_type", json!("x".repeat(65))),
        ("schema_version", json!("2.0")),
        ("schema_version", json!(1)),
        ("occurred_at", json!("2026-11-22")),
        ("sequence", json!(-1)),
        ("sequence", json!("7")),
        ("key", json!({})),
        ("key", json!({ "user_id": "" })),
        ("key", json!({ "user_id": "x".repeat(257) })),
        ("key", json!({ "user_id": "a\nb" })),
        ("key", json!({ "user_id": " a" })),
        ("key", json!({ "session_id": "a\u{85}" })),
        ("key", json!({ "user_id": "u", "session_id": "s" })),
        ("payload", json!([])),
        ("publisher", json!("Risk Engine")),
        ("sig", json!("abc")),
        ("sig", sig("algo", "none".into())),
        ("sig", sig("kid", "a key".into())),
        ("sig", sig("ts", (-1).into())),
        ("sig", sig("mac", "0".into())),
        ("sig", sig("mac", Value::Null)),
    ];
    bad.extend(others.map(|(member, value)| with(member, value)));
    bad.push(json!([]));
    let schema = schema();
    for event in bad {
        assert!(parses(&event).is_err(), "the parser takes {event}");
        assert!(!schema.is_valid(&event), "the schema takes {event}");
    }
}
