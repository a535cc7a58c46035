//! The protobuf form of events (`proto/event.proto`), turned into the JSON form: there is one set
//! of rules, one definition of what is signed, and one form that is stored.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/portcullis.event.v1.rs"));
}

use generated::{Action, Event, Key, Limit, Payload, Signature};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::document::EVENT_BYTES_MAX;
use crate::error::{EventError, EventErrorKind, invalid};

/// Content type of this form, for HTTP.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Whether these bytes are meant to be this form. JSON begins with a brace or white space, which
/// no event in this form does: its field numbers see to that.
#[must_use]
pub fn is_meant(bytes: &[u8]) -> bool {
    !matches!(bytes.first(), None | Some(b'{' | b' ' | b'\t' | b'\n' | b'\r'))
}

/// Reads the event's members as JSON has them. Fields that are not known are ignored.
///
/// # Errors
/// If it is longer than [`EVENT_BYTES_MAX`] in either form, or is no such message.
pub fn read(bytes: &[u8]) -> Result<Document, EventError> {
    let too_large = || {
        let kind = EventErrorKind::TooLarge;
        EventError { kind, ..invalid("", "must be at most 16384 bytes, also as JSON") }
    };
    if bytes.len() > EVENT_BYTES_MAX {
        return Err(too_large());
    }
    let event = Event::decode(bytes).map_err(|_| EventError {
        kind: EventErrorKind::Malformed,
        ..invalid("", "must be a JSON object, or a portcullis.event.v1.Event in protobuf form")
    })?;
    let document = Document::of(members(event));
    if document.to_json().len() > EVENT_BYTES_MAX {
        return Err(too_large());
    }
    Ok(document)
}

/// Writes an event in this form. Members that it has no field for are left out.
///
/// # Errors
/// If a member is not of its type.
pub fn write(document: &Document) -> Result<Vec<u8>, EventError> {
    let event = Reader { path: "", members: document.members() };
    let message = Event {
        event_id: event.text("event_id")?.unwrap_or_default(),
        event_type: event.text("event_type")?.unwrap_or_default(),
        schema_version: event.text("schema_version")?.unwrap_or_default(),
        occurred_at: event.text("occurred_at")?.unwrap_or_default(),
        sequence: event.get("sequence", Value::as_u64)?,
        key: event.within("key", |key| {
            Ok(Key { user_id: key.text("user_id")?, session_id: key.text("session_id")? })
        })?,
        payload: event.within("payload", payload)?,
        publisher: event.text("publisher")?,
        sig: event.within("sig", |sig| {
            Ok(Signature {
                algo: sig.text("algo")?.unwrap_or_default(),
                kid: sig.text("kid")?.unwrap_or_default(),
                ts: sig.get("ts", Value::as_u64)?.unwrap_or_default(),
                mac: sig.text("mac")?.unwrap_or_default(),
            })
        })?,
    };
    Ok(message.encode_to_vec())
}

/// The action as JSON spells it; none for what is not known.
fn action_name(action: i32) -> Option<&'static str> {
    Some(match Action::try_from(action).ok()? {
        Action::Unspecified => return None,
        Action::Block => "block",
        Action::Zero => "zero",
        Action::Unblock => "unblock",
        Action::Override => "override",
    })
}

/// An object of the members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let present = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

/// A text that this form always has: empty stands for absent.
fn unless_empty(text: String) -> Option<Value> {
    (!text.is_empty()).then(|| text.into())
}

fn members(event: Event) -> Map<String, Value> {
    let key = |Key { user_id, session_id }| {
        object([("user_id", user_id.map(Value::from)), ("session_id", session_id.map(Value::from))])
    };
    let sig = |Signature { algo, kid, ts, mac }| json!({ "algo": algo, "kid": kid, "ts": ts, "mac": mac });
    object([
        ("event_id", unless_empty(event.event_id)),
        ("event_type", unless_empty(event.event_type)),
        ("schema_version", unless_empty(event.schema_version)),
        ("occurred_at", unless_empty(event.occurred_at)),
        ("sequence", event.sequence.map(Value::from)),
        ("key", event.key.map(key).map(Value::from)),
        ("payload", event.payload.map(payload_members).map(Value::from)),
        ("publisher", event.publisher.map(Value::from)),
        ("sig", event.sig.map(sig)),
    ])
}

fn payload_members(payload: Payload) -> Map<String, Value> {
    let limit = |limit: Limit| {
        object([
            ("name", unless_empty(limit.name)),
            ("max_tokens", limit.max_tokens.map(Value::from)),
            ("tokens_per_fill", limit.tokens_per_fill.map(Value::from)),
            ("fill_interval", limit.fill_interval.map(Value::from)),
            ("default", limit.default.map(Value::from)),
        ])
    };
    // An action that is not known here has to be refused, not taken for a missing one.
    let action = match payload.action {
        0 => None,
        number => Some(action_name(number).map_or_else(|| number.into(), Value::from)),
    };
    object([
        ("action", action),
        ("scope", (!payload.scope.is_empty()).then(|| payload.scope.into())),
        ("until", payload.until.map(Value::from)),
        ("for", payload.for_duration.map(Value::from)),
        ("reason", payload.reason.map(Value::from)),
        ("disclose", payload.disclose.map(Value::from)),
        ("limit", payload.limit.map(limit).map(Value::from)),
    ])
}

fn payload(payload: Reader<'_>) -> Result<Payload, EventError> {
    let action = payload.text("action")?;
    let known = (1..=4).find(|number| action_name(*number) == action.as_deref());
    let scope = payload.get("scope", |scope| {
        let names = scope.as_array()?.iter();
        names.map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    })?;
    Ok(Payload {
        action: known.ok_or_else(|| payload.wrong("action"))?,
        scope: scope.unwrap_or_default(),
        until: payload.text("until")?,
        for_duration: payload.text("for")?,
        reason: payload.text("reason")?,
        disclose: payload.get("disclose", Value::as_bool)?,
        limit: payload.within("limit", |limit| {
            let number = |value: &Value| value.as_u64()?.try_into().ok();
            Ok(Limit {
                name: limit.text("name")?.unwrap_or_default(),
                max_tokens: limit.get("max_tokens", number)?,
                tokens_per_fill: limit.get("tokens_per_fill", number)?,
                fill_interval: limit.text("fill_interval")?,
                default: limit.get("default", Value::as_bool)?,
            })
        })?,
    })
}

/// Members of one object, each of the type that it must have.
struct Reader<'a> {
    path: &'a str,
    members: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn wrong(&self, name: &str) -> EventError {
        let path = format!("{}{name}", self.path);
        invalid(&path, "must be of the type that the event schema gives")
    }

    fn get<T>(
        &self,
        name: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, EventError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(name)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, EventError> {
        self.get(name, |value| value.as_str().map(str::to_owned))
    }

    fn within<T>(
        &self,
        name: &str,
        read: impl Fn(Reader<'_>) -> Result<T, EventError>,
    ) -> Result<Option<T>, EventError> {
        let path = format!("{}{name}.", self.path);
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(members)) => read(Reader { path: &path, members }).map(Some),
            Some(_) => Err(self.wrong(name)),
        }
    }
}

#[cfg(test)]
mod tests;
