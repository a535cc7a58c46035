//! Why an event is refused: the sort of mistake, the field at fault, and the rule.

use std::fmt;

use model::violation::Violation;

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
    /// Longer than [`EVENT_BYTES_MAX`](crate::EVENT_BYTES_MAX).
    TooLarge,
    /// Not JSON, or not an object.
    Malformed,
    /// Another major version than [`SCHEMA_MAJOR`](crate::SCHEMA_MAJOR).
    UnknownVersion,
    /// A required field is missing, or a field breaks its rule.
    Invalid,
    /// From further in the future than [`CLOCK_AHEAD_MAX`](crate::CLOCK_AHEAD_MAX).
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

impl From<Violation> for EventError {
    fn from(Violation { field, rule }: Violation) -> Self {
        Self { kind: EventErrorKind::Invalid, field: field.into(), rule: rule.into() }
    }
}

/// A field of an event that breaks this rule.
pub(crate) fn invalid(field: &str, rule: impl Into<Box<str>>) -> EventError {
    EventError { kind: EventErrorKind::Invalid, field: field.into(), rule: rule.into() }
}
