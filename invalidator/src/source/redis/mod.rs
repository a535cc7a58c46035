//! The Redis source: what is published there is heard at once, by Pub/Sub, and without gaps, from
//! a stream; what Redis has lost gets back there, and what this daemon has missed is read.
//!
//! Two connections are kept for as long as the daemon runs, each on its own: the one that listens
//! ([`listen`]), and the session ([`session`]), which follows the stream, writes what waits, compares,
//! and takes events out of publishers' inboxes ([`inbox`]), of which a third one tells that there are any. It also
//! knows of the other daemons, and asks them what their Envoys enforce ([`fence`]). Limits across the fleet have two
//! connections of their own ([`ledger`]), while there are any.
//! The source counts as alive only while it listens and has caught up.
//!
//! What to do is decided in modules that are plain and synchronous: [`decide`], [`reconcile`],
//! [`outbox`], [`bare`], [`compact`]. How things lie in Redis is in [`layout`] and docs/reference/redis.md.

mod agreement;
mod bare;
mod compact;
mod config;
mod connect;
mod decide;
mod fence;
mod follow;
mod inbox;
mod later;
mod layout;
mod ledger;
mod listen;
mod metrics;
mod notes;
mod outbox;
mod read;
mod recent;
mod reconcile;
mod refused;
mod retry;
mod sample;
mod scripts;
mod session;
mod skew;
mod tidy;
mod vouch;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use access::Inbox;
use backon::{BackoffBuilder, ExponentialBuilder};
use model::name::EventId;
use model::subject::Subject;
use model::violation::Violation;
use redis::{ProtocolVersion, RedisError};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Configured, Daemons, Ledger, Replica, Report, Running, Source};
use crate::hub::Hub;
use crate::intake::{Senders, SourceKind};
use crate::metrics::{Repaired, SourceMeters};
use crate::server::api::Route;
use agreement::{Agreement, Follower, State};
use bare::Unseen;
use compact::Chores;
pub(crate) use config::Section;
pub use config::{Config, RedisMode, RedisTls};
use connect::Servers;
use decide::{Watch, Why};
use fence::Fences;
use inbox::metrics::InboxMetrics;
use later::Later;
use layout::StreamId;
use ledger::RedisLedger;
use metrics::RedisMetrics;
use outbox::Outbox;
use refused::Refused;
use scripts::Scripts;
use skew::Skew;

/// Name of this source.
const REDIS: &str = "redis";
/// Redis as a source.
pub static KIND: SourceKind =
    SourceKind { name: REDIS, senders: Senders::Writers, built_in: false, reports: true };
/// Nobody calls it.
pub static ROUTES: [Route; 0] = [];
/// First pause before connecting again; doubled each time, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause before connecting again, doubled by jitter at most: it is part of every recovery.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Why a connection ended.
#[derive(Debug, Error)]
enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no sign of life in time")]
    Silent,
    #[error("the connection was closed")]
    Closed,
    #[error("the stream was cut off before it was read")]
    Gap,
    #[error("more messages came than may wait")]
    Flooded,
}

/// A source that is ready to run.
#[derive(Debug)]
pub struct RedisSource {
    servers: Servers,
    /// The same, such that push news, if there are inboxes.
    bell_servers: Option<Servers>,
    bell: Arc<inbox::Bell>,
    inbox_scripts: inbox::Scripts,
    scripts: Scripts,
    config: Config,
    metrics: RedisMetrics,
    inbox_metrics: InboxMetrics,
    outbox: Arc<Outbox>,
    fences: Arc<Fences>,
    ledger: Arc<RedisLedger>,
    unseen: Mutex<Unseen>,
    chores: Mutex<Chores>,
    watch: Mutex<Watch>,
    follower: Mutex<Follower>,
    /// How Redis stands to what is known here, and when that was said.
    agreed: Mutex<Option<(Agreement, Duration)>>,
    /// Up to where the stream has been taken in, and everything before it.
    position: Mutex<Option<StreamId>>,
    /// How many events Redis lacked at the last reading by its own count, and nobody here knew.
    hole: Mutex<Option<u64>>,
    /// Events in Redis that were refused.
    refused: Mutex<Refused>,
    later: Mutex<Later>,
    skew: Mutex<Option<Skew>>,
    listening: watch::Sender<bool>,
    caught_up: AtomicBool,
}

