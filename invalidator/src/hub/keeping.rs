//! Keeps the store in step with what the engine has done, and the engine with what the store knows.

use engine::{Forgotten, Ingested, Settled, Verdict};
use events::Event;
use events::record::Record;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use store::{KeptEvent, Ticket};

use super::Hub;
use crate::intake::{Checked, Origin, Path, SourceKind, Stored, hash};

impl Hub {
    /// Looks up in the store what an event in force is, if the engine has forgotten that.
    pub(super) fn recall(&self, subject: &Subject, event_id: &EventId) {
        if !self.engine().is_forgotten(subject, event_id) {
            return;
        }
        let Some(record) = self.keeper.event(subject, event_id) else { return };
        let origin = self.intake.kept_origin(&record);
        let stored = Stored { event_id: Some(event_id), vouch: None };
        let checked = self.intake.check(origin, stored, &record.event, self.clock(self.now()));
        if let Ok(Checked { identity, .. }) = checked {
            self.engine().recall(subject, event_id, identity);
        }
    }

    /// Brings the store in step with what the engine has done. What is overtaken from the start is kept
    /// for a while as well: it may turn out not to be.
    pub(super) fn keep(
        &self,
        event: (&Subject, &EventId),
        ingested: &Ingested,
        record: Record,
    ) -> Ticket {
        let identity = (event.0.clone(), event.1.clone());
        let save = match ingested.verdict {
            // Known and in force, but there was no room to keep it when it came first.
            Verdict::Duplicate => self.keeper.lacks(&identity.0, &identity.1),
            _ => true,
        };
        let by = save.then(|| identity.clone());
        let kept = save.then(|| KeptEvent {
            subject: identity.0.clone(),
            event_id: identity.1.clone(),
            record,
        });
        let mut ticket = self.let_go(kept, by, &ingested.forgotten);
        if !save {
            ticket = self.keeper.ticket_of(&identity.0, &identity.1);
        }
        self.restamp(&identity.0, &ingested.restamped);
        if save && !ingested.is_kept {
            self.keeper.retire(None, identity);
        }
        ticket
    }

    /// Keeps an event, if there is one to keep, and lets go of what no longer counts: at once of what is over, and
    /// after a while of what `by` has overtaken.
    fn let_go(
        &self,
        kept: Option<KeptEvent>,
        by: Option<(Subject, EventId)>,
        forgotten: &[Forgotten],
    ) -> Ticket {
        let (overtaken, over): (Vec<_>, Vec<_>) =
            forgotten.iter().partition(|event| event.not_before == UnixMicros(0));
        let name = |event: &Forgotten| (event.subject.clone(), event.event_id.clone());
        let ticket = self.keeper.update(kept, over.into_iter().map(name));
        for event in overtaken {
            self.keeper.retire(by.clone(), name(event));
        }
        ticket
    }

    /// Keeps from when events count now, so that they do after a restart.
    fn restamp(&self, subject: &Subject, restamped: &[(EventId, UnixMicros)]) {
        for (event_id, at) in restamped {
            // What is not kept any more is read from Redis if need be.
            let Some(record) = self.keeper.event(subject, event_id) else { continue };
            let first_heard = record.first_heard.max(*at);
            let record = Record { first_heard, ..record };
            let (subject, event_id) = (subject.clone(), event_id.clone());
            self.keeper.save(KeptEvent { subject, event_id, record });
        }
    }

    /// Notes that an event which is known by these bytes stands in its place where a source reads, and was
    /// written there at `heard`. Says whether it is known.
    pub fn place(
        &self,
        source: &'static SourceKind,
        (subject, event_id): (&Subject, &EventId),
        heard: UnixMicros,
        bytes: &[u8],
    ) -> bool {
        // Before anybody is kept from the engine.
        let (now, hash) = (self.now(), hash(bytes));
        let mut engine = self.engine();
        let Some(publisher) = engine.knows(subject, event_id, hash) else { return false };
        if let Some(Settled { restamped, forgotten }) = engine.place(subject, event_id, heard, now)
        {
            self.let_go(None, None, &forgotten);
            self.restamp(subject, &restamped);
            drop(engine);
            if !restamped.is_empty() {
                self.ring_changed();
            }
            return true;
        }
        drop(engine);
        let origin = Origin::new(source, Path::Known(heard)).by(publisher);
        let stored = Stored { event_id: Some(event_id), vouch: None };
        // It has passed all rules before.
        let _ = self.ingest_stored(origin, stored, bytes);
        true
    }

    /// From now on an event that is in force counts under another id, since its own is that of
    /// another event. Says whether it was in force.
    pub fn rename(&self, (subject, event_id): (&Subject, &EventId), own: &EventId) -> bool {
        let record = self.keeper.event(subject, event_id);
        let now = self.now();
        let mut engine = self.engine();
        if !engine.rename(subject, event_id, own, now) {
            return false;
        }
        let renamed = record.map(|record| {
            let subject = subject.clone();
            KeptEvent { subject, event_id: own.clone(), record }
        });
        self.keeper.update(renamed, [(subject.clone(), event_id.clone())]);
        drop(engine);
        self.ring_changed();
        true
    }

    /// Takes in once more what is in force by all that a source holds, and is not here: more was overtaken by a
    /// stamp that was wrong than is remembered. Says whether it is in force now.
    pub fn bring_back(
        &self,
        source: &'static SourceKind,
        (subject, event_id): (&Subject, &EventId),
        heard: UnixMicros,
        bytes: &[u8],
    ) -> bool {
        let known = self.engine().knows(subject, event_id, hash(bytes));
        let origin = Origin::new(source, Path::Standing(heard)).by(known.unwrap_or_default());
        let stored = Stored { event_id: Some(event_id), vouch: None };
        let accepted = self.ingest_stored(origin, stored, bytes);
        accepted.is_ok_and(|accepted| accepted.ingested.verdict == Verdict::Applied)
    }

    /// Remembers an event that is not to be taken in, to recognize it if it comes again.
    pub fn remember(&self, origin: Origin, stored: Stored<'_>, bytes: &[u8]) {
        let checked = self.intake.check(origin, stored, bytes, self.clock(self.now()));
        if let Ok(Checked { event, identity, .. }) = checked {
            let Event { subject, register, .. } = event;
            self.engine().remember(&subject, &register.version.event_id, identity);
        }
    }
}
