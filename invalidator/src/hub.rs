//! Where everything meets that the daemon knows: events come in here, whichever source they come through, and here
//! nodes are told and the API looks. It is the engine behind one lock, what is kept in step with it (the store, the audit
//! log, dead letters, metrics), the clocks, and the bells that wake whoever waits for a change.
//!
//! The lock is held for plain computation only, never across an await. Which sources there are is not known
//! here: they are [`Source`]s, and the one that others read as well is a [`Replica`].

mod inbox;
mod ingest;
mod keeping;
mod limits;
mod record;
pub mod replay;
mod source;

pub use ingest::Accepted;
pub use source::{Asked, Counted, Counting, Daemons, Ledger, Replica, Running, Source};

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use access::SubjectPace;
use audit::Audit;
use audit::entry::{Fact, KeysFact};
use deadletter::DeadLetters;
use engine::{Engine, NodeKey, Now};
use keys::crowded;
use model::time::UnixMicros;
use model::violation::Violation;
use signing::key::KeySet;
use store::Keeper;
use system::wall_clock;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::fence::Called;
use crate::intake::{Clock, EventKeys, Intake, SourceKind};
use crate::metrics::Metrics;
use crate::overview::{Overview, Reports};
use crate::relay::Relay;
use crate::throttles::Throttles;

/// What a hub is made of.
#[derive(Debug)]
pub struct Contents {
    /// What knows all that the store keeps.
    pub engine: Engine,
    /// What is kept on the disk.
    pub keeper: Keeper,
    /// What checks events.
    pub intake: Intake,
    /// Where events go that cannot be applied.
    pub dead_letters: DeadLetters,
    /// Where everything is noted that somebody may ask about later.
    pub audit: Audit,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Where events come from.
    pub sources: Vec<Arc<dyn Source>>,
    /// How this daemon is called among others.
    pub called: Called,
}

/// See the module's description.
#[derive(Debug)]
pub struct Hub {
    engine: Mutex<Engine>,
    keeper: Keeper,
    started: Instant,
    changed: watch::Sender<()>,
    acknowledged: watch::Sender<()>,
    intake: Intake,
    /// Where events go that cannot be applied.
    pub dead_letters: DeadLetters,
    /// Where everything is noted that somebody may ask about later.
    pub audit: Audit,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What keeps the log from being filled.
    pub throttles: Throttles,
    sources: Vec<Arc<dyn Source>>,
    /// That of the one source that has one.
    replica: Option<Arc<dyn Replica>>,
    /// That of the one source that has one.
    fleet: Option<Arc<dyn Daemons>>,
    /// That of the one source that has one.
    ledger: Option<Arc<dyn Ledger>>,
    /// What nodes are told of the fleet's buckets.
    pub relay: Relay,
    called: Called,
    subject_pace: SubjectPace,
}

impl Hub {
    /// The daemon's time begins now.
    #[must_use]
    pub fn new(contents: Contents) -> Self {
        let Contents { engine, keeper, intake, dead_letters, audit, metrics, sources, called } =
            contents;
        Self {
            engine: Mutex::new(engine),
            keeper,
            started: Instant::now(),
            changed: watch::Sender::new(()),
            acknowledged: watch::Sender::new(()),
            intake,
            dead_letters,
            audit,
            metrics,
            throttles: Throttles::default(),
            replica: sources.iter().find_map(|source| source.replica()),
            fleet: sources.iter().find_map(|source| source.fleet()),
            ledger: sources.iter().find_map(|source| source.ledger()),
            relay: Relay::default(),
            called,
            sources,
            subject_pace: SubjectPace::default(),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: wall_clock(), mono: self.started.elapsed() }
    }

    /// The time by which events are ordered, beside our own.
    fn clock(&self, now: Now) -> Clock {
        let common = self.replica().map_or(now.wall, |replica| replica.time(now));
        Clock { here: now.wall, common }
    }

    /// The time by which events are ordered: that of the replica, as far as is known.
    #[must_use]
    pub fn common_time(&self) -> UnixMicros {
        self.clock(self.now()).common
    }

    /// What checks events.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// The engine, for as short as possible. No method of it leaves it half changed if it panics.
    pub fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept on the disk.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Where events are written for other daemons; nothing if there are no others.
    #[must_use]
    pub fn replica(&self) -> Option<&dyn Replica> {
        self.replica.as_deref()
    }

    /// The daemons that are connected with this one; nothing if there can be none.
    #[must_use]
    pub fn fleet(&self) -> Option<&dyn Daemons> {
        self.fleet.as_deref()
    }

    /// What keeps the fleet's buckets; nothing if there is no such source.
    #[must_use]
    pub fn ledger(&self) -> Option<&dyn Ledger> {
        self.ledger.as_deref()
    }

    /// How this daemon is called among others.
    #[must_use]
    pub fn called(&self) -> &Called {
        &self.called
    }

    /// Hands over an event that did not come from the replica, to be written there: also one that was
    /// known before, since nobody can say here whether the replica has that. The answer comes when it
    /// has it, or need not have it since a newer event has overtaken it. Nothing without a replica.
    pub fn write_to_replica(&self, accepted: &Accepted) -> Option<oneshot::Receiver<()>> {
        let replica = self.replica()?;
        let Accepted { subject, event_id, json, heard, urgent, .. } = accepted;
        if self.engine().events_of(subject).contains(event_id) {
            let identity = (subject.clone(), event_id.clone());
            return Some(replica.offer(identity, (json.clone(), *heard), *urgent));
        }
        let (answer, answered) = oneshot::channel();
        // The receiver is at hand.
        let _ = answer.send(());
        Some(answered)
    }

