//! Events on their way in: checked, taken in by the engine, counted and logged.

use policy::event::{EVENT_BYTES_MAX, Event, EventError, EventErrorKind};
use policy::name::EventId;
use policy::record::Record;
use policy::state::Effect;
use policy::subject::Subject;
use thiserror::Error;
use tracing::{info, warn};

use super::Shared;
use crate::audit::entry::{About, EventFact, EventText, Fact};
use crate::deadletter::{Cause, Fresh};
use crate::engine::{Engine, IngestError, Ingested, Now, Verdict, WaiterId};
use crate::intake::{Checked, EMBEDDED, Origin, Outcome, Path, Rejected};
use crate::store::{KeptEvent, Ticket};

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
        let ingest = [IngestError::SubjectsFull, IngestError::TooManyTopics];
        let events = EventErrorKind::ALL.map(EventErrorKind::as_str);
        events.into_iter().chain(ingest.map(IngestError::kind))
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
}

impl Refusal {
    /// The same as it is kept with a dead letter.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let (field, rule) = self.broken();
        Cause { kind: self.kind().to_owned(), field, rule }
    }
}

/// An event that was taken in.
#[derive(Debug)]
pub struct Accepted {
    /// Whom it is about.
    pub subject: Subject,
    /// Its id.
    pub event_id: EventId,
    /// The event in its JSON form: what is written down of it.
    pub json: Vec<u8>,
    /// Whether it takes something away from its subject, and so goes before everything else.
    pub urgent: bool,
    /// What became of it.
    pub ingested: Ingested,
    /// What has to be durable so that a restart knows of it.
    pub ticket: Ticket,
}

/// A refused event: why, and what could be read of it.
struct Refused {
    refusal: Refusal,
    event_id: Option<EventId>,
    signature: Option<Outcome>,
}

/// An event that was taken in, and what is noted of it.
struct Taken {
    known: Known,
    signature: Option<Outcome>,
    ingested: Ingested,
    ticket: Ticket,
    json: Vec<u8>,
}

/// What is logged of an event.
struct Known {
    event_id: EventId,
    event_type: Box<str>,
    subject: Subject,
    urgent: bool,
    fact: EventFact,
}

impl Known {
    fn of(event: &Event, origin: Origin, signed_by: Option<Box<str>>) -> Self {
        let replayed = origin.path == Path::Replayed;
        let signed_by = signed_by.map(Into::into);
        let fact = EventFact { replayed, signed_by, ..EventFact::of(origin.source, event) };
        Self {
            event_id: event.register.version.event_id.clone(),
            event_type: event.event_type.clone(),
            subject: event.subject.clone(),
            urgent: matches!(event.register.effect, Effect::Block(_) | Effect::Zero(_)),
            fact,
        }
    }
}

impl From<Box<Rejected>> for Refused {
    fn from(rejected: Box<Rejected>) -> Self {
        let Rejected { error, event_id, signature } = *rejected;
        Self { refusal: error.into(), event_id, signature }
    }
}

impl Shared {
    /// Takes in one event, wherever it comes from: checks, counts, logs, and wakes held polls.
    ///
    /// # Errors
    /// If the event breaks a rule, or there is no room for it.
    pub fn ingest(&self, origin: Origin, bytes: &[u8]) -> Result<Accepted, Refusal> {
        self.ingest_then(origin, bytes, |_, _| ()).map(|(accepted, ())| accepted)
    }

    /// Like [`Shared::ingest`], and starts to wait for the nodes' acknowledgements before any of
    /// them can arrive. The caller ends the waiting.
    ///
    /// # Errors
    /// As [`Shared::ingest`].
    pub fn ingest_and_wait(
        &self,
        origin: Origin,
        bytes: &[u8],
    ) -> Result<(Accepted, WaiterId), Refusal> {
        self.ingest_then(origin, bytes, |engine, (subject, sequence, now)| {
            engine.wait(subject, sequence, now)
        })
    }

    fn ingest_then<T>(
        &self,
        origin: Origin,
        bytes: &[u8],
        then: impl FnOnce(&mut Engine, (&Subject, u64, Now)) -> T,
    ) -> Result<(Accepted, T), Refusal> {
        let now = self.now();
        match self.take(origin, bytes, now, then) {
            Ok((taken, then)) => {
                self.audit_accepted(origin, &taken.known, &taken.ingested);
                self.ring_changed();
                self.note_accepted(origin, &taken);
                let Taken { known, ingested, ticket, json, .. } = taken;
                let Known { event_id, subject, urgent, .. } = known;
                let accepted = Accepted { subject, event_id, json, urgent, ingested, ticket };
                Ok((accepted, then))
            }
            Err(refused) => {
                self.note_refused(origin, bytes, &refused);
                Err(refused.refusal)
            }
        }
    }

