//! The Redis source: what is published there is heard at once, by Pub/Sub, and without gaps, from
//! a stream; what Redis has lost gets back there, and what this daemon has missed is read.
//!
//! Two connections are kept for as long as the daemon runs, each on its own: the one that listens
//! ([`listen`]), and the session ([`session`]), which follows the stream, writes what waits, compares,
//! and takes events out of publishers' inboxes ([`inbox`]), of which a third one tells that there are any.
//! The source counts as alive only while it listens and has caught up.
//!
//! What to do is decided in modules that are plain and synchronous: [`decide`], [`reconcile`],
//! [`outbox`], [`bare`], [`compact`]. How things lie in Redis is in [`layout`] and docs/reference/redis.md.

mod agreement;
mod bare;
mod compact;
mod connect;
mod decide;
mod follow;
mod inbox;
mod later;
mod layout;
mod listen;
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

use backon::{BackoffBuilder, ExponentialBuilder};
use model::name::EventId;
use model::subject::Subject;
use redis::{ProtocolVersion, RedisError};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::watch;

pub use agreement::{Agreement, State};
pub use outbox::Outbox;

use access::Inbox;
use system::ConfigError;

use crate::config::{self};
use crate::server::Shutdown;
use crate::shared::Shared;
use agreement::Follower;
use bare::Unseen;
use compact::Chores;
use connect::Servers;
use decide::{Watch, Why};
use later::Later;
use layout::StreamId;
use refused::Refused;
use scripts::Scripts;
use skew::Skew;

/// Name of this source.
pub const REDIS: &str = "redis";
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
    config: config::Redis,
    outbox: Arc<Outbox>,
    unseen: Mutex<Unseen>,
    chores: Mutex<Chores>,
    watch: Mutex<Watch>,
    follower: Mutex<Follower>,
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

/// The causes for which everything is read, as metrics spell them.
pub(crate) fn reasons_to_read() -> impl Iterator<Item = &'static str> {
    Why::ALL.into_iter().map(Why::as_str)
}

impl RedisSource {
    /// Checks what can be checked without connecting.
    ///
    /// # Errors
    /// If the library does not accept a URL or the certificates.
    pub fn new(config: config::Redis) -> Result<Self, ConfigError> {
        let scripts = Scripts::new(&config.prefix, &config.channel, config.stream_entries_max);
        Ok(Self {
            servers: Servers::new(&config, ProtocolVersion::RESP2)?,
            bell_servers: inbox::bell::servers(&config)?,
            bell: Arc::new(inbox::Bell::new(&config, &scripts.layout)),
            inbox_scripts: inbox::Scripts::default(),
            scripts,
            outbox: Arc::new(Outbox::default()),
            unseen: Mutex::default(),
            chores: Mutex::default(),
            watch: Mutex::new(Watch::new(config.digest_interval)),
            follower: Mutex::default(),
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

    /// Where events that are published elsewhere are handed over to be written.
    #[must_use]
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// The publishers who have an inbox.
    #[must_use]
    pub fn inboxes(&self) -> &[Inbox] {
        &self.config.inboxes
    }

    /// Hears and writes events until the shutdown.
    pub async fn run(self, shared: Arc<Shared>, mut shutdown: Shutdown) {
        *locked(&self.position) =
            shared.keeper().position(REDIS).as_deref().and_then(StreamId::parse);
        tokio::select! {
            () = self.listen_forever(&shared) => {}
            () = self.serve_forever(&shared) => {}
            () = self.write_bare_forever(&shared) => {}
            () = self.hear_bell_forever() => {}
            () = shutdown.requested() => {}
        }
    }

    /// Notes a sign of life, if both connections are there and nothing is missing.
    fn note_alive(&self, shared: &Shared) {
        if *self.listening.borrow() && self.caught_up.load(Ordering::Relaxed) {
            shared.source_alive(REDIS);
        }
    }

    /// Whether this daemon was in step with Redis before, and so may say what belongs there.
    fn is_known(&self) -> bool {
        locked(&self.position).is_some()
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
