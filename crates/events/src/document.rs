//! An event's JSON, read so that it can mean one thing only: an object, in which no name stands
//! twice, at any depth.
//!
//! Readers differ about which of two members with one name counts. Whoever checks a signature and
//! whoever obeys the event must not differ, and the canonical form that is signed (RFC 8785) is
//! not defined for such objects.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json};

use crate::error::{EventError, EventErrorKind, invalid};

/// The longest event, in bytes.
pub const EVENT_BYTES_MAX: usize = 16 * 1024;

/// Longest path of a field that an error shows, in bytes: names of members can be anything.
const PATH_BYTES_MAX: usize = 128;

/// One event as JSON, of which nothing but the shape is checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Document(Map<String, Value>);

impl fmt::Debug for Document {
    /// Without its content, which is personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").finish_non_exhaustive()
    }
}

impl Document {
    /// Reads at most [`EVENT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// If it is longer, is not one JSON object, or has a name twice.
    pub fn read(bytes: &[u8]) -> Result<Self, EventError> {
        if bytes.len() > EVENT_BYTES_MAX {
            let kind = EventErrorKind::TooLarge;
            return Err(EventError { kind, ..invalid("", "must be at most 16384 bytes") });
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let Strict(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            describe(&path, error.inner())
        })?;
        json.end().map_err(|error| describe("", &error))?;
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(malformed("must be a JSON object")),
        }
    }

    /// The event with these members.
    pub(super) fn of(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// It as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!(self.0).to_string()
    }

    /// The members of the event.
    #[must_use]
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The event's own word for its id, unchecked: to recognize what is refused.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.0.get("event_id")?.as_str()
    }

    /// Reads a type out of it.
    pub(super) fn to<T: DeserializeOwned>(&self) -> Result<T, EventError> {
        serde_path_to_error::deserialize(&self.0).map_err(|error| {
            let path = error.path().to_string();
            describe(&path, error.inner())
        })
    }
}

fn malformed(rule: impl Into<Box<str>>) -> EventError {
    EventError { kind: EventErrorKind::Malformed, ..invalid("", rule) }
}

/// Any JSON value without a name that stands twice in an object.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // JSON has no other than finite numbers.
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate field `{}`", shown(&name))));
            }
            let Strict(value) = members.next_value()?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// A path as an error can show it. Paths consist of names, not of values, but anyone can choose
/// the names: what does not look like one is not repeated.
fn shown(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
    path.chars().map(|c| if plain(c) { c } else { '?' }).take(PATH_BYTES_MAX).collect()
}

/// Says what is wrong without repeating any value: serde's own messages do repeat them.
fn describe(path: &str, error: &serde_json::Error) -> EventError {
    if !error.is_data() {
        return malformed(format!("must be a JSON object (line {})", error.line()));
    }
    let path = shown(path.trim_start_matches('.'));
    let text = error.to_string();
    // What serde says of a field of the object at this path.
    let field_after = |start: &str| {
        let field = text.strip_prefix(start)?.strip_prefix('`')?.split('`').next()?;
        Some(format!("{path}.{field}").trim_start_matches('.').to_owned())
    };
    if let Some(missing) = field_after("missing field ") {
        return invalid(&missing, "is required");
    }
    if let Some(twice) = field_after("duplicate field ") {
        return invalid(&twice, "must not stand twice");
    }
    match path.as_str() {
        "" => malformed("must be a JSON object"),
        "payload.action" => invalid(&path, "must be one of block, zero, unblock and override"),
        _ => invalid(&path, "must be of the type that the event schema gives"),
    }
}
