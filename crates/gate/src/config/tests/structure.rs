//! The same configuration as a `google.protobuf.Struct`, and bytes that are no configuration.

use proptest::prelude::*;
use prost_types::value::Kind;

use super::*;

fn to_struct(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            let values = items.iter().map(to_struct).collect();
            Kind::ListValue(prost_types::ListValue { values })
        }
        Value::Object(_) => Kind::StructValue(fields(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn fields(object: &Value) -> prost_types::Struct {
    let members = object.as_object().unwrap().iter();
    prost_types::Struct { fields: members.map(|(key, v)| (key.clone(), to_struct(v))).collect() }
}

fn encoded(object: &Value) -> Vec<u8> {
    fields(object).encode_to_vec()
}

#[test]
fn both_forms_give_the_same_configuration() {
    for config in [full(), minimal()] {
        let from_struct = Config::parse(&encoded(&config)).unwrap();
        assert_eq!(format!("{from_struct:?}"), format!("{:?}", parse(&config).unwrap()));
    }
}

#[test]
fn a_struct_that_begins_like_json_is_none() {
    // A line feed (the tag of an entry), then an opening brace (123, the entry's length).
    let node = "n".repeat(113);
    let mut bytes = encoded(&json!({ "node": node }));
    assert!(bytes.starts_with(b"\n{"));
    bytes.extend(encoded(&minimal()));
    assert_eq!(Config::parse(&bytes).unwrap().node, Some(node));
}

#[test]
fn both_forms_give_the_same_errors() {
    for wrong in [
        with("/limits/0/max_tokens", Some(json!(0))),
        with("/limits/0/name", None),
        with("/limits/0/burst", Some(json!(1))),
        with("/limits/0/max_tokens", Some(json!(-1))),
        with("/limits/0/fill_interval", Some(json!(60))),
        with("/identity/user/0", Some(json!({"ip": true}))),
        with("/fail_policy/stale", Some(json!("ask"))),
    ] {
        let text = parse(&wrong).unwrap_err();
        assert_eq!(Config::parse(&encoded(&wrong)).unwrap_err(), text);
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for number in [f64::NAN, f64::INFINITY, 1.5, 1e300] {
        let mut config = fields(&full());
        let limits = config.fields.get_mut("limits").unwrap();
        let Some(Kind::ListValue(limits)) = &mut limits.kind else { panic!("no list") };
        let Some(Kind::StructValue(limit)) = &mut limits.values[0].kind else { panic!("no limit") };
        let value = prost_types::Value { kind: Some(Kind::NumberValue(number)) };
        limit.fields.insert("max_tokens".into(), value);
        let error = Config::parse(&config.encode_to_vec()).unwrap_err();
        assert_eq!(error.field, "limits[0].max_tokens", "{number}");
    }
}

#[test]
fn what_is_no_configuration_says_so() {
    let rule = |bytes: &[u8]| Config::parse(bytes).unwrap_err().rule;
    assert_eq!(rule(b""), "must not be empty");
    assert_eq!(rule(b" \n"), "must not be empty");
    let neither = "must be a JSON object or a google.protobuf.Struct";
    for text in ["node: edge-1", "\u{feff}{}"] {
        assert_eq!(rule(text.as_bytes()), neither, "{text}");
    }
    for text in ["[]", "null", "\"{}\""] {
        assert_eq!(rule(text.as_bytes()), "must be an object", "{text}");
    }
    assert_eq!(rule(&vec![b' '; CONFIG_BYTES_MAX + 1]), "must be at most 1 MiB");
    for text in ["{", "{\"node\": }", "{\"node\": \"a\",}"] {
        assert!(rule(text.as_bytes()).starts_with("must be JSON"), "{}", rule(text.as_bytes()));
    }
    let twice = format!("{} {}", minimal(), minimal());
    assert!(rule(twice.as_bytes()).starts_with("must be JSON"), "what follows must not be ignored");
    let deep = format!("{{\"limits\": {}", "[".repeat(100_000));
    assert!(rule(deep.as_bytes()).starts_with("must be JSON"));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::parse(&bytes);
    }

    /// Bytes that are nearly right get further into the parser.
    #[test]
    fn any_damage_is_answered(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_struct in any::<bool>(),
    ) {
        let mut bytes =
            if is_struct { encoded(&full()) } else { full().to_string().into_bytes() };
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = Config::parse(&bytes);
        let _ = Config::parse(&bytes[..place]);
    }
}
