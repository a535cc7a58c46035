//! Invalidations as publishers write them: JSON or protobuf in, a checked [`Event`] out.
//!
//! **For**: the format that `docs/event.schema.json` documents, its signature ([`signature`]), and its form on the
//! disk ([`record`]). Whatever is known must be right, so that a typing mistake is refused rather than half
//! applied; what is not known is reported by [`Unknown`], and judged elsewhere.
//!
//! **Not for**: whether an event is new, or wins against another, which is decided in [`model::state`]; and
//! whether its publisher may send it, which is decided in the daemon.
//!
//! **Begin with** [`Event`] and [`Document`]: a document is the JSON as it came, an event what it says.
//! [`protobuf`] turns the binary form into the same JSON, so that there is one set of rules.

mod document;
pub mod protobuf;
mod raw;
pub mod record;
pub mod signature;
mod unknown;

use std::fmt;
use std::time::Duration;

use model::bucket::Rate;
use model::name::{EventId, Name};
use model::state::{
    Block, CLOCK_ERROR_MAX, Effect, Lane, Override, Register, SCOPE_NAMES_MAX, Scope, Sequence,
    Version, Zero,
};
use model::subject::Subject;
use model::time::{DURATION_RULE, UnixMicros, parse_duration};

use crate::signature::Signature;

pub use document::Document;
pub use unknown::Unknown;

/// The longest event, in bytes.
pub const EVENT_BYTES_MAX: usize = 16 * 1024;

/// The `schema_version` that is understood: any minor version of this major one.
pub const SCHEMA_MAJOR: u32 = 1;
/// The newest minor version of which every member is known.
pub const SCHEMA_MINOR: u32 = 0;

/// How far a publisher's clock may be ahead. An event from further in the future is refused: its
/// spans of time would end too late.
pub const CLOCK_AHEAD_MAX: Duration = CLOCK_ERROR_MAX;

/// The reason of a block that names none.
pub const REASON_DEFAULT: &str = "unspecified";

/// One invalidation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The publisher's word for what happened, such as `user.self_excluded`; not interpreted.
    pub event_type: Box<str>,
    /// Whom it is about.
    pub subject: Subject,
    /// What it does, and its place in the order of events.
    pub register: Register,
    /// Who published it, by its own word.
    pub publisher: Option<Name>,
    /// When it happened, by its publisher's clock.
    pub occurred_at: UnixMicros,
}

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventError {
    /// What sort of mistake, for metrics.
    pub kind: EventErrorKind,
    /// The field at fault, such as `payload.until`; empty for the event as a whole.
    pub field: Box<str>,
    /// What it must be.
    pub rule: Box<str>,
}

/// The sorts of mistakes in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventErrorKind {
    /// Longer than [`EVENT_BYTES_MAX`].
    TooLarge,
    /// Not JSON, or not an object.
    Malformed,
    /// Another major version than [`SCHEMA_MAJOR`].
    UnknownVersion,
    /// A required field is missing, or a field breaks its rule.
    Invalid,
    /// From further in the future than [`CLOCK_AHEAD_MAX`].
    FromTheFuture,
    /// From too long ago to be taken in.
    TooOld,
    /// It has a field that is not allowed here, such as one with personal data.
    BlockedField,
    /// It has a member that has no meaning where it stands.
    UnknownField,
    /// It is not signed, and must be.
    SignatureMissing,
    /// It is signed with a key that is not known.
    UnknownKey,
    /// It is signed with a key that was not valid then.
    ExpiredKey,
    /// The signature is not that of this event.
    BadSignature,
    /// Its key may not sign for its publisher.
    PublisherNotAllowed,
    /// It does what its publisher may not do.
    BeyondAuthority,
}

impl EventErrorKind {
    /// Every kind there is, so that metrics can show zeros.
    pub const ALL: [Self; 14] = [
        Self::TooLarge,
        Self::Malformed,
        Self::UnknownVersion,
        Self::Invalid,
        Self::FromTheFuture,
        Self::TooOld,
        Self::BlockedField,
        Self::UnknownField,
        Self::SignatureMissing,
        Self::UnknownKey,
        Self::ExpiredKey,
        Self::BadSignature,
        Self::PublisherNotAllowed,
        Self::BeyondAuthority,
    ];

    /// The kind as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::UnknownVersion => "unknown_version",
            Self::Invalid => "invalid",
            Self::FromTheFuture => "from_the_future",
            Self::TooOld => "too_old",
            Self::BlockedField => "blocked_field",
            Self::UnknownField => "unknown_field",
            Self::SignatureMissing => "signature_missing",
            Self::UnknownKey => "unknown_key",
            Self::ExpiredKey => "expired_key",
            Self::BadSignature => "bad_signature",
            Self::PublisherNotAllowed => "publisher_not_allowed",
            Self::BeyondAuthority => "beyond_authority",
        }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "event" } else { &self.field };
        write!(f, "{field}: {}", self.rule)
    }
}

impl std::error::Error for EventError {}

fn invalid(field: &str, rule: impl Into<Box<str>>) -> EventError {
    EventError { kind: EventErrorKind::Invalid, field: field.into(), rule: rule.into() }
}

impl Event {
    /// Reads one event from its JSON. `now` is when it was first heard: it gives the event its place in
    /// the order, bounds `occurred_at`, and is when a `zero` empties the buckets.
    ///
    /// # Errors
    /// The first rule that the event breaks, with the field at fault. Values of fields are not
    /// repeated in errors: they may be personal data.
    pub fn parse(bytes: &[u8], now: UnixMicros) -> Result<Self, EventError> {
        Self::of(&Document::read(bytes)?, now, now).map(|(event, _)| event)
    }

