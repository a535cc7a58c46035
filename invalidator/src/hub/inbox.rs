//! Events out of the inboxes of publishers who may do nothing else where a source reads.

use access::Inbox;
use events::{EventError, EventErrorKind};

use super::ingest::By;
use super::{Accepted, Hub};
use crate::intake::{self, Origin, Refusal};

impl Hub {
    /// Takes in an event that came out of an inbox.
    ///
    /// # Errors
    /// If the event breaks a rule, its publisher may not publish it, or there is no room for it.
    pub fn ingest_from_inbox(
        &self,
        origin: Origin,
        inbox: &Inbox,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        self.ingest_by(origin.by(intake::inbox(&inbox.name)), By::Inbox(inbox), bytes)
    }

    /// Takes in an event once more that came out of the inbox of this name and was refused. Its
    /// publisher still may do no more than is allowed there.
    ///
    /// # Errors
    /// As [`Hub::ingest_from_inbox`], or if there is no such inbox any more.
    pub fn replay_from_inbox(
        &self,
        origin: Origin,
        name: &str,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        let of_kind = self.sources.iter().filter(|source| source.kind() == origin.source);
        let mut inboxes = of_kind.flat_map(|source| source.inboxes());
        let Some(inbox) = inboxes.find(|inbox| inbox.name.as_str() == name) else {
            let kind = EventErrorKind::BeyondAuthority;
            let rule = "must have come out of an inbox that is configured still";
            return Err(EventError { kind, field: "event".into(), rule: rule.into() }.into());
        };
        self.ingest_from_inbox(origin, inbox, bytes)
    }
}
