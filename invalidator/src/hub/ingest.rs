//! Events on their way in: checked, taken in by the engine, counted and logged.

use access::{Caller, Inbox, Role};
use audit::entry::{About, EventFact, EventText, Fact};
use deadletter::Refused as Letter;
use engine::{Engine, Incoming, IngestError, Ingested, Now, Order, Verdict, WaiterId};
use events::Event;
use events::record::Record;
use model::name::{EventId, Name};
use model::state::Effect;
use model::subject::Subject;
use model::time::UnixMicros;
use store::Ticket;
use tracing::{info, warn};

use super::Hub;
use crate::intake::{
    Checked, Origin, Outcome, Path, Refusal, Rejected, Senders, Stored, kept_source, order,
};

/// An event that was taken in.
#[derive(Debug)]
pub struct Accepted {
    /// Whom it is about.
    pub subject: Subject,
    /// Its id.
    pub event_id: EventId,
    /// The event in its JSON form: what is written down of it.
    pub json: Vec<u8>,
    /// When it was first heard, by the clock that all daemons share.
    pub heard: UnixMicros,
    /// Whether it takes something away from its subject, and so goes before everything else.
    pub urgent: bool,
    /// What became of it.
    pub ingested: Ingested,
    /// What has to be durable so that a restart knows of it.
    pub ticket: Ticket,
}

/// A refused event: why, and what could be read of it.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) event_id: Option<EventId>,
    pub(super) signature: Option<Outcome>,
}

/// An event that was taken in, and what is noted of it.
struct Taken {
    known: Known,
    signature: Option<Outcome>,
    ingested: Ingested,
    ticket: Ticket,
    json: Vec<u8>,
    heard: UnixMicros,
}

/// An event and where it comes from.
#[derive(Clone, Copy)]
struct Arriving<'a> {
    origin: Origin,
    stored: Stored<'a>,
    bytes: &'a [u8],
    /// Who brings it, if that is known.
    by: By<'a>,
}

