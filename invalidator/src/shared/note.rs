//! What is noted of an event, once it is known what becomes of it: in the audit log, the log, the metrics
//! and among the dead letters.

use policy::name::EventId;
use tracing::{info, warn};

use super::Shared;
use super::ingest::{By, Known, Refused, Taken};
use crate::audit::entry::{About, EventFact, EventText, Fact};
use crate::deadletter::Refused as Letter;
use crate::engine::{Ingested, Verdict};
use crate::intake::{EMBEDDED, Origin, Path};

impl Shared {
    /// A line in the audit log, unless there is one of when the event was heard first: what we kept
    /// ourselves is read back at each start, and what is written in Redis is heard as well.
    pub(super) fn audit_accepted(&self, origin: Origin, event: &Known, ingested: &Ingested) {
        let is_old = match origin.path {
            Path::Kept(_) => true,
            Path::Written(_) | Path::Known(_) => ingested.verdict == Verdict::Duplicate,
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
            sequence: Some(ingested.sequence),
            ..event.fact.clone()
        };
        let about = Some(About::Named(event.subject.clone()));
        // Whoever can publish at all can repeat what somebody has published, without end. Through
        // the API that is somebody with a name and a rate, and has a line for each call anyway.
        if ingested.verdict != Verdict::Applied && is_unasked(origin) {
            self.audit.note_idle(about, fact);
        } else {
            self.audit.note(about, Fact::Event(fact));
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
        let source = origin.source;
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
            self.audit.note(None, Fact::Event(fact));
        }
        if let Some(left_out) = self.throttles.bad_events.admit(kind, self.now().mono) {
            let event_id = event_id.as_ref().map(EventId::as_str);
            warn!(source, event_id, kind, cause = %refusal, left_out, "event refused");
        }
        // Through the API its publisher, and of a replay the operator, has the answer.
        let is_told = match origin.path {
            Path::Live => source == EMBEDDED,
            Path::Replayed => true,
            Path::Heard(_) | Path::Written(_) | Path::Known(_) | Path::Kept(_) => false,
        };
        if !is_told {
            let (cause, event_id, at) = (refusal.cause(), event_id.clone(), self.now().wall);
            let proof = self.intake.proof(source, *signature);
            let inbox = by.inbox();
            let letter = Letter { source, inbox, cause, proof, event_id, bytes, at };
            self.dead_letters.keep(letter);
        }
    }

    /// The one place where an event that was taken in is noted: applied, duplicate or stale.
    pub(super) fn note_accepted(&self, origin: Origin, taken: &Taken) {
        let Known { event_id, event_type, subject, .. } = &taken.known;
        let Ingested { verdict, sequence, unknown_names, warnings, .. } = &taken.ingested;
        let (source, replayed) = (origin.source, origin.path == Path::Replayed);
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
    origin.source != EMBEDDED && origin.path != Path::Replayed
}