    /// The same, of JSON that is read already and may have been heard before; and the event's
    /// signature, of which only the shape is checked.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn of(
        document: &Document,
        first_heard: UnixMicros,
        now: UnixMicros,
    ) -> Result<(Self, Option<Signature>), EventError> {
        let raw = raw::Event::read(document)?;
        let event_id =
            EventId::parse(&raw.event_id).ok_or_else(|| invalid("event_id", EventId::RULE))?;
        if !(1..=64).contains(&raw.event_type.len()) {
            return Err(invalid("event_type", "must be 1 to 64 bytes"));
        }
        let occurred_at = timestamp("occurred_at", &raw.occurred_at)?;
        if occurred_at > now.max(first_heard).saturating_add(CLOCK_AHEAD_MAX) {
            return Err(EventError {
                kind: EventErrorKind::FromTheFuture,
                ..invalid("occurred_at", "must not be more than 5 minutes in the future")
            });
        }
        let publisher = raw.publisher.as_deref().map(|text| name("publisher", text)).transpose()?;
        let lane = || Lane::of(publisher.as_ref());
        let sequence = raw.sequence.map(|number| Sequence { lane: lane(), number });
        let effect = effect(raw.payload, occurred_at, first_heard)?;
        let at = Version::counts_from(first_heard, occurred_at, &effect);
        let version = Version { sequence, at, event_id };
        let signature = raw.sig.map(raw::Sig::check).transpose()?;
        let event = Self {
            event_type: raw.event_type.into(),
            subject: subject(&raw.key)?,
            register: Register { version, effect },
            publisher,
            occurred_at,
        };
        Ok((event, signature))
    }
}

fn subject(key: &raw::Key) -> Result<Subject, EventError> {
    match (&key.user_id, &key.session_id) {
        (Some(id), None) => Subject::user(id).ok_or_else(|| invalid("key.user_id", Subject::RULE)),
        (None, Some(id)) => {
            Subject::session(id).ok_or_else(|| invalid("key.session_id", Subject::RULE))
        }
        _ => Err(invalid("key", "must have exactly one of user_id and session_id")),
    }
}

fn effect(
    payload: raw::Payload,
    occurred_at: UnixMicros,
    now: UnixMicros,
) -> Result<Effect, EventError> {
    payload.only_fields_of_its_action()?;
    let until = until(&payload, occurred_at)?;
    let reason = payload.reason.as_deref().map(|text| name("payload.reason", text)).transpose()?;
    Ok(match payload.action {
        raw::Action::Block => {
            let reason = match reason {
                Some(reason) => reason,
                None => name("payload.reason", REASON_DEFAULT)?,
            };
            let disclose = payload.disclose.unwrap_or(false);
            Effect::Block(Block { reason, scope: scope(payload.scope)?, until, disclose })
        }
        raw::Action::Unblock => Effect::Lift { reason },
        raw::Action::Zero => Effect::Zero(Zero { scope: scope(payload.scope)?, at: now, until }),
        raw::Action::Override => {
            let limit = payload
                .limit
                .ok_or_else(|| invalid("payload.limit", "must be given for an override"))?;
            let name = name("payload.limit.name", &limit.name)?;
            Effect::Override(Override { limit: name, rate: rate(&limit)?, until })
        }
    })
}

fn until(
    payload: &raw::Payload,
    occurred_at: UnixMicros,
) -> Result<Option<UnixMicros>, EventError> {
    match (&payload.until, &payload.span) {
        (None, None) => Ok(None),
        (Some(until), None) => timestamp("payload.until", until).map(Some),
        (None, Some(span)) => {
            let span = parse_duration(span).ok_or_else(|| invalid("payload.for", DURATION_RULE))?;
            Ok(Some(occurred_at.saturating_add(span)))
        }
        (Some(_), Some(_)) => Err(invalid("payload", "must not have both until and for")),
    }
}

fn scope(names: Option<Vec<String>>) -> Result<Scope, EventError> {
    let names = names.unwrap_or_default();
    if names.len() > SCOPE_NAMES_MAX {
        return Err(invalid("payload.scope", "must be at most 8 names"));
    }
    let names = names.iter().map(|text| name("payload.scope", text)).collect::<Result<_, _>>()?;
    Ok(Scope::of(names))
}

fn rate(limit: &raw::Limit) -> Result<Option<Rate>, EventError> {
    let parts = (limit.max_tokens, limit.tokens_per_fill, limit.fill_interval.as_deref());
    match (limit.default.unwrap_or(false), parts) {
        (true, (None, None, None)) => Ok(None),
        (false, (Some(max), Some(per_fill), Some(interval))) => {
            let interval = parse_duration(interval)
                .ok_or_else(|| invalid("payload.limit.fill_interval", DURATION_RULE))?;
            Rate::new(max, per_fill, interval)
                .map(Some)
                .map_err(|e| invalid(&format!("payload.limit.{}", e.field), e.rule))
        }
        _ => Err(invalid(
            "payload.limit",
            "must have max_tokens, tokens_per_fill and fill_interval, or \"default\": true alone",
        )),
    }
}

fn timestamp(field: &str, text: &str) -> Result<UnixMicros, EventError> {
    UnixMicros::parse_rfc3339(text).ok_or_else(|| {
        invalid(field, "must be an RFC 3339 timestamp, such as 2026-11-22T12:00:00.5Z")
    })
}

fn name(field: &str, text: &str) -> Result<Name, EventError> {
    Name::parse(text).ok_or_else(|| invalid(field, Name::RULE))
}

#[cfg(test)]
mod tests;
