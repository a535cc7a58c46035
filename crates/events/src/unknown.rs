//! Members of an event that have no meaning here: a typing mistake, or a newer publisher's words.

use serde_json::{Map, Value};

use crate::document::Document;
use crate::raw::{SCHEMA_MAJOR, SCHEMA_MINOR};

/// Most of each sort that are told: an event can have thousands.
const TOLD_MAX: usize = 4;
/// Longest name that is repeated, in bytes: a name can be anything.
const NAME_BYTES_MAX: usize = 64;

const BESIDE: [&str; 9] = [
    "event_id",
    "event_type",
    "schema_version",
    "occurred_at",
    "sequence",
    "key",
    "payload",
    "publisher",
    "sig",
];
const KEY: [&str; 2] = ["user_id", "session_id"];
const PAYLOAD: [&str; 7] = ["action", "scope", "until", "for", "reason", "disclose", "limit"];
const LIMIT: [&str; 5] = ["name", "max_tokens", "tokens_per_fill", "fill_interval", "default"];

/// See the module's description. Fields are named by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Members of `payload`, which looks as if they did something.
    pub in_payload: Vec<String>,
    /// Members of the event itself, and of `key`.
    pub beside: Vec<String>,
    /// The event is of a newer minor version than is known here: its members may mean something.
    pub is_newer: bool,
}

impl Unknown {
    /// What an event has that is not known. At most a few of each sort are named.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let members = document.members();
        let within = |name: &str| members.get(name).and_then(Value::as_object);
        let payload = within("payload");
        let limit = payload.and_then(|payload| payload.get("limit")).and_then(Value::as_object);
        let mut in_payload = among(payload, &PAYLOAD, "payload.");
        in_payload.extend(among(limit, &LIMIT, "payload.limit."));
        let mut beside = among(Some(members), &BESIDE, "");
        beside.extend(among(within("key"), &KEY, "key."));
        in_payload.truncate(TOLD_MAX);
        beside.truncate(TOLD_MAX);
        Self { in_payload, beside, is_newer: is_newer(members) }
    }
}

fn among(members: Option<&Map<String, Value>>, known: &[&str], path: &str) -> Vec<String> {
    let names = members.into_iter().flat_map(Map::keys);
    let unknown = names.filter(|name| !known.contains(&name.as_str()));
    unknown.take(TOLD_MAX).map(|name| format!("{path}{}", shown(name))).collect()
}

/// A name, if it can stand in a message.
fn shown(name: &str) -> &str {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_graphic()) { name } else { "(a member)" }
}

fn is_newer(members: &Map<String, Value>) -> bool {
    let version = members.get("schema_version").and_then(Value::as_str).unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let known = (Some(Some(SCHEMA_MAJOR)), SCHEMA_MINOR);
    parts.next() == known.0 && parts.next().flatten().is_some_and(|minor| minor > known.1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(event: &Value) -> Unknown {
        Unknown::of(&Document::read(event.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn what_is_mistyped_is_named() {
        let event = json!({
            "schema_version": "1.0", "scope": ["bet"], "key": { "user_id": "a", "userid": "b" },
            "payload": { "action": "block", "scopes": ["bet"], "duration": "1h",
                         "limit": { "name": "x", "max": 1 } },
        });
        let unknown = of(&event);
        let in_payload = ["payload.duration", "payload.scopes", "payload.limit.max"];
        assert_eq!(unknown.in_payload, in_payload);
        assert_eq!(unknown.beside, ["scope", "key.userid"]);
        assert!(!unknown.is_newer);
    }

    #[test]
    fn what_is_named_is_bounded() {
        let many: Map<_, _> = (0..100).map(|i| (format!("{i}\u{7}"), json!(i))).collect();
        let unknown = of(&json!({ "payload": many }));
        assert_eq!(unknown.in_payload, ["payload.(a member)"; TOLD_MAX]);
        assert_eq!(of(&json!({ "payload": [] })), Unknown::default());
    }

    #[test]
    fn a_newer_minor_version_is_told() {
        for (version, newer) in [("1.0", false), ("1", false), ("1.1", true), ("1.12.3", true)] {
            assert_eq!(of(&json!({ "schema_version": version })).is_newer, newer, "{version}");
        }
    }
}
