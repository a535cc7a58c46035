//! Whether an event's signature is right, and what follows if it is not.

use events::signature::{MEMBER, Signature};
use events::{Document, EventError, EventErrorKind};
use model::name::Name;
use model::time::UnixMicros;
use serde_json::{Map, Value};

use super::Signatures;
use super::keys::EventKeys;

/// Up to here, every reader of JSON takes a whole number for the same: 2^53 - 1. What is larger is
/// refused however it is written, since the canonical form of 1E20 reads as a whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// What became of the question whether an event is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is, by a key that may.
    Verified,
    /// It is not.
    Missing,
    /// By a key that is not known.
    UnknownKey,
    /// By a key that was not valid then.
    ExpiredKey,
    /// The signature is not that of this event.
    Mismatch,
    /// By a key that may not sign for this publisher.
    PublisherNotAllowed,
}

impl Outcome {
    /// All of them, so that metrics can show zeros.
    pub const ALL: [Self; 6] = [
        Self::Verified,
        Self::Missing,
        Self::UnknownKey,
        Self::ExpiredKey,
        Self::Mismatch,
        Self::PublisherNotAllowed,
    ];

    /// As a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Missing => "missing",
            Self::UnknownKey => "unknown_key",
            Self::ExpiredKey => "expired_key",
            Self::Mismatch => "mismatch",
            Self::PublisherNotAllowed => "publisher_not_allowed",
        }
    }

    /// The rule that is broken, if one is.
    pub(super) fn broken_rule(self, mode: Signatures) -> Option<EventError> {
        use EventErrorKind as Kind;
        let (kind, field, rule) = match self {
            Self::Verified => return None,
            Self::Missing if mode != Signatures::Required => return None,
            Self::Missing => (Kind::SignatureMissing, "sig", "is required of this source"),
            Self::UnknownKey => {
                (Kind::UnknownKey, "sig.kid", "must be a key in the daemon's events.keys_file")
            }
            Self::ExpiredKey => {
                (Kind::ExpiredKey, "sig.kid", "must be a key that is valid when it is used")
            }
            Self::Mismatch => {
                let rule = "must be the HMAC-SHA256 of the event's canonical JSON without sig";
                (Kind::BadSignature, "sig.mac", rule)
            }
            Self::PublisherNotAllowed => {
                let rule = "must be one that the signing key may sign for";
                (Kind::PublisherNotAllowed, "publisher", rule)
            }
        };
        Some(EventError { kind, field: field.into(), rule: rule.into() })
    }
}

/// Judges the signature of an event that was first heard at `at`; a key that has expired since
/// does not matter.
///
/// # Errors
/// If the event cannot be signed at all; see [`canonical`].
pub(super) fn judge(
    keys: &EventKeys,
    document: &Document,
    signature: Option<&Signature>,
    publisher: Option<&Name>,
    at: UnixMicros,
) -> Result<Outcome, EventError> {
    let Some(signature) = signature else { return Ok(Outcome::Missing) };
    let Some(key) = keys.get(signature.key()) else { return Ok(Outcome::UnknownKey) };
    let content = canonical(document)?;
    // The MAC first: until it is right, nothing in the event is the key's word.
    Ok(if !signature.is_by(&key.secret, &content) {
        Outcome::Mismatch
    } else if !key.is_valid_at(at) {
        Outcome::ExpiredKey
    } else if !key.may_sign_for(publisher) {
        Outcome::PublisherNotAllowed
    } else {
        Outcome::Verified
    })
}

/// What is signed: the canonical JSON (RFC 8785) of the event without its signature.
///
/// # Errors
/// If it has a number so large that not every reader takes it for the same (I-JSON, RFC 7493): two
/// different events would have one signature.
pub fn canonical(document: &Document) -> Result<Vec<u8>, EventError> {
    let mut members = document.members().clone();
    members.remove(MEMBER);
    for (name, value) in &members {
        if !is_exact(value) {
            let rule = "must not have numbers beyond 2^53 - 1 in a signed event";
            return Err(EventError {
                kind: EventErrorKind::Invalid,
                field: shown(name),
                rule: rule.into(),
            });
        }
    }
    form_of(&members)
}

/// The canonical JSON of some members.
pub(super) fn form_of(members: &Map<String, Value>) -> Result<Vec<u8>, EventError> {
    serde_json_canonicalizer::to_vec(members).map_err(|_| EventError {
        kind: EventErrorKind::Invalid,
        field: "".into(),
        rule: "must have a canonical form (RFC 8785)".into(),
    })
}

/// A member's name, unless it is something that should not be repeated.
fn shown(name: &str) -> Box<str> {
    if Name::parse(name).is_some() { name.into() } else { "".into() }
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|n| n.abs() <= EXACT_MAX),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    fn canonical_of(json: &str) -> Result<String, String> {
        let document = Document::read(json.as_bytes()).unwrap();
        let canonical = canonical(&document).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(canonical).unwrap())
    }

    #[test]
    fn the_canonical_form_is_that_of_the_standard() {
        // RFC 8785, section 3.2.2, and the order of names by UTF-16 of section 3.2.3.
        let json = r#"{"numbers": [333333333.33333329, 1E3, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "sig": {"mac": "x"},
            "literals": [null, true, false], "\ufb33": 1, "\ud83d\ude00": 2, "a": -0}"#;
        let expected = concat!(
            r#"{"a":0,"literals":[null,true,false],"#,
            r#""numbers":[333333333.3333333,1000,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/","😀":2,"#,
            "\"\u{fb33}\":1}"
        );
        assert_eq!(canonical_of(json).as_deref(), Ok(expected));
    }

    #[test]
    fn numbers_that_readers_differ_about_are_refused() {
        assert_eq!(
            canonical_of(r#"{"sequence": 9007199254740991}"#).as_deref(),
            Ok(r#"{"sequence":9007199254740991}"#)
        );
        for json in [
            r#"{"sequence": 9007199254740992}"#,
            r#"{"sequence": [{"a": -9007199254740992}]}"#,
            r#"{"sequence": 18446744073709551615}"#,
            r#"{"sequence": 1e17}"#,
            r#"{"sequence": -9007199254740991.5}"#,
        ] {
            let error = canonical_of(json).unwrap_err();
            assert!(error.starts_with("sequence: must not have numbers"), "{error}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1i64 << 53) + 1..1i64 << 53).prop_map(Value::from),
            any::<f64>()
                .prop_filter("not too large", |n| n.abs() <= EXACT_MAX)
                .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        /// However an event is written, what is signed is the same; and it says all that the
        /// event does.
        #[test]
        fn one_event_has_one_canonical_form(
            members in prop::collection::btree_map(any::<String>(), any_json(), 0..5),
        ) {
            let members: Map<String, Value> =
                members.into_iter().filter(|(name, _)| name != MEMBER).collect();
            let compact = Value::from(members.clone()).to_string();
            let first = canonical_of(&compact).unwrap();
            let pretty = serde_json::to_string_pretty(&members).unwrap();
            prop_assert_eq!(&canonical_of(&pretty).unwrap(), &first);
            prop_assert_eq!(&canonical_of(&first).unwrap(), &first);
            let back: Value = serde_json::from_str(&first).unwrap();
            prop_assert!(same(&back, &members.into()));
        }
    }

    /// Equal, where a number is its value: 1.0 is written as 1.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
            }
            (a, b) => a == b,
        }
    }
}