/// Who brings an event, as far as that decides what it may do.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// Nobody in particular.
    Anyone,
    /// A caller of the API.
    Caller(&'a Caller),
    /// Who may write to an inbox.
    Inbox(&'a Inbox),
}

impl By<'_> {
    fn inbox(self) -> Option<Name> {
        match self {
            Self::Inbox(inbox) => Some(inbox.name.clone()),
            Self::Anyone | Self::Caller(_) => None,
        }
    }
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
        let fact = EventFact { replayed, signed_by, ..EventFact::of(origin.source.name, event) };
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

impl Hub {
    /// Takes in one event, wherever it comes from: checks, counts, logs, and wakes held polls.
    ///
    /// # Errors
    /// If the event breaks a rule, or there is no room for it.
    pub fn ingest(&self, origin: Origin, bytes: &[u8]) -> Result<Accepted, Refusal> {
        self.ingest_stored(origin, Stored::default(), bytes)
    }

    /// The same of an event that was kept somewhere, with what lies beside it there.
    ///
    /// # Errors
    /// As [`Hub::ingest`].
    pub fn ingest_stored(
        &self,
        origin: Origin,
        stored: Stored<'_>,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        let by = By::Anyone;
        self.ingest_then(Arriving { origin, stored, bytes, by }, |_, _| ())
            .map(|(accepted, ())| accepted)
    }

    /// Like [`Hub::ingest`], and starts to wait for the nodes' acknowledgements before any of
    /// them can arrive. The caller ends the waiting.
    ///
    /// # Errors
    /// As [`Hub::ingest`].
    pub fn ingest_and_wait(
        &self,
        origin: Origin,
        caller: &Caller,
        bytes: &[u8],
    ) -> Result<(Accepted, WaiterId), Refusal> {
        let (stored, by) = (Stored::default(), By::Caller(caller));
        let arriving = Arriving { origin, stored, bytes, by };
        self.ingest_then(arriving, |engine, (subject, sequence, now)| {
            engine.wait(subject, sequence, now)
        })
    }

    pub(super) fn ingest_by(
        &self,
        origin: Origin,
        by: By<'_>,
        bytes: &[u8],
    ) -> Result<Accepted, Refusal> {
        let stored = Stored::default();
        let arriving = Arriving { origin, stored, bytes, by };
        self.ingest_then(arriving, |_, _| ()).map(|(accepted, ())| accepted)
    }

    fn ingest_then<T>(
        &self,
        arriving: Arriving<'_>,
        then: impl FnOnce(&mut Engine, (&Subject, u64, Now)) -> T,
    ) -> Result<(Accepted, T), Refusal> {
        let (now, Arriving { origin, bytes, by, .. }) = (self.now(), arriving);
        match self.take(arriving, now, then) {
            Ok((taken, then)) => {
                self.audit_accepted(origin, &taken);
                self.ring_changed();
                self.note_accepted(origin, &taken);
                let Taken { known, ingested, ticket, json, heard, .. } = taken;
                let Known { subject, urgent, .. } = known;
                let event_id = ingested.event_id.clone();
                let accepted =
                    Accepted { subject, event_id, json, heard, urgent, ingested, ticket };
                Ok((accepted, then))
            }
            Err(refused) => {
                self.note_refused((origin, by), bytes, &refused);
                Err(refused.refusal)
            }
        }
    }

    /// Checks an event and gives it to the engine.
    fn take<T>(
        &self,
        arriving: Arriving<'_>,
        now: Now,
        then: impl FnOnce(&mut Engine, (&Subject, u64, Now)) -> T,
    ) -> Result<(Taken, T), Refused> {
        let Arriving { origin, stored, bytes, by } = arriving;
        let checked = self.intake.check(origin, stored, bytes, self.clock(now))?;
        let Checked { event, identity, warnings, json, first_heard, signature, signed_by } =
            checked;
        let mut known = Known::of(&event, origin, signed_by);
        known.fact.inbox = by.inbox().map(|name| name.to_string());
        if let Err(refusal) = self.may_publish(by, &event, now) {
            let event_id = Some(known.event_id.clone());
            return Err(Refused { refusal, event_id, signature });
        }
        self.recall(&known.subject, &known.event_id);
        let mut engine = self.engine();
        let order = order(origin.path, event.register.version.at, first_heard);
        let incoming = Incoming { event, identity, heard: first_heard, order };
        let ingested = engine.ingest(incoming, now).map_err(|error| Refused {
            refusal: error.into(),
            event_id: Some(known.event_id.clone()),
            signature,
        });
        let mut ingested = ingested?;
        ingested.warnings.splice(0..0, warnings);
        known.event_id = ingested.event_id.clone();
        let source = kept_source(origin.source, identity.publisher);
        // In its place in the order, after a restart as well.
        let heard_here = first_heard.max(ingested.register.version.at);
        let record = Record { first_heard: heard_here, source, event: json.as_slice().into() };
        // Under the engine's lock: in the order in which it merges.
        let kept = (&known.subject, &known.event_id);
        let ticket = self.keep(kept, &ingested, record);
        let then = then(&mut engine, (&known.subject, ingested.sequence, now));
        let heard = match order {
            // Others are to put it where it stands here.
            Order::Last => ingested.register.version.at,
            Order::Placed | Order::Standing | Order::AsHeard => first_heard,
        };
        Ok((Taken { known, signature, ingested, ticket, json, heard }, then))
    }

    /// Whether an event breaks no rule now, of which nothing is noted. There may still be no room for it.
    #[must_use]
    pub fn would_take(&self, origin: Origin, bytes: &[u8]) -> bool {
        let clock = self.clock(self.now());
        self.intake.check(origin, Stored::default(), bytes, clock).is_ok()
    }

    /// Whether its publisher may publish this, and now.
    fn may_publish(&self, by: By<'_>, event: &Event, now: Now) -> Result<(), Refusal> {
        let caller = match by {
            By::Anyone => return Ok(()),
            By::Inbox(inbox) => {
                return Ok(inbox.authority.check(&event.subject, &event.register)?);
            }
            By::Caller(caller) => caller,
        };
        caller.authority.check(&event.subject, &event.register)?;
        let is_bounded = caller.role != Role::Operator;
        match is_bounded && !self.subject_pace.take(&caller.name, &event.subject, now.mono) {
            true => Err(IngestError::TooOften.into()),
            false => Ok(()),
        }
    }

    /// A line in the audit log, unless there is one of when the event was heard first: what we kept
    /// ourselves is read back at each start, and what is written in Redis is heard as well.
    fn audit_accepted(&self, origin: Origin, taken: &Taken) {
        let Taken { known: event, ingested, signature, .. } = taken;
        let is_old = match origin.path {
            Path::Kept(_) => true,
            Path::Written(_) | Path::Known(_) | Path::Standing(_) => {
                ingested.verdict == Verdict::Duplicate
            }
            Path::Live | Path::Heard(_) | Path::Replayed => false,
        };
        if is_old {
            return;
        }
        let fact = EventFact {
            result: ingested.verdict.as_str(),
            event_id: Some(ingested.event_id.clone().into()),
            in_effect: Some(ingested.in_effect),
            overruled_by: ingested.overruled_by.iter().map(|by| by.event_id.clone()).collect(),
            ended: ingested.ended.iter().map(ToString::to_string).collect(),
            sequence: Some(ingested.sequence),
            signature: signature.map(Outcome::as_str),
            counts_from: Some(ingested.register.version.at.to_string()),
            ..event.fact.clone()
        };
        let about = Some(About::Named(event.subject.clone()));
        // Whoever can publish at all can repeat what somebody has published, without end. Through
        // the API that is somebody with a name and a rate, and has a line for each call anyway.
        if ingested.verdict != Verdict::Applied && is_unasked(origin) {
            self.audit.note_idle(about, fact);
        } else {
            self.audit.note(about, Fact::Event(Box::new(fact)));
        }
    }

    /// The one place where a refused event is noted.
    pub(super) fn note_refused(
        &self,
        (origin, by): (Origin, By<'_>),
        bytes: &[u8],
        refused: &Refused,
    ) {
        let Refused { refusal, event_id, signature } = refused;
        let source = origin.source.name;
        self.metrics.event(source, "refused");
        self.metrics.event_refused(refusal.kind());
        self.metrics.intake.signature(source, *signature);
        let fact = EventFact {
            source,
            result: "refused",
            cause: Some(refusal.kind()),
            event_id: event_id.clone().map(EventText::from),
            inbox: by.inbox().map(|name| name.to_string()),
            replayed: origin.path == Path::Replayed,
            ..EventFact::default()
        };
        let kind = refusal.kind();
        if is_unasked(origin) {
            self.audit.note_idle(None, fact);
        } else {
            self.audit.note(None, Fact::Event(Box::new(fact)));
        }
        if let Some(left_out) = self.throttles.bad_events.admit(kind, self.now().mono) {
            let event_id = event_id.as_ref().map(EventId::as_str);
            warn!(source, event_id, kind, cause = %refusal, left_out, "event refused");
        }
        // Through the API its publisher, and of a replay the operator, has the answer.
        let is_told = match origin.path {
            Path::Live => origin.source.senders == Senders::Callers,
            Path::Replayed => true,
            Path::Heard(_)
            | Path::Written(_)
            | Path::Known(_)
            | Path::Standing(_)
            | Path::Kept(_) => false,
        };
        if !is_told {
            let (cause, event_id, at) = (refusal.cause(), event_id.clone(), self.now().wall);
            let proof = self.intake.proof(origin.source, *signature);
            let inbox = by.inbox();
            let letter = Letter { source, inbox, cause, proof, event_id, bytes, at };
            self.dead_letters.keep(letter);
        }
    }

    /// The one place where an event that was taken in is noted: applied, duplicate or stale.
    fn note_accepted(&self, origin: Origin, taken: &Taken) {
        let Known { event_id, event_type, subject, .. } = &taken.known;
        let Ingested { verdict, sequence, unknown_names, warnings, .. } = &taken.ingested;
        let (source, replayed) = (origin.source.name, origin.path == Path::Replayed);
        let result = verdict.as_str();
        let left_out = match verdict {
            Verdict::Applied => Some(0),
            _ => self.throttles.idle_events.admit(result, self.now().mono),
        };
        if let Some(left_out) = left_out {
            let left_out = (left_out > 0).then_some(left_out);
            let (id, event_type, sequence) = (event_id.clone(), event_type.clone(), *sequence);
            self.audit.tell(subject, move |subject| {
                // Quoted in either format: it is the publisher's text.
                let (event_id, event_type) = (&id, &*event_type);
                info!(source, %event_id, event_type, subject, result, sequence, replayed, left_out, "event taken in");
            });
        }
        for warning in warnings {
            warn!(%event_id, warning, "event may not do what it says");
        }
        self.metrics.event(source, result);
        self.metrics.intake.signature(source, taken.signature);
        self.metrics.unknown_names(*unknown_names);
    }
}

/// Whether nobody with a name and a rate has sent it: of the API there is a line for each call, and
/// of a replay for each letter.
fn is_unasked(origin: Origin) -> bool {
    origin.source.senders != Senders::Callers && origin.path != Path::Replayed
}
