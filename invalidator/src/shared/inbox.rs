//! Events out of the inboxes of publishers who may do nothing else in Redis.

use access::Inbox;
use events::{EventError, EventErrorKind};
use model::time::UnixMicros;

use super::ingest::By;
use super::{Accepted, Refusal, Shared};
use crate::intake::{self, Origin, Path, Stored};
use crate::source::redis::REDIS;

fn out_of(inbox: &Inbox, at: UnixMicros) -> Origin {
    Origin::new(REDIS, Path::Heard(at)).by(intake::inbox(&inbox.name))
}

impl Shared {
    /// Takes in an event that was taken out of an inbox at this instant by Redis's clock.
    ///
    /// # Errors
    /// If the event breaks a rule, its publisher may not publish it, or there is no room for it.
    pub fn ingest_from_inbox(
        &self,
        inbox: &Inbox,
        at: UnixMicros,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        self.ingest_by(out_of(inbox, at), By::Inbox(inbox), Stored::default(), bytes)
    }

    /// Whether such an event breaks no rule now, of which nothing is noted. There may still be no room
    /// for it, and its publisher may still not publish it.
    #[must_use]
    pub fn would_take_from_inbox(&self, inbox: &Inbox, at: UnixMicros, bytes: &[u8]) -> bool {
        self.would_take(out_of(inbox, at), bytes)
    }

    /// Takes in an event once more that came out of the inbox of this name and was refused. Its
    /// publisher still may do no more than is allowed there.
    ///
    /// # Errors
    /// As [`Shared::ingest_from_inbox`], or if there is no such inbox any more.
    pub fn replay_from_inbox(
        &self,
        origin: Origin,
        name: &str,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        let inboxes = self.inboxes.get().map(Vec::as_slice).unwrap_or_default();
        let Some(inbox) = inboxes.iter().find(|inbox| inbox.name.as_str() == name) else {
            let kind = EventErrorKind::BeyondAuthority;
            let rule = "must have come out of an inbox that is configured still";
            return Err(EventError { kind, field: "event".into(), rule: rule.into() }.into());
        };
        self.ingest_by(
            origin.by(intake::inbox(&inbox.name)),
            By::Inbox(inbox),
            Stored::default(),
            bytes,
        )
    }

    /// Makes the inboxes known. Only the first call has an effect.
    pub fn set_inboxes(&self, inboxes: Vec<Inbox>) {
        self.metrics.inboxes.show(inboxes.iter().map(|inbox| &inbox.name));
        let _ = self.inboxes.set(inboxes);
    }
}
