//! What the daemon's tasks share: the engine behind one lock, the clocks, and the bells to ring.
//!
//! The lock is held for plain computation only, never across an await.

mod inbox;
mod ingest;
mod keeping;
mod record;
mod refusal;

pub use ingest::Accepted;
pub use refusal::Refusal;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use access::{Inbox, SubjectPace};
use audit::Audit;
use audit::entry::{Fact, KeysFact};
use deadletter::DeadLetters;
use engine::{Engine, NodeKey, Now};
use keys::crowded;
use model::time::UnixMicros;
use signing::key::KeySet;
use store::Keeper;
use system::{ConfigError, wall_clock};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::intake::{Clock, EventKeys, Intake};
use crate::metrics::Metrics;
use crate::overview::Overview;
use crate::source::redis::{Agreement, Outbox, State};
use crate::throttles::Throttles;

/// Shared by every task of the daemon.
#[derive(Debug)]
pub struct Shared {
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
    outbox: OnceLock<Arc<Outbox>>,
    inboxes: OnceLock<Vec<Inbox>>,
    subject_pace: SubjectPace,
    /// How Redis stands to what is known here, and when that was said.
    redis: Mutex<Option<(Agreement, Duration)>>,
}

impl Shared {
    /// Shares an engine that knows what the store keeps; the daemon's time begins now.
    #[must_use]
    pub fn new(
        engine: Engine,
        keeper: Keeper,
        intake: Intake,
        dead_letters: DeadLetters,
        audit: Audit,
        metrics: Metrics,
    ) -> Self {
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
            outbox: OnceLock::new(),
            inboxes: OnceLock::new(),
            subject_pace: SubjectPace::default(),
            redis: Mutex::default(),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: wall_clock(), mono: self.started.elapsed() }
    }

    /// The time by which events are ordered, beside our own.
    fn clock(&self, now: Now) -> Clock {
        let common = self.outbox().map_or(now.wall, |outbox| outbox.time(now));
        Clock { here: now.wall, common }
    }

    /// The time by which events are ordered: that of Redis, as far as is known.
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

    /// Where events go that are to be written to Redis; nothing without Redis.
    #[must_use]
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.get().map(|outbox| &**outbox)
    }

    /// Hands over an event that did not come from Redis, to be written there: also one that was
    /// known before, since nobody can say here whether Redis has that. The answer comes when Redis
    /// has it, or need not have it since a newer event has overtaken it. Nothing without Redis.
    pub fn write_to_redis(&self, accepted: &Accepted) -> Option<oneshot::Receiver<()>> {
        let outbox = self.outbox()?;
        let Accepted { subject, event_id, json, heard, urgent, .. } = accepted;
        if self.engine().events_of(subject).contains(event_id) {
            let identity = (subject.clone(), event_id.clone());
            return Some(outbox.offer(identity, (json.clone(), *heard), *urgent));
        }
        let (answer, answered) = oneshot::channel();
        // The receiver is at hand.
        let _ = answer.send(());
        Some(answered)
    }

    /// From now on events are to be written to Redis. Only the first call has an effect.
    pub fn set_outbox(&self, outbox: Arc<Outbox>) {
        let _ = self.outbox.set(outbox);
    }

    /// The daemon at a glance.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let engine = self.engine().status(self.now());
        let (store, audit) = (self.keeper.status(), self.audit.status());
        Overview { engine, redis: self.redis_agreement(), store, audit }
    }

    /// Notes how Redis stands to what is known here; nothing: that cannot be said.
    pub fn set_redis_agreement(&self, agreement: Option<Agreement>) {
        let at = self.now().mono;
        let mut redis = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        *redis = agreement.map(|agreement| (agreement, at));
    }

    fn redis_agreement(&self) -> Option<Agreement> {
        let now = self.now().mono;
        let redis = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut agreement, at) = redis.clone()?;
        if agreement.state != State::Same {
            // It goes on until it is looked at again.
            let more = u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
            agreement.for_ms = agreement.for_ms.saturating_add(more);
        }
        Some(agreement)
    }

    /// Forgets what no longer matters; call it about once a second. Answers with the nodes that
    /// have stopped polling since the last call.
    pub fn sweep(&self) -> Vec<NodeKey> {
        let now = self.now();
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
    pub fn event_keys_read(&self, keys: Result<EventKeys, ConfigError>) {
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
