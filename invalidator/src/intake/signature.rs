//! Whether an event's signature is right, and what follows if it is not.

use policy::event::{Document, EventError, EventErrorKind};
use policy::name::Name;
use policy::sign::event::{MEMBER, Signature};
use policy::time::UnixMicros;
use serde_json::Value;

use super::keys::EventKeys;
use crate::config::Signatures;

/// The largest whole number that every reader of JSON takes for the same: 2^53 - 1.
const EXACT_MAX: u64 = (1 << 53) - 1;

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
/// If it has a whole number that not every reader takes for the same (I-JSON, RFC 7493): two
/// different events would have one signature.
pub fn canonical(document: &Document) -> Result<Vec<u8>, EventError> {
    let mut members = document.members().clone();
    members.remove(MEMBER);
    for (name, value) in &members {
        if !is_exact(value) {
            let rule = "must not have whole numbers beyond 2^53 - 1 in a signed event";
            return Err(EventError {
                kind: EventErrorKind::Invalid,
                field: shown(name),
                rule: rule.into(),
            });
        }
    }
    serde_json_canonicalizer::to_vec(&members).map_err(|_| EventError {
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
        Value::Number(number) => {
            let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            whole.is_none_or(|whole| whole <= EXACT_MAX)
        }
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(json: &str) -> Result<String, String> {
        let document = Document::read(json.as_bytes()).unwrap();
        let canonical = canonical(&document).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(canonical).unwrap())
    }

    #[test]
    fn the_canonical_form_is_that_of_the_standard() {
        // RFC 8785, section 3.2.2, and the order of names by UTF-16 of section 3.2.3.
        let json = r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "sig": {"mac": "x"},
            "literals": [null, true, false], "\ufb33": 1, "\ud83d\ude00": 2, "a": -0}"#;
        let expected = concat!(
            r#"{"a":0,"literals":[null,true,false],"#,
            r#""numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
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
        ] {
            let error = canonical_of(json).unwrap_err();
            assert!(error.starts_with("sequence: must not have whole numbers"), "{error}");
        }
    }
}
