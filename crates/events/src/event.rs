//! What an event says, once every rule for it is kept.

use std::time::Duration;

use model::bucket::Rate;
use model::name::{EventId, Name};
use model::state::{
    Block, CLOCK_ERROR_MAX, Effect, Lane, Override, Register, SCOPE_NAMES_MAX, Scope, Sequence,
    Version, Zero,
};
use model::subject::Subject;
use model::time::{DURATION_RULE, UnixMicros, parse_duration};

use crate::document::Document;
use crate::error::{EventError, EventErrorKind, invalid};
use crate::raw;
use crate::signature::Signature;

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
                .map_err(|error| error.within("payload.limit").into())
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
