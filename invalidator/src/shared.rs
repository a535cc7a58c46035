//! What the daemon's tasks share: the engine behind one lock, the clocks, and the bells to ring.
//!
//! The lock is held for plain computation only, never across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use policy::event::{EVENT_BYTES_MAX, Event, EventError, EventErrorKind};
use policy::name::EventId;
use policy::sign::key::KeySet;
use policy::subject::Subject;
use policy::time::UnixMicros;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::ConfigError;
use crate::engine::{Engine, IngestError, Ingested, Now, WaiterId};
use crate::intake::Origin;
use crate::log::Pseudonyms;
use crate::metrics::Metrics;
use crate::throttle::Throttles;

/// The wall clock; the Unix epoch if it stands before that.
#[must_use]
pub fn wall_clock() -> UnixMicros {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMicros(0).saturating_add(since_epoch.unwrap_or(Duration::ZERO))
}

/// Shared by every task of the daemon.
#[derive(Debug)]
pub struct Shared {
    engine: Mutex<Engine>,
    started: Instant,
    changed: watch::Sender<()>,
    acknowledged: watch::Sender<()>,
    pseudonyms: Pseudonyms,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What keeps the log from being filled.
    pub throttles: Throttles,
}

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
}

/// An event that was taken in.
#[derive(Debug)]
pub struct Accepted {
    /// Its id.
    pub event_id: EventId,
    /// What became of it.
    pub ingested: Ingested,
}

impl Shared {
    /// Shares an engine; the daemon's time begins now.
    #[must_use]
    pub fn new(engine: Engine, pseudonyms: Pseudonyms, metrics: Metrics) -> Self {
        Self {
            engine: Mutex::new(engine),
            started: Instant::now(),
            changed: watch::Sender::new(()),
            acknowledged: watch::Sender::new(()),
            pseudonyms,
            metrics,
            throttles: Throttles::default(),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: wall_clock(), mono: self.started.elapsed() }
    }

    /// The engine, for as short as possible. No method of it leaves it half changed if it panics.
    pub fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings when a held poll may have to be answered.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Rings when a node has acknowledged something.
    #[must_use]
    pub fn acknowledgements(&self) -> watch::Receiver<()> {
        self.acknowledged.subscribe()
    }

    /// Wakes every held poll.
    pub fn ring_changed(&self) {
        self.changed.send_replace(());
    }

    /// Wakes every waiting publisher.
    pub fn ring_acknowledged(&self) {
        self.acknowledged.send_replace(());
    }

    /// Notes a sign of life of a source.
    pub fn source_alive(&self, name: &str) {
        let now = self.now();
        self.engine().source_alive(name, now);
    }

    /// Puts keys in force as they were read, or notes why they cannot be: those before them stay.
    pub fn keys_read(&self, keys: Result<KeySet, ConfigError>) {
        match keys {
            Ok(keys) => {
                let count = keys.len();
                let now = self.now();
                let changed = self.engine().set_keys(keys, now);
                self.metrics.keys_reloaded();
                self.ring_changed();
                info!(count, changed, "keys file read");
            }
            Err(cause) => {
                self.metrics.keys_reload_failed();
                error!(%cause, "keys file cannot be used: the keys before it stay in force");
                self.engine().keys_failed(cause.to_string());
            }
        }
    }

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
        let source = origin.source;
        let first_heard = origin.first_heard(now.wall);
        let taken = Event::parse(bytes, first_heard).map_err(Refusal::from).and_then(|event| {
            let known = Known::of(&event);
            let mut engine = self.engine();
            let ingested = engine.ingest(event, now)?;
            let then = then(&mut engine, (&known.subject, ingested.sequence, now));
            Ok((known, ingested, then))
        });
        match taken {
            Ok((known, ingested, then)) => {
                self.ring_changed();
                self.note_accepted(source, &known, &ingested);
                Ok((Accepted { event_id: known.event_id, ingested }, then))
            }
            Err(refusal) => {
                self.note_refused(source, &refusal);
                Err(refusal)
            }
        }
    }

    /// Counts and logs an event that was not even read because of its size.
    pub fn refuse_too_large(&self, source: &'static str) -> Refusal {
        let rule = format!("must be at most {EVENT_BYTES_MAX} bytes");
        let kind = EventErrorKind::TooLarge;
        let refusal = EventError { kind, field: "".into(), rule: rule.into() }.into();
        self.note_refused(source, &refusal);
        refusal
    }

    fn note_refused(&self, source: &'static str, refusal: &Refusal) {
        self.metrics.event(source, "refused");
        self.metrics.event_refused(refusal.kind());
        if let Some(left_out) = self.throttles.bad_events.admit(self.now().mono) {
            warn!(source, kind = refusal.kind(), cause = %refusal, left_out, "event refused");
        }
    }

    fn note_accepted(&self, source: &'static str, event: &Known, ingested: &Ingested) {
        let Known { event_id, event_type, subject } = event;
        let Ingested { verdict, sequence, unknown_names, warnings } = ingested;
        let result = verdict.as_str();
        let subject = self.pseudonyms.of(subject);
        // Quoted in either format: it is the publisher's text.
        let event_type = &**event_type;
        info!(source, %event_id, event_type, subject, result, sequence, "event taken in");
        for warning in warnings {
            warn!(%event_id, warning, "event may not do what it says");
        }
        self.metrics.event(source, result);
        self.metrics.unknown_names(*unknown_names);
    }
}

/// What is logged of an event.
struct Known {
    event_id: EventId,
    event_type: Box<str>,
    subject: Subject,
}

impl Known {
    fn of(event: &Event) -> Self {
        Self {
            event_id: event.register.version.event_id.clone(),
            event_type: event.event_type.clone(),
            subject: event.subject.clone(),
        }
    }
}
