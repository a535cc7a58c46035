use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::EVENT_BYTES_MAX;

const NOW: &str = "2026-11-22T12:00:00Z";

fn now() -> UnixMicros {
    UnixMicros::parse_rfc3339(NOW).unwrap()
}

fn event() -> Value {
    json!({
        "event_id": "evt-1",
        "event_type": "user.cooling_off",
        "schema_version": "1.0",
        "occurred_at": "2026-11-22T11:59:59.5Z",
        "key": {"user_id": "alice"},
        "payload": {"action": "block", "scope": ["bet", "deposit"], "for": "24h",
                    "reason": "cooling_off", "disclose": true},
    })
}

fn parse(event: &Value) -> Result<Event, EventError> {
    Event::parse(event.to_string().as_bytes(), now())
}

/// The event with one place (a JSON pointer) set to a value, or removed if the value is null.
fn with(pointer: &str, value: Value) -> Value {
    let mut event = event();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => parent.remove(field),
        value => parent.insert(field.to_owned(), value),
    };
    event
}

fn with_payload(payload: Value) -> Result<Event, EventError> {
    parse(&with("/payload", payload))
}

#[test]
fn a_block_is_read_whole() {
    let event = parse(&event()).unwrap();
    assert_eq!(event.subject, Subject::user("alice").unwrap());
    assert_eq!(event.register.version.event_id.as_str(), "evt-1");
    let Effect::Block(block) = event.register.effect else { panic!("not a block") };
    assert_eq!(block.reason.as_str(), "cooling_off");
    assert_eq!(block.scope.names().len(), 2);
    assert_eq!(
        block.until,
        UnixMicros::parse_rfc3339("2026-11-23T11:59:59.5Z"),
        "from occurred_at"
    );
    assert!(block.disclose);
}

#[test]
fn the_other_actions_are_read() {
    let unblock = with_payload(json!({"action": "unblock"})).unwrap();
    assert_eq!(unblock.register.effect, Effect::Lift { reason: None });

    let zero = with_payload(json!({"action": "zero", "until": "2026-11-22T12:01:00Z"})).unwrap();
    let Effect::Zero(zero) = zero.register.effect else { panic!("not a zero") };
    assert_eq!((zero.at, zero.scope), (now(), Scope::All));

    let limit = json!({"name": "per-user", "max_tokens": 5, "tokens_per_fill": 5,
                       "fill_interval": "60s"});
    let raised = with_payload(json!({"action": "override", "limit": limit})).unwrap();
    let Effect::Override(raised) = raised.register.effect else { panic!("not an override") };
    assert_eq!(raised.rate.unwrap().max_tokens(), 5);

    let back = json!({"action": "override", "limit": {"name": "per-user", "default": true}});
    let Effect::Override(back) = with_payload(back).unwrap().register.effect else {
        panic!("not an override")
    };
    assert_eq!(back.rate, None);
}

#[test]
fn unknown_fields_and_minor_versions_are_accepted() {
    assert!(parse(&with("/later", json!({"a": 1}))).is_ok());
    assert!(parse(&with("/payload/later", json!(1))).is_ok());
    assert!(parse(&with("/schema_version", json!("1.7"))).is_ok());
}

