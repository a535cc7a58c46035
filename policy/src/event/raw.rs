//! Events as JSON spells them, before any rule is checked.

use serde::Deserialize;

use super::{EVENT_BYTES_MAX, EventError, EventErrorKind, SCHEMA_MAJOR, invalid};

/// The whole event; fields that are not known are ignored.
#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) occurred_at: String,
    pub(super) sequence: Option<u64>,
    pub(super) key: Key,
    pub(super) payload: Payload,
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) user_id: Option<String>,
    pub(super) session_id: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Block,
    Zero,
    Unblock,
    Override,
}

#[derive(Deserialize)]
pub(super) struct Payload {
    pub(super) action: Action,
    pub(super) scope: Option<Vec<String>>,
    pub(super) until: Option<String>,
    #[serde(rename = "for")]
    pub(super) span: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) disclose: Option<bool>,
    pub(super) limit: Option<Limit>,
}

#[derive(Deserialize)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) max_tokens: Option<u32>,
    pub(super) tokens_per_fill: Option<u32>,
    pub(super) fill_interval: Option<String>,
    pub(super) default: Option<bool>,
}

/// Read first and alone, since another version may have other fields.
#[derive(Deserialize)]
struct Envelope {
    schema_version: String,
}

impl Event {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, EventError> {
        if bytes.len() > EVENT_BYTES_MAX {
            let kind = EventErrorKind::TooLarge;
            return Err(EventError { kind, ..invalid("", "must be at most 16384 bytes") });
        }
        let envelope: Envelope = read(bytes)?;
        let major = envelope.schema_version.split('.').next().unwrap_or_default();
        if major.parse() != Ok(SCHEMA_MAJOR) {
            return Err(EventError {
                kind: EventErrorKind::UnknownVersion,
                ..invalid("schema_version", "must be of major version 1, such as \"1.0\"")
            });
        }
        read(bytes)
    }
}

impl Payload {
    /// A field that its action has no use for is a mistake: what its publisher meant by it would
    /// silently not happen.
    pub(super) fn only_fields_of_its_action(&self) -> Result<(), EventError> {
        use Action::{Block, Override, Unblock, Zero};
        let has_end = self.until.is_some() || self.span.is_some();
        let action = self.action;
        // A reason says why on any action; only blocks are told apart by it.
        let rules = [
            ("payload.scope", self.scope.is_some(), matches!(action, Block | Zero)),
            ("payload.until", has_end, action != Unblock),
            ("payload.disclose", self.disclose.is_some(), action == Block),
            ("payload.limit", self.limit.is_some(), action == Override),
        ];
        match rules.iter().find(|(_, present, meant)| *present && !*meant) {
            Some((field, ..)) => Err(invalid(field, "has no meaning for this action")),
            None => Ok(()),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, EventError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        describe(path.trim_start_matches('.'), error.inner())
    })?;
    json.end().map_err(|error| describe("", &error))?;
    Ok(value)
}

/// Says what is wrong without repeating any value: serde's own messages do repeat them.
fn describe(path: &str, error: &serde_json::Error) -> EventError {
    if !error.is_data() {
        let rule = format!("must be a JSON object (line {})", error.line());
        return EventError { kind: EventErrorKind::Malformed, ..invalid("", rule) };
    }
    let text = error.to_string();
    // What serde says of a field of the object at this path.
    let field_after = |start: &str| {
        let field = text.strip_prefix(start)?.strip_prefix('`')?.split('`').next()?;
        let within = if path.is_empty() || path == "." { "" } else { path };
        Some(format!("{within}.{field}").trim_start_matches('.').to_owned())
    };
    if let Some(missing) = field_after("missing field ") {
        return invalid(&missing, "is required");
    }
    if let Some(twice) = field_after("duplicate field ") {
        return invalid(&twice, "must not stand twice");
    }
    match path {
        "" | "." => {
            EventError { kind: EventErrorKind::Malformed, ..invalid("", "must be a JSON object") }
        }
        "payload.action" => invalid(path, "must be one of block, zero, unblock and override"),
        _ => invalid(path, "must be of the type that the event schema gives"),
    }
}
