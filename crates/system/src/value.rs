//! Values in TOML files that need more than serde knows: secrets and where they are kept, spans, times.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::time::{DURATION_RULE, UnixMicros, parse_duration};
use model::violation::Violation;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Largest secret or certificate file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A span of time as written: `"500ms"`, `"2s"`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_duration(&text).map(Self).ok_or(DURATION_RULE)
    }
}

impl Span {
    /// The span if it lies within the bounds.
    pub fn within(self, field: &str, min: Duration, max: Duration) -> Result<Duration, Violation> {
        if (min..=max).contains(&self.0) {
            return Ok(self.0);
        }
        Err(Violation::new(field, format!("must be between {min:?} and {max:?}")))
    }
}

/// What a time has to look like, for error messages.
pub const TIME_RULE: &str = "must be an RFC 3339 time such as \"2026-11-22T12:00:00Z\"";

/// A time as text, or as TOML's own.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be an RFC 3339 time such as \"2026-11-22T12:00:00Z\"")]
pub enum Time {
    /// Text that is still to be checked against [`TIME_RULE`].
    Text(String),
    /// A time without quotes.
    Toml(toml::value::Datetime),
}

impl Time {
    /// The time, if it follows [`TIME_RULE`].
    pub fn parse(&self) -> Option<UnixMicros> {
        match self {
            Self::Text(text) => UnixMicros::parse_rfc3339(text),
            Self::Toml(time) => UnixMicros::parse_rfc3339(&time.to_string()),
        }
    }
}

/// A secret as written: in place, or where to find it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a string, { file = \"/path\" } or { env = \"NAME\" }")]
pub enum Secret {
    /// The secret itself.
    Inline(SecretString),
    /// Where it is kept.
    Elsewhere(Place),
}

/// Where a secret is kept.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A file with nothing else in it.
    File(PathBuf),
    /// An environment variable, by its name.
    Env(String),
}

impl Secret {
    /// The secret itself. A newline at the end of a file is not part of it.
    pub fn resolve(self, field: &str) -> Result<SecretString, Violation> {
        match self {
            Self::Inline(secret) => Ok(secret),
            Self::Elsewhere(Place::File(file)) => {
                let bytes = read(&file, field)?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| Violation::new(field, "the file must hold UTF-8 text"))?;
                Ok(text.trim_end_matches(['\r', '\n']).into())
            }
            Self::Elsewhere(Place::Env(env)) => {
                std::env::var(&env).map(SecretString::from).map_err(|_| {
                    Violation::new(field, format!("environment variable {env} is not set"))
                })
            }
        }
    }
}

/// Reads a file that the configuration names.
pub fn read(path: &Path, field: &str) -> Result<Vec<u8>, Violation> {
    read_bounded(path, FILE_BYTES_MAX).map_err(|rule| Violation::new(field, rule))
}

/// Reads at most `bytes_max`; the error says what is wrong with the file.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let cannot = |cause| format!("cannot read {}: {cause}", path.display());
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= bytes_max) {
        return Ok(bytes);
    }
    Err(format!("{} is larger than {bytes_max} bytes", path.display()))
}

/// Parses a TOML file; `name` stands for the file itself in errors. Messages never quote the text:
/// a line of it may hold a secret.
pub fn parse_toml<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Violation> {
    let syntax = |error: toml::de::Error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count().saturating_add(1));
        let place = line.map_or_else(|| name.to_owned(), |line| format!("{name} line {line}"));
        Violation::new(place, error.message())
    };
    let document = toml::Deserializer::parse(text).map_err(syntax)?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { name.to_owned() } else { path };
        Violation::new(field, unquoted(error.into_inner().message()))
    })
}

/// The message without the text that has the wrong type: it may be a secret in the wrong place.
fn unquoted(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid type: string") => {
            format!("invalid type: string, expected {expected}")
        }
        _ => message.to_owned(),
    }
}
