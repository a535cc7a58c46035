//! `[events]`: what an event must and must not have, and who may sign it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use system::{ConfigError, Span};

/// Most entries of `required_fields`, and of `blocked_fields`.
const FIELDS_MAX: usize = 64;
/// Most names in one path.
const PATH_NAMES_MAX: usize = 8;
/// Longest name in a path, in bytes.
const PATH_NAME_BYTES_MAX: usize = 64;
/// Shortest `max_age`: clocks differ, and events travel.
const MAX_AGE_MIN: Duration = Duration::from_secs(60);
/// Longest `max_age`, and the default. What an unblock has lifted is forgotten with it after 8 days:
/// a block that came even later would find nothing that lifts it.
const MAX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What every event has: to block one of these would be to block all events.
const ESSENTIAL: [&str; 8] = [
    "event_id",
    "event_type",
    "schema_version",
    "occurred_at",
    "key",
    "payload",
    "action",
    "payload.action",
];

/// Whether events of one source have to be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signatures {
    /// No, and a signature is not looked at.
    #[default]
    Off,
    /// No, but a signature that is there has to be right.
    Optional,
    /// Yes.
    Required,
}

/// What becomes of events with members in `payload` that have no meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// They are refused: a mistyped scope must not become a block of everything.
    #[default]
    Refuse,
    /// They are taken in, with a warning.
    Warn,
}

/// `[events]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Events from Redis.
    pub redis: Signatures,
    /// Events from the API.
    pub embedded: Signatures,
    /// The keys of publishers.
    pub keys_file: Option<PathBuf>,
    /// Fields that every event must have.
    pub required: Vec<FieldPath>,
    /// Fields that no event may have.
    pub blocked: Vec<FieldPath>,
    /// The longest time from `occurred_at` to when an event is first heard.
    pub max_age: Duration,
    /// What becomes of members that have no meaning.
    pub unknown_fields: UnknownFields,
}

/// Where a field stands: the names on the way to it, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    const RULE: &str = "must be names such as \"email\" or \"payload.note\": up to 8 of \
                        A-Z, a-z, 0-9, '_' and '-', with dots between them";

    fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        let is_name = |name: &str| {
            (1..=PATH_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
        };
        let names: Vec<_> = text.split('.').map(str::to_owned).collect();
        let fits = names.len() <= PATH_NAMES_MAX && names.iter().all(|name| is_name(name));
        fits.then_some(Self(names))
    }

    /// The names from the outermost member on.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            redis: Signatures::Off,
            embedded: Signatures::Off,
            keys_file: None,
            required: Vec::new(),
            blocked: Vec::new(),
            max_age: MAX_AGE_MAX,
            unknown_fields: UnknownFields::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEvents {
    #[serde(default)]
    redis: RawSource,
    #[serde(default)]
    embedded: RawSource,
    keys_file: Option<PathBuf>,
    #[serde(default)]
    required_fields: Vec<String>,
    #[serde(default)]
    blocked_fields: Vec<String>,
    max_age: Option<Span>,
    #[serde(default)]
    unknown_fields: UnknownFields,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    #[serde(default)]
    signatures: Signatures,
}

impl RawEvents {
    pub(crate) fn check(self) -> Result<Events, ConfigError> {
        let (redis, embedded) = (self.redis.signatures, self.embedded.signatures);
        for (mode, field) in [(redis, "redis"), (embedded, "embedded")] {
            if mode != Signatures::Off && self.keys_file.is_none() {
                let rule = "needs events.keys_file, the keys of publishers";
                return Err(ConfigError::new(format!("events.{field}.signatures"), rule));
            }
        }
        let required = paths("events.required_fields", &self.required_fields)?;
        let blocked = paths("events.blocked_fields", &self.blocked_fields)?;
        let is_essential = |text: &String| ESSENTIAL.iter().any(|e| e.eq_ignore_ascii_case(text));
        if self.blocked_fields.iter().any(is_essential) {
            let rule = "must not be a field that every event has";
            return Err(ConfigError::new("events.blocked_fields", rule));
        }
        let max_age = self.max_age.map_or(Ok(MAX_AGE_MAX), |span| {
            span.within("events.max_age", MAX_AGE_MIN, MAX_AGE_MAX)
        })?;
        let Self { keys_file, unknown_fields, .. } = self;
        Ok(Events { redis, embedded, keys_file, required, blocked, max_age, unknown_fields })
    }
}

fn paths(field: &str, texts: &[String]) -> Result<Vec<FieldPath>, ConfigError> {
    if texts.len() > FIELDS_MAX {
        return Err(ConfigError::new(field, format!("must be at most {FIELDS_MAX}")));
    }
    let path = |text: &String| FieldPath::parse(text);
    let paths: Option<Vec<_>> = texts.iter().map(path).collect();
    paths.ok_or_else(|| ConfigError::new(field, FieldPath::RULE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Events, String> {
        let raw: RawEvents = system::parse_toml(text, "events").unwrap();
        raw.check().map_err(|error| error.to_string())
    }

    #[test]
    fn absent_means_unsigned_and_a_week() {
        assert_eq!(parse(""), Ok(Events::default()));
        assert_eq!(Events::default().max_age, MAX_AGE_MAX);
    }

    #[test]
    fn each_source_has_its_own_rule() {
        let text = "keys_file = \"/k\"\nredis.signatures = \"required\"\n\
                    embedded.signatures = \"optional\"\nblocked_fields = [\"email\", \"a.b-c\"]\n\
                    required_fields = [\"publisher\"]\nmax_age = \"1h\"";
        let events = parse(text).unwrap();
        assert_eq!((events.redis, events.embedded), (Signatures::Required, Signatures::Optional));
        assert_eq!(events.blocked[1].names(), ["a", "b-c"]);
        assert_eq!(events.max_age, Duration::from_secs(3600));
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        let cases = [
            ("redis.signatures = \"required\"", "events.redis.signatures: needs events.keys_file"),
            ("embedded.signatures = \"optional\"", "events.embedded.signatures: needs"),
            ("blocked_fields = [\"Key\"]", "events.blocked_fields: must not be a field that every"),
            ("blocked_fields = [\"a..b\"]", "events.blocked_fields: must be names such as"),
            ("required_fields = [\"\"]", "events.required_fields: must be names such as"),
            ("max_age = \"8d\"", "events.max_age: must be between 60s and 604800s"),
            ("max_age = \"1s\"", "events.max_age: must be between"),
        ];
        for (text, message) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