    /// Checks an event and gives it to the engine.
    fn take<T>(
        &self,
        origin: Origin,
        bytes: &[u8],
        now: Now,
        then: impl FnOnce(&mut Engine, (&Subject, u64, Now)) -> T,
    ) -> Result<(Taken, T), Refused> {
        let Checked { event, signature, json, first_heard, signed_by } =
            self.intake.check(origin, bytes, now.wall)?;
        let known = Known::of(&event, origin, signed_by);
        let mut engine = self.engine();
        let ingested = engine.ingest(event, now).map_err(|error| Refused {
            refusal: error.into(),
            event_id: Some(known.event_id.clone()),
            signature,
        })?;
        let source = origin.source.into();
        let record = Record { first_heard, source, event: json.as_slice().into() };
        // Under the engine's lock: in the order in which it merges.
        let ticket = self.keep(&known, &ingested, record);
        let then = then(&mut engine, (&known.subject, ingested.sequence, now));
        Ok((Taken { known, signature, ingested, ticket, json }, then))
    }

    /// Brings the store in step with what the engine has done.
    fn keep(&self, event: &Known, ingested: &Ingested, record: Record) -> Ticket {
        let (subject, event_id) = (event.subject.clone(), event.event_id.clone());
        let save = match ingested.verdict {
            Verdict::Applied => true,
            // Known and in force, but there was no room to keep it when it came first.
            Verdict::Duplicate if self.keeper.lacks(&subject, &event_id) => true,
            Verdict::Duplicate => return self.keeper.ticket_of(&subject, &event_id),
            Verdict::Stale => false,
        };
        let kept = save.then_some(KeptEvent { subject, event_id, record });
        let forgotten = ingested.forgotten.iter();
        let forgotten = forgotten.map(|event| (event.subject.clone(), event.event_id.clone()));
        self.keeper.update(kept, forgotten)
    }

    /// Counts and logs an event that was not even read because of its size.
    pub fn refuse_too_large(&self, origin: Origin) -> Refusal {
        let rule = format!("must be at most {EVENT_BYTES_MAX} bytes");
        let kind = EventErrorKind::TooLarge;
        self.refuse(origin, EventError { kind, field: "".into(), rule: rule.into() })
    }

    /// Counts and logs an event that was refused before it was read.
    pub fn refuse(&self, origin: Origin, error: EventError) -> Refusal {
        let refused = Refused::from(Rejected::unread(error));
        self.note_refused(origin, &[], &refused);
        refused.refusal
    }

    /// A line in the audit log, unless there is one of when the event was heard first: what we kept
    /// ourselves is read back at each start, and what is written in Redis is heard as well.
    fn audit_accepted(&self, origin: Origin, event: &Known, ingested: &Ingested) {
        let is_old = match origin.path {
            Path::Kept(_) => true,
            Path::Written(_) => ingested.verdict == Verdict::Duplicate,
            Path::Live | Path::Replayed => false,
        };
        if is_old {
            return;
        }
        let fact = EventFact {
            result: ingested.verdict.as_str(),
            sequence: Some(ingested.sequence),
            ..event.fact.clone()
        };
        self.audit.note(Some(About::Named(event.subject.clone())), Fact::Event(fact));
    }

    /// The one place where a refused event is noted.
    fn note_refused(&self, origin: Origin, bytes: &[u8], refused: &Refused) {
        let Refused { refusal, event_id, signature } = refused;
        let source = origin.source;
        self.metrics.event(source, "refused");
        self.metrics.event_refused(refusal.kind());
        self.metrics.intake.signature(source, *signature);
        let fact = EventFact {
            source,
            result: "refused",
            cause: Some(refusal.kind()),
            event_id: event_id.clone().map(EventText::from),
            replayed: origin.path == Path::Replayed,
            ..EventFact::default()
        };
        self.audit.note(None, Fact::Event(fact));
        if let Some(left_out) = self.throttles.bad_events.admit(self.now().mono) {
            let event_id = event_id.as_ref().map(EventId::as_str);
            let kind = refusal.kind();
            warn!(source, event_id, kind, cause = %refusal, left_out, "event refused");
        }
        // Through the API its publisher, and of a replay the operator, has the answer.
        let is_told = match origin.path {
            Path::Live => source == EMBEDDED,
            Path::Replayed => true,
            Path::Written(_) | Path::Kept(_) => false,
        };
        if !is_told {
            let (cause, event_id, at) = (refusal.cause(), event_id.clone(), self.now().wall);
            self.dead_letters.keep(Fresh::new(source, cause, event_id, bytes, at));
        }
    }

    /// The one place where an event that was taken in is noted: applied, duplicate or stale.
    fn note_accepted(&self, origin: Origin, taken: &Taken) {
        let Known { event_id, event_type, subject, .. } = &taken.known;
        let Ingested { verdict, sequence, unknown_names, warnings, .. } = &taken.ingested;
        let (source, replayed) = (origin.source, origin.path == Path::Replayed);
        let result = verdict.as_str();
        let (id, event_type, sequence) = (event_id.clone(), event_type.clone(), *sequence);
        self.audit.tell(subject, move |subject| {
            // Quoted in either format: it is the publisher's text.
            let (event_id, event_type) = (&id, &*event_type);
            info!(source, %event_id, event_type, subject, result, sequence, replayed, "event taken in");
        });
        for warning in warnings {
            warn!(%event_id, warning, "event may not do what it says");
        }
        self.metrics.event(source, result);
        self.metrics.intake.signature(source, taken.signature);
        self.metrics.unknown_names(*unknown_names);
    }
}
