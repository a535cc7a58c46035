//! `[events]`: what an event must and must not have, and who may sign it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::violation::Violation;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use system::Span;

use crate::intake::{Events, FieldPath, MAX_AGE_MAX, Signatures, SourceKind, UnknownFields};
use crate::source;

/// Most entries of `required_fields`, and of `blocked_fields`.
const FIELDS_MAX: usize = 64;
/// Shortest `max_age`: clocks differ, and events travel.
const MAX_AGE_MIN: Duration = Duration::from_secs(60);
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

/// The section as written: beside fields of its own a table for each kind of source.
#[derive(Default)]
pub(crate) struct RawEvents {
    sources: Vec<(&'static SourceKind, Signatures)>,
    keys_file: Option<PathBuf>,
    required_fields: Vec<String>,
    blocked_fields: Vec<String>,
    max_age: Option<Span>,
    unknown_fields: UnknownFields,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    #[serde(default)]
    signatures: Signatures,
}

/// The name of a field of the section.
enum Field {
    Source(&'static SourceKind),
    KeysFile,
    Required,
    Blocked,
    MaxAge,
    Unknown,
}

impl Field {
    const OWN: [(&str, Self); 5] = [
        ("keys_file", Self::KeysFile),
        ("required_fields", Self::Required),
        ("blocked_fields", Self::Blocked),
        ("max_age", Self::MaxAge),
        ("unknown_fields", Self::Unknown),
    ];

    fn of(name: &str) -> Option<Self> {
        let own = Self::OWN.into_iter().find(|(own, _)| *own == name).map(|(_, field)| field);
        own.or_else(|| source::kind(name).map(Self::Source))
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::of(&name).ok_or_else(|| {
            let sources = source::KINDS.iter().map(|kind| kind.name);
            let names = sources.chain(Self::OWN.iter().map(|(own, _)| *own));
            let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
            D::Error::custom(format_args!(
                "unknown field `{name}`, expected one of {}",
                names.join(", ")
            ))
        })
    }
}

impl<'de> Deserialize<'de> for RawEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = RawEvents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct RawEvents")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<RawEvents, M::Error> {
        let mut raw = RawEvents::default();
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Source(kind) => {
                    let RawSource { signatures } = fields.next_value()?;
                    raw.sources.push((kind, signatures));
                }
                Field::KeysFile => raw.keys_file = Some(fields.next_value()?),
                Field::Required => raw.required_fields = fields.next_value()?,
                Field::Blocked => raw.blocked_fields = fields.next_value()?,
                Field::MaxAge => raw.max_age = Some(fields.next_value()?),
                Field::Unknown => raw.unknown_fields = fields.next_value()?,
            }
        }
        Ok(raw)
    }
}

impl RawEvents {
    /// Whether events through sources of this kind have to be signed: they need not, if nothing is said.
    fn signatures_of(&self, kind: &'static SourceKind) -> (&'static SourceKind, Signatures) {
        let said = self.sources.iter().find(|(other, _)| other.name == kind.name);
        (kind, said.map(|(_, mode)| *mode).unwrap_or_default())
    }

    pub(crate) fn check(self) -> Result<Events, Violation> {
        let signatures: Vec<_> =
            source::KINDS.iter().map(|kind| self.signatures_of(kind)).collect();
        for (kind, mode) in &signatures {
            if *mode != Signatures::Off && self.keys_file.is_none() {
                let rule = "needs events.keys_file, the keys of publishers";
                return Err(Violation::new(format!("events.{}.signatures", kind.name), rule));
            }
        }
        let required = paths("events.required_fields", &self.required_fields)?;
        let blocked = paths("events.blocked_fields", &self.blocked_fields)?;
        let is_essential = |text: &String| ESSENTIAL.iter().any(|e| e.eq_ignore_ascii_case(text));
        if self.blocked_fields.iter().any(is_essential) {
            let rule = "must not be a field that every event has";
            return Err(Violation::new("events.blocked_fields", rule));
        }
        let max_age = self.max_age.map_or(Ok(MAX_AGE_MAX), |span| {
            span.within("events.max_age", MAX_AGE_MIN, MAX_AGE_MAX)
        })?;
        let Self { keys_file, unknown_fields, .. } = self;
        Ok(Events { signatures, keys_file, required, blocked, max_age, unknown_fields })
    }
}

fn paths(field: &str, texts: &[String]) -> Result<Vec<FieldPath>, Violation> {
    if texts.len() > FIELDS_MAX {
        return Err(Violation::new(field, format!("must be at most {FIELDS_MAX}")));
    }
    let path = |text: &String| FieldPath::parse(text);
    let paths: Option<Vec<_>> = texts.iter().map(path).collect();
    paths.ok_or_else(|| Violation::new(field, FieldPath::RULE))
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
        let events = parse("").unwrap();
        assert!(events.signatures.iter().all(|(_, mode)| *mode == Signatures::Off));
        assert_eq!(events.signatures.len(), source::KINDS.len(), "of every kind it is said");
        assert_eq!(Events { signatures: Vec::new(), ..events }, Events::default());
        assert_eq!(Events::default().max_age, MAX_AGE_MAX);
    }

    #[test]
    fn each_source_has_its_own_rule() {
        let text = "keys_file = \"/k\"\nredis.signatures = \"required\"\n\
                    embedded.signatures = \"optional\"\nblocked_fields = [\"email\", \"a.b-c\"]\n\
                    required_fields = [\"publisher\"]\nmax_age = \"1h\"";
        let events = parse(text).unwrap();
        let mode = |name| events.signatures_of(source::kind(name).unwrap());
        assert_eq!(mode("redis"), Signatures::Required);
        assert_eq!(mode("embedded"), Signatures::Optional);
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
