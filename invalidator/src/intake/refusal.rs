//! Why an event was refused, in the words of metrics, answers and dead letters.

use events::{EventError, EventErrorKind};
use thiserror::Error;

use deadletter::Cause;
use engine::IngestError;

/// Why an event was refused.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It breaks a rule by itself.
    #[error(transparent)]
    Event(#[from] EventError),
    /// There is no room for it.
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

impl Refusal {
    /// The kind as a metric label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event(error) => error.kind.as_str(),
            Self::Ingest(error) => error.kind(),
        }
    }

    /// Every kind there is, so that metrics can show zeros.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        let events = EventErrorKind::ALL.map(EventErrorKind::as_str);
        events.into_iter().chain(IngestError::ALL.map(IngestError::kind))
    }

    /// The field at fault, `event` for the whole, and the rule that it breaks.
    #[must_use]
    pub fn broken(&self) -> (String, String) {
        let whole = |field: &str| if field.is_empty() { "event" } else { field }.to_owned();
        match self {
            Self::Event(error) => (whole(&error.field), error.rule.to_string()),
            Self::Ingest(error) => {
                let text = error.to_string();
                let (field, rule) = text.split_once(": ").unwrap_or(("event", &text));
                (field.to_owned(), rule.to_owned())
            }
        }
    }

    /// The same as it is kept with a dead letter.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let (field, rule) = self.broken();
        Cause { kind: self.kind().to_owned(), field, rule }
    }
}