impl RedisSource {
    /// Checks what can be checked without connecting.
    ///
    /// # Errors
    /// If the library does not accept a URL or the certificates.
    fn new(config: Config, repaired: Repaired) -> Result<Self, Violation> {
        let scripts = Scripts::new(&config.prefix, &config.channel, config.stream_entries_max);
        Ok(Self {
            servers: Servers::new(&config, ProtocolVersion::RESP2)?,
            bell_servers: inbox::bell::servers(&config)?,
            bell: Arc::new(inbox::Bell::new(&config, &scripts.layout)),
            inbox_scripts: inbox::Scripts::default(),
            scripts,
            metrics: RedisMetrics::new(repaired),
            inbox_metrics: InboxMetrics::default(),
            outbox: Arc::new(Outbox::default()),
            fences: Arc::new(Fences::default()),
            ledger: Arc::new(RedisLedger::new(&config.prefix)),
            unseen: Mutex::default(),
            chores: Mutex::default(),
            watch: Mutex::new(Watch::new(config.digest_interval)),
            follower: Mutex::default(),
            agreed: Mutex::default(),
            position: Mutex::default(),
            hole: Mutex::default(),
            refused: Mutex::default(),
            later: Mutex::default(),
            skew: Mutex::default(),
            listening: watch::Sender::new(false),
            caught_up: AtomicBool::new(false),
            config,
        })
    }

    fn register(&self, meters: &mut SourceMeters<'_>) {
        self.metrics.register(meters.registry, Why::ALL.into_iter().map(Why::as_str));
        self.inbox_metrics.register(meters.registry);
        self.inbox_metrics.show(self.config.inboxes.iter().map(|inbox| &inbox.name));
    }

    /// Hears and writes events until it is told to stop.
    async fn hear(&self, hub: &Hub, stop: &CancellationToken) {
        *locked(&self.position) = hub.position(&KIND).as_deref().and_then(StreamId::parse);
        tokio::select! {
            () = self.listen_forever(hub) => {}
            () = self.serve_forever(hub) => {}
            () = self.write_bare_forever(hub) => {}
            () = self.hear_bell_forever() => {}
            () = self.serve_ledger_forever(hub) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Notes how Redis stands to what is known here; nothing: that cannot be said.
    fn note_agreement(&self, hub: &Hub, agreement: Option<Agreement>) {
        *locked(&self.agreed) = agreement.map(|agreement| (agreement, hub.now().mono));
    }

    fn agreement(&self, now: Duration) -> Option<Agreement> {
        let (mut agreement, at) = locked(&self.agreed).clone()?;
        if agreement.state != State::Same {
            // It goes on until it is looked at again.
            let more = u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
            agreement.for_ms = agreement.for_ms.saturating_add(more);
        }
        Some(agreement)
    }

    /// Notes a sign of life, if both connections are there and nothing is missing.
    fn note_alive(&self, hub: &Hub) {
        if *self.listening.borrow() && self.caught_up.load(Ordering::Relaxed) {
            hub.source_alive(&KIND);
        }
    }

    /// Whether this daemon was in step with Redis before, and so may say what belongs there.
    fn is_known(&self) -> bool {
        locked(&self.position).is_some()
    }
}

impl Configured for Config {
    fn add_secrets(&self, add: &mut dyn FnMut(&str, &[u8])) {
        self.secrets(add);
    }

    fn build(self, meters: &mut SourceMeters<'_>) -> Result<Arc<dyn Source>, Violation> {
        let source = RedisSource::new(self, meters.repaired.clone())?;
        source.register(meters);
        Ok(Arc::new(source))
    }

    fn register_idle(meters: &mut SourceMeters<'_>) {
        let reads = Why::ALL.into_iter().map(Why::as_str);
        RedisMetrics::default().register(meters.registry, reads);
        InboxMetrics::default().register(meters.registry);
    }
}

impl Source for RedisSource {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    fn run(self: Arc<Self>, hub: Arc<Hub>, stop: CancellationToken) -> Running {
        Box::pin(async move { self.hear(&hub, &stop).await })
    }

    fn replica(&self) -> Option<Arc<dyn Replica>> {
        let outbox = Arc::clone(&self.outbox);
        Some(outbox)
    }

    fn fleet(&self) -> Option<Arc<dyn Daemons>> {
        let fences = Arc::clone(&self.fences);
        Some(fences)
    }

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        let ledger = Arc::clone(&self.ledger);
        Some(ledger)
    }

    fn inboxes(&self) -> &[Inbox] {
        &self.config.inboxes
    }

    fn report(&self, mono: Duration) -> Report {
        self.agreement(mono).map(|agreement| agreement.report()).unwrap_or_default()
    }

    fn measure(&self, mono: Duration) {
        self.metrics.agreement(self.agreement(mono).as_ref());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

#[derive(Deserialize)]
struct Names {
    event_id: String,
    key: Key,
}

#[derive(Deserialize)]
struct Key {
    user_id: Option<String>,
    session_id: Option<String>,
}

/// Whom an event is about, and its id: only to tell whether it is known. Nothing if that cannot be
/// said without reading it properly.
fn names(event: &[u8]) -> Option<(Subject, EventId)> {
    let Names { event_id, key } = serde_json::from_slice(event).ok()?;
    let subject = match (&key.user_id, &key.session_id) {
        (Some(id), None) => Subject::user(id)?,
        (None, Some(id)) => Subject::session(id)?,
        _ => return None,
    };
    Some((subject, EventId::parse(&event_id)?))
}
