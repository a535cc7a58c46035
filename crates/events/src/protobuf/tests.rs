use model::time::UnixMicros;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::Event as Parsed;
use super::*;

fn now() -> UnixMicros {
    UnixMicros::parse_rfc3339("2026-11-22T12:00:00Z").unwrap()
}

fn document(json: &Value) -> Document {
    Document::read(json.to_string().as_bytes()).unwrap()
}

fn event(key: Value, payload: Value) -> Value {
    json!({
        "event_id": "evt-1", "event_type": "t", "schema_version": "1.0",
        "occurred_at": "2026-11-22T11:59:59.5Z", "key": key, "payload": payload,
    })
}

#[test]
fn the_first_byte_tells_the_forms_apart() {
    for json in ["", "{}", " {}", "\n{}", "\t{}", "\r\n{}"] {
        assert!(!is_meant(json.as_bytes()), "{json:?}");
    }
    // Any field that a message of this version can begin with.
    let whole = json!({
        "event_id": "e", "event_type": "t", "schema_version": "1.0", "occurred_at": "x",
        "sequence": 0, "publisher": "p", "key": {}, "payload": { "action": "block" },
        "sig": { "algo": "hmac-sha256", "kid": "k", "ts": 1, "mac": "m" },
    });
    for (name, value) in whole.as_object().unwrap() {
        let bytes = write(&document(&json!({ name: value }))).unwrap();
        assert!(is_meant(&bytes), "{name}");
    }
}

#[test]
fn what_is_no_message_or_too_long_is_refused() {
    assert_eq!(read(b"[1]").unwrap_err().kind, EventErrorKind::Malformed);
    assert_eq!(read(&[b'x'; EVENT_BYTES_MAX + 1]).unwrap_err().kind, EventErrorKind::TooLarge);
    // In JSON, each of these needs six bytes.
    let text = "\u{1}".repeat(EVENT_BYTES_MAX / 2);
    let bytes = Event { event_id: text, ..Event::default() }.encode_to_vec();
    assert_eq!(read(&bytes).unwrap_err().kind, EventErrorKind::TooLarge);
}

#[test]
fn an_action_of_a_later_version_is_refused() {
    let payload = Payload { action: 9, ..Payload::default() };
    let bytes = Event {
        event_id: "e".into(),
        event_type: "t".into(),
        schema_version: "1.9".into(),
        occurred_at: "2026-11-22T11:59:59.5Z".into(),
        key: Some(Key { user_id: Some("alice".into()), session_id: None }),
        payload: Some(payload),
        ..Event::default()
    };
    let error = Parsed::of(&read(&bytes.encode_to_vec()).unwrap(), now(), now()).unwrap_err();
    assert_eq!(&*error.field, "payload.action");
}

fn key() -> impl Strategy<Value = Value> {
    (select(vec!["user_id", "session_id"]), "\\PC{1,20}").prop_map(|(kind, id)| json!({ kind: id }))
}

fn limit() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({ "name": "per-user", "default": true })),
        (1u32.., 1u32..).prop_map(|(max, fill)| {
            json!({ "name": "x", "max_tokens": max, "tokens_per_fill": fill,
                    "fill_interval": "60s", "default": false })
        }),
    ]
}

fn payload_json() -> impl Strategy<Value = Value> {
    let scope = prop::option::of(prop::collection::vec("[a-z0-9_.-]{1,9}", 1..4));
    let actions = select(vec!["block", "zero", "unblock", "override"]);
    let end = prop::option::of(select(vec![("for", "24h"), ("until", "2027-01-01T00:00:00Z")]));
    let reason = prop::option::of("[a-z_]{1,9}");
    let (limit, disclose) = (prop::option::of(limit()), prop::option::of(any::<bool>()));
    (actions, scope, end, reason, disclose, limit).prop_map(
        |(action, scope, end, reason, disclose, limit)| {
            let mut payload = object([
                ("action", Some(action.into())),
                ("scope", scope.map(Value::from)),
                ("reason", reason.map(Value::from)),
                ("disclose", disclose.map(Value::from)),
                ("limit", limit),
            ]);
            payload.extend(end.map(|(name, value)| (name.to_owned(), value.into())));
            payload.into()
        },
    )
}

prop_compose! {
    fn any_event()(
        key in key(),
        payload in payload_json(),
        sequence in prop::option::of(any::<u64>()),
        publisher in prop::option::of("[a-z]{1,9}"),
        ts in prop::option::of(0u64..1 << 40),
    ) -> Value {
        let sig = ts.map(|ts| json!({ "algo": "hmac-sha256", "kid": "K-1", "ts": ts,
                                      "mac": "0a".repeat(32) }));
        let mut event = event(key, payload);
        let more = object([
            ("sequence", sequence.map(Value::from)),
            ("publisher", publisher.map(Value::from)),
            ("sig", sig),
        ]);
        event.as_object_mut().unwrap().extend(more);
        event
    }
}

proptest! {
    #[test]
    fn json_to_protobuf_to_json_is_the_same_event(event in any_event()) {
        let document = document(&event);
        let bytes = write(&document).unwrap();
        prop_assert!(is_meant(&bytes));
        let back = read(&bytes).unwrap();
        prop_assert_eq!(back.members(), document.members());
        let (parsed, again) = (Parsed::of(&document, now(), now()), Parsed::of(&back, now(), now()));
        prop_assert_eq!(parsed.map(|(event, _)| event), again.map(|(event, _)| event));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = read(&bytes) {
            prop_assert!(Document::read(document.to_json().as_bytes()).is_ok());
        }
    }
}
