//! Events as JSON spells them, before any rule is checked.

use serde::Deserialize;

use crate::document::Document;
use crate::error::{EventError, EventErrorKind, invalid};
use crate::signature::Signature;

/// The `schema_version` that is understood: any minor version of this major one.
pub const SCHEMA_MAJOR: u32 = 1;
/// The newest minor version of which every member is known.
pub const SCHEMA_MINOR: u32 = 0;

/// The whole event; fields that are not known are ignored.
#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) occurred_at: String,
    pub(super) sequence: Option<u64>,
    pub(super) key: Key,
    pub(super) payload: Payload,
    pub(super) publisher: Option<String>,
    pub(super) sig: Option<Sig>,
}

/// The signature.
#[derive(Deserialize)]
pub(super) struct Sig {
    pub(super) algo: String,
    pub(super) kid: String,
    pub(super) ts: u64,
    pub(super) mac: String,
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
    pub(super) fn read(document: &Document) -> Result<Self, EventError> {
        let envelope: Envelope = document.to()?;
        let major = envelope.schema_version.split('.').next().unwrap_or_default();
        if major != SCHEMA_MAJOR.to_string() {
            return Err(EventError {
                kind: EventErrorKind::UnknownVersion,
                ..invalid("schema_version", "must be of major version 1, such as \"1.0\"")
            });
        }
        document.to()
    }
}

impl Sig {
    pub(super) fn check(self) -> Result<Signature, EventError> {
        Signature::new(&self.algo, &self.kid, self.ts, &self.mac).map_err(EventError::from)
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
