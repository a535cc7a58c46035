//! Events that are refused before they are taken in: too large, or of an id that is taken.

use engine::IngestError;
use events::{Document, EVENT_BYTES_MAX, EventError, EventErrorKind};
use model::name::EventId;

use super::Hub;
use super::ingest::{By, Refused};
use crate::intake::{Origin, Refusal, Rejected};

impl Hub {
    /// Counts and logs an event that was not even read because of its size.
    pub fn refuse_too_large(&self, origin: Origin) -> Refusal {
        let rule = format!("must be at most {EVENT_BYTES_MAX} bytes");
        let kind = EventErrorKind::TooLarge;
        self.refuse(origin, EventError { kind, field: "".into(), rule: rule.into() })
    }

    /// Counts and logs an event that was refused before it was read.
    pub fn refuse(&self, origin: Origin, error: EventError) -> Refusal {
        let refused = Refused::from(Rejected::unread(error));
        self.note_refused((origin, By::Anyone), &[], &refused);
        refused.refusal
    }

    /// Counts and logs an event whose id another event has where its source reads.
    pub fn refuse_conflict(&self, origin: Origin, bytes: &[u8]) {
        let event_id = Document::read(bytes).ok();
        let event_id = event_id.and_then(|document| EventId::parse(document.event_id()?));
        let refusal = IngestError::IdTaken.into();
        let refused = Refused { refusal, event_id, signature: None };
        self.note_refused((origin, By::Anyone), bytes, &refused);
    }
}
