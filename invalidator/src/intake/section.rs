//! `[events]`, checked: what operators ask of events. How it is written is for `config::events`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::SourceKind;

/// Most names in one path.
const PATH_NAMES_MAX: usize = 8;
/// Longest name in a path, in bytes.
const PATH_NAME_BYTES_MAX: usize = 64;
/// Longest `max_age`, and the default. What an unblock has lifted is forgotten with it after 8 days:
/// a block that came even later would find nothing that lifts it.
pub(crate) const MAX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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
    /// Every kind of source, and whether its events have to be signed.
    pub signatures: Vec<(&'static SourceKind, Signatures)>,
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
    pub(crate) const RULE: &str = "must be names such as \"email\" or \"payload.note\": up to 8 of \
                        A-Z, a-z, 0-9, '_' and '-', with dots between them";

    pub(crate) fn parse(text: &str) -> Option<Self> {
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
            signatures: Vec::new(),
            keys_file: None,
            required: Vec::new(),
            blocked: Vec::new(),
            max_age: MAX_AGE_MAX,
            unknown_fields: UnknownFields::default(),
        }
    }
}

impl Events {
    /// Whether events through sources of this kind have to be signed. Of a kind that nobody has said anything
    /// of they have to be: what was forgotten is refused rather than believed.
    #[must_use]
    pub fn signatures_of(&self, kind: &SourceKind) -> Signatures {
        let found = self.signatures.iter().find(|(other, _)| other.name == kind.name);
        found.map_or(Signatures::Required, |(_, mode)| *mode)
    }
}