#[test]
fn every_mistake_names_its_field() {
    use EventErrorKind::{FromTheFuture, Invalid, Malformed, UnknownVersion};
    let table = [
        ("/event_id", Value::Null, Invalid, "event_id"),
        ("/event_id", json!(""), Invalid, "event_id"),
        ("/event_id", json!("a b"), Invalid, "event_id"),
        ("/event_id", json!("a".repeat(65)), Invalid, "event_id"),
        ("/event_type", json!(""), Invalid, "event_type"),
        ("/schema_version", Value::Null, Invalid, "schema_version"),
        ("/schema_version", json!("2.0"), UnknownVersion, "schema_version"),
        ("/schema_version", json!("one"), UnknownVersion, "schema_version"),
        ("/occurred_at", json!("yesterday"), Invalid, "occurred_at"),
        ("/occurred_at", json!("2026-11-22T12:05:01Z"), FromTheFuture, "occurred_at"),
        ("/sequence", json!(-1), Invalid, "sequence"),
        ("/key", json!({}), Invalid, "key"),
        ("/key", json!({"user_id": "a", "session_id": "b"}), Invalid, "key"),
        ("/key", json!({"user_id": ""}), Invalid, "key.user_id"),
        ("/key", json!({"session_id": "x".repeat(257)}), Invalid, "key.session_id"),
        ("/payload/action", json!("ban"), Invalid, "payload.action"),
        ("/payload/action", Value::Null, Invalid, "payload.action"),
        ("/payload/action", json!("unblock"), Invalid, "payload.scope"),
        ("/payload/scope", json!(["Bet"]), Invalid, "payload.scope"),
        ("/payload/scope", json!("bet"), Invalid, "payload.scope"),
        ("/payload/scope", json!(vec!["a"; 9]), Invalid, "payload.scope"),
        ("/payload/until", json!("2026-11-23T00:00:00Z"), Invalid, "payload"),
        ("/payload/for", json!("forever"), Invalid, "payload.for"),
        ("/payload/reason", json!("Cooling off"), Invalid, "payload.reason"),
        ("/payload/limit", json!({"name": "x"}), Invalid, "payload.limit"),
        ("/publisher", json!("Risk Engine"), Invalid, "publisher"),
        ("/schema_version", json!("+1.0"), UnknownVersion, "schema_version"),
        ("/sig", json!({}), Invalid, "sig.algo"),
        ("/sig", json!("abc"), Invalid, "sig"),
        ("/sig", json!({"algo": "none", "kid": "k", "ts": 1, "mac": ""}), Invalid, "sig.algo"),
    ];
    for (pointer, value, kind, field) in table {
        let error = parse(&with(pointer, value.clone())).expect_err(pointer);
        assert_eq!((error.kind, &*error.field), (kind, field), "{pointer} = {value}: {error}");
    }
    for text in ["", "null", "[]", "7", "{", "{}x"] {
        let error = Event::parse(text.as_bytes(), now()).expect_err(text);
        assert!(matches!(error.kind, Malformed | Invalid), "{text}: {error}");
    }
}

#[test]
fn an_override_is_whole_or_default() {
    let limit = |limit: Value| {
        with_payload(json!({"action": "override", "limit": limit})).unwrap_err().field
    };
    assert_eq!(&*limit(json!({"name": "x", "max_tokens": 5})), "payload.limit");
    assert_eq!(&*limit(json!({"name": "x", "default": true, "max_tokens": 5})), "payload.limit");
    let zero = json!({"name": "x", "max_tokens": 0, "tokens_per_fill": 1, "fill_interval": "1s"});
    assert_eq!(&*limit(zero), "payload.limit.max_tokens");
    let missing = with_payload(json!({"action": "override"})).unwrap_err();
    assert_eq!(&*missing.field, "payload.limit");
}

#[test]
fn a_field_that_stands_twice_is_named() {
    let usual = event().to_string();
    let twice = |part: &str, fields: &str| {
        let text = usual.replacen(part, &format!("{part}{fields}"), 1);
        assert_ne!(text, usual);
        let error = Event::parse(text.as_bytes(), now()).unwrap_err();
        (error.field.to_string(), error.rule.to_string())
    };
    let rule = || "must not stand twice".to_owned();
    let cases = [
        ("{", r#""event_id":"a","#, "event_id"),
        ("{", r#""schema_version":"1.0","#, "schema_version"),
        ("{", r#""key":{"user_id":"a"},"#, "key"),
        (r#""key":{"#, r#""user_id":"a","#, "key.user_id"),
        (r#""payload":{"#, r#""action":"unblock","#, "payload.action"),
        (r#""payload":{"#, r#""for":"1s","#, "payload.for"),
        // At any depth, also of members that are not known: a signature covers them all.
        ("{", r#""a":[{"b c":1,"b c":1}],"#, "a[0].b?c"),
        ("{", r#""a":1,"\u0061":2,"#, "a"),
    ];
    for (part, fields, field) in cases {
        assert_eq!(twice(part, fields), (field.to_owned(), rule()), "{fields}");
    }
}

#[test]
fn errors_do_not_repeat_values() {
    let error = parse(&with("/key", json!({"user_id": 12345678}))).unwrap_err();
    assert_eq!(&*error.field, "key.user_id");
    assert!(!error.to_string().contains("12345678"), "{error}");
}

#[test]
fn size_is_bounded() {
    let padded = with("/padding", json!("x".repeat(EVENT_BYTES_MAX)));
    assert_eq!(parse(&padded).unwrap_err().kind, EventErrorKind::TooLarge);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Event::parse(&bytes, now());
    }

    #[test]
    fn any_change_of_one_byte_is_answered(at in 0usize..300, byte in any::<u8>()) {
        let mut bytes = event().to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = Event::parse(&bytes, now());
    }
}