    /// Whether a source of this kind is configured.
    #[must_use]
    pub fn has_source(&self, kind: &SourceKind) -> bool {
        self.sources.iter().any(|source| source.kind() == kind)
    }

    /// The sources that are configured.
    #[must_use]
    pub fn sources(&self) -> &[Arc<dyn Source>] {
        &self.sources
    }

    /// The daemon at a glance.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let now = self.now();
        let report = |kind: &'static SourceKind| {
            let source = self.sources.iter().find(|source| source.kind() == kind);
            (kind.name, source.map(|source| source.report(now.mono)).unwrap_or_default())
        };
        let reports = self.intake.kinds().filter(|kind| kind.reports).map(report).collect();
        let engine = self.engine().status(now);
        let (store, audit) = (self.keeper.status(), self.audit.status());
        let is_open = self.ledger().map(|ledger| ledger.is_open());
        let fleet_limits = self.relay.status(is_open, now.mono);
        Overview { engine, reports: Reports(reports), fleet_limits, store, audit }
    }

    /// All metrics, as they are now.
    ///
    /// # Errors
    /// As [`Metrics::encode`].
    pub fn scrape(&self) -> Result<String, fmt::Error> {
        let (overview, now) = (self.overview(), self.now().mono);
        self.metrics.encode(&overview, || {
            self.sources.iter().for_each(|source| source.measure(now));
        })
    }

    /// Forgets what no longer matters; call it about once a second. Answers with the nodes that
    /// have stopped polling since the last call.
    pub fn sweep(&self) -> Vec<NodeKey> {
        let now = self.now();
        self.relay.sweep(now.mono);
        let mut engine = self.engine();
        let swept = engine.sweep(now);
        let age = engine.sources_age(now);
        let forgotten = swept.forgotten.into_iter().map(|event| (event.subject, event.event_id));
        self.keeper.update(None, forgotten);
        self.keeper.forget_retired(|subject, id| engine.events_of(subject).contains(id));
        drop(engine);
        if let Some(age) = age {
            self.keeper.note_sources_alive(now.wall.saturating_sub(age));
        }
        swept.gone
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
    pub fn source_alive(&self, kind: &SourceKind) {
        let now = self.now();
        self.engine().source_alive(kind.name, now);
    }

    /// Notes that a source has lost what it hears from: the daemon is not ready until its next sign of life.
    pub fn source_lost(&self, kind: &SourceKind) {
        self.engine().source_lost(kind.name);
    }

    /// Shows in the status what is wrong with a source that works; nothing: it is over.
    pub fn source_trouble(&self, kind: &SourceKind, trouble: Option<&'static str>) {
        self.engine().source_trouble(kind.name, trouble);
    }

    /// Up to where a source had been taken in when that was last kept.
    #[must_use]
    pub fn position(&self, kind: &SourceKind) -> Option<String> {
        self.keeper.position(kind.name)
    }

    /// Keeps up to where a source has been taken in, together with the events before.
    pub fn set_position(&self, kind: &SourceKind, position: &str) {
        self.keeper.set_position(kind.name, position);
    }

    /// Puts keys in force as they were read, or notes why they cannot be: those before them stay.
    pub fn keys_read(&self, keys: Result<KeySet, Violation>) {
        match keys {
            Ok(keys) => {
                let count = keys.len();
                let now = self.now();
                let crowded = crowded(&keys, now.wall);
                if !crowded.is_empty() {
                    let ids: Vec<_> = crowded.iter().map(String::as_str).collect();
                    warn!(
                        keys = ids.join(", "),
                        "more keys of one partner and profile are valid at once than nodes try by \
                         default: those that end first may not be tried (signature.keys_max)"
                    );
                }
                self.metrics.keys_crowded(crowded.len());
                let changed = self.engine().set_keys(keys, now);
                self.metrics.keys_reloaded();
                self.ring_changed();
                info!(count, changed, "keys file read");
                let (count, changed) = (Some(count), Some(changed));
                let fact = KeysFact { file: "keys.file", result: "loaded", count, changed };
                self.audit.note(None, Fact::Keys(fact));
            }
            Err(cause) => {
                self.metrics.keys_reload_failed();
                error!(%cause, "keys file cannot be used: the keys before it stay in force");
                self.engine().keys_failed(cause.to_string());
                let result = "failed";
                let fact = KeysFact { file: "keys.file", result, count: None, changed: None };
                self.audit.note(None, Fact::Keys(fact));
            }
        }
    }

    /// Puts keys of publishers in force as they were read, or leaves those before them.
    pub fn event_keys_read(&self, keys: Result<EventKeys, Violation>) {
        self.metrics.intake.keys_read(keys.is_ok());
        let result = if keys.is_ok() { "loaded" } else { "failed" };
        let count = keys.as_ref().ok().map(EventKeys::len);
        let fact = KeysFact { file: "events.keys_file", result, count, changed: None };
        self.audit.note(None, Fact::Keys(fact));
        match keys {
            Ok(keys) => {
                info!(count = keys.len(), "keys of publishers read");
                self.intake.set_keys(keys);
            }
            Err(cause) => {
                let what = "events.keys_file cannot be used: the keys before it stay in force";
                error!(%cause, "{what}");
            }
        }
    }
}
