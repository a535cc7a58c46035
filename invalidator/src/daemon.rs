//! Wires the daemon together, and takes it apart in the right order.

mod check;
mod files;
mod reload;
mod sweep;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, io};

use access::Door;
use access::tls::Tls;
use audit::entry::{Fact, Start as Started};
use audit::{self, Audit, AuditError};
use axum::Router;
use axum::serve::ListenerExt;
use deadletter::DeadLetters;
use disk::StoreError;
use engine::{BatchBounds, Engine, Now, Settings, Source};
use keys::{self};
use store::{self, Keeper, Opened, Start, Witness};
use system::{ConfigError, Load, Reading, Stamps, wall_clock};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::config::{Config, Listen, Signatures, Written};
use crate::intake::{EMBEDDED, Intake, load_keys};
use crate::log;
use crate::metrics::Metrics;
use crate::restore::Restore;
use crate::server::listen::{self, SocketFile};
use crate::server::slots::Places;
use crate::server::{Bounds, DRAIN_MAX, Shutdown, api, poll, serve};
use crate::shared::Shared;
use crate::source::redis::{REDIS, RedisSource};
pub use check::check;
use reload::{Reload, Signals};

/// How much later than due a node's next poll may be before the node counts as gone.
const POLL_LATE_MAX: Duration = Duration::from_secs(2);
/// Longest wait at the end for dead letters that are still to be written.
const LETTERS_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait at the end for what is still to be written to the store.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// The signal of a file that would become larger than is allowed, on Linux.
const SIGXFSZ: i32 = 25;
/// Connections beyond the requests and nodes that the limits allow: probes, scrapes, reconnects.
const CONNECTIONS_SPARE: usize = 64;

/// Why the daemon cannot run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// A rule that is only checked when the source is made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is known cannot be read back, or not kept.
    #[error("store.directory: {0}")]
    Store(#[from] StoreError),
    /// The audit log cannot be gone on with.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An address that cannot be listened on.
    #[error("{field}: cannot listen on {address}: {cause}")]
    Listen {
        /// The field of the configuration.
        field: &'static str,
        /// The address in it.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Something that the system has to provide.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl DaemonError {
    /// Whether something that was kept may be lost: how to go on is for the operator to say.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_loss())
    }

    /// Whether the configuration is at fault.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Audit(error) => error.is_configuration(),
            _ => false,
        }
    }
}

/// Runs until SIGTERM or SIGINT. With `rebuild_store`, a damaged store is moved aside and made anew
/// from what can be read of it. `path` is where the configuration is, to be read again at a SIGHUP,
/// and `written` what stands there.
///
/// # Errors
/// If it cannot start.
pub fn run(
    config: Config,
    (path, written): (&Path, Written),
    rebuild_store: bool,
) -> Result<(), DaemonError> {
    let level = log::init(&config.log);
    // Whatever directory it is started in, a signal finds the same file.
    let path = std::path::absolute(path)?;
    // The second of two calls fails, and both choose the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Runtime::new()?.block_on(run_async(config, (path, written), level, rebuild_store))
}

async fn run_async(
    config: Config,
    (path, written): (PathBuf, Written),
    level: log::Level,
    rebuild_store: bool,
) -> Result<(), DaemonError> {
    let signals = Signals::listen()?;
    // A limit of a file's size is then an error of writing, and not the end of the daemon.
    let _file_size = signal(SignalKind::from_raw(SIGXFSZ))?;
    let started = Started {
        version: env!("CARGO_PKG_VERSION"),
        epoch: Uuid::new_v4().simple().to_string(),
        config: config.digest(),
    };
    let redis = config.redis.map(RedisSource::new).transpose()?;
    if config.log.pseudonym_key.is_some() {
        warn!(
            "log.pseudonym_key has no effect any more: users stand in the log as in the audit log"
        );
    }
    let epoch = started.epoch.clone();
    let embedded = config.embedded.then_some(Source { name: EMBEDDED, built_in: true });
    let heard = redis.as_ref().map(|_| Source { name: REDIS, built_in: false });
    let engine = Engine::new(Settings {
        epoch: epoch.clone(),
        limits: config.limits.engine,
        batch: BatchBounds::default(),
        connected_for: config.poll.hold.saturating_add(POLL_LATE_MAX),
        scrub: config.poll.scrub,
        sources: embedded.into_iter().chain(heard).collect(),
    });
    // Whatever may be wrong with the configuration shows before anything is written.
    let keys_file = config.keys_file.map(|path| KeysFile::read(path, keys::load)).transpose()?;
    let event_keys_file = config.events.keys_file.clone();
    let event_keys_file =
        event_keys_file.map(|path| KeysFile::read(path, load_keys)).transpose()?;
    let metrics = Metrics::new();
    let tls = config.api.tls.map(|files| Tls::start(files, metrics.tls.clone())).transpose()?;
    for (source, mode) in [(REDIS, config.events.redis), (EMBEDDED, config.events.embedded)] {
        if mode != Signatures::Off {
            metrics.intake.show_signatures(source);
        }
    }
    let intake = Intake::new(config.events);
    if let Some(file) = &event_keys_file {
        intake.set_keys(file.keys.clone());
    }
    let witness = witness_of(&config.store, &config.audit.directory);
    let disk = Disk { directory: &config.store.directory, witness, rebuild: rebuild_store };
    let (engine, keeper) = restore(engine, &intake, &disk, &metrics)?;
    let dead_letters = DeadLetters::start(
        &config.store.directory,
        config.dead_letters,
        metrics.dead_letters.clone(),
    )?;
    let (audit, audit_writer) =
        Audit::start(&config.audit, &config.store.directory, metrics.audit.clone())?;
    audit.note(None, Fact::Start(started));
    let letters = dead_letters.clone();
    let (kept, noted) = (keeper.clone(), audit.clone());
    let shared = Shared::new(engine, kept, intake, dead_letters, noted, metrics);
    let shared = Arc::new(shared);
    let to = Arc::clone(&shared);
    let watcher = keys_file.map(|file| file.watch(move |keys| to.keys_read(keys)));
    let to = Arc::clone(&shared);
    let event_watcher =
        event_keys_file.map(|file| file.watch(move |keys| to.event_keys_read(keys)));

    let (stop_api, api_stopped) = watch::channel(false);
    let (stop_poll, poll_stopped) = watch::channel(false);
    let (api_shutdown, poll_shutdown) = (Shutdown::new(api_stopped), Shutdown::new(poll_stopped));
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;

    // The polls' door opens first: readiness is asked for at the other one.
    let poll = &config.poll;
    let router = poll::router(Arc::clone(&shared), &poll.secret, poll.hold, poll_shutdown.clone());
    let requests_max = config.limits.api_requests_max;
    let twice = |number: usize| number.saturating_mul(2).saturating_add(CONNECTIONS_SPARE);
    let (api_connections, poll_connections) =
        files::make_room(twice(requests_max), twice(config.limits.engine.nodes_max));
    let bounds = Bounds {
        connections_max: poll_connections,
        drain_max: DRAIN_MAX,
        metrics: shared.metrics.access.poll_connections(),
    };
    let (polls, _socket_file) = serve_polls(&poll.listen, router, bounds, poll_shutdown).await?;
    let listener = tcp("api.listen", config.api.listen)?;
    let timeout = config.api.ack_timeout;
    let door = Arc::new(Door::new(config.api.access));
    let caller = config.limits.api_requests_per_caller_max;
    let options = api::Options {
        access: Arc::clone(&door),
        metrics_public: config.api.metrics_public,
        embedded: config.embedded,
        ack_timeout: timeout,
        tls: tls.is_some(),
        places: Places { all: requests_max, caller },
    };
    let router = api::router(Arc::clone(&shared), options);
    let bounds = Bounds {
        connections_max: api_connections,
        drain_max: timeout.saturating_add(DRAIN_MAX),
        metrics: shared.metrics.access.api_connections(),
    };
    let api = tokio::spawn(serve(listener, router, bounds, tls, api_shutdown.clone()));
    if let Some(redis) = &redis {
        shared.set_outbox(redis.outbox());
        shared.set_inboxes(redis.inboxes().to_vec());
    }
    let source = redis.map(|source| tokio::spawn(source.run(Arc::clone(&shared), api_shutdown)));
    let sweeper = tokio::spawn(sweep::sweep(Arc::clone(&shared), timeout));
    let reload = Arc::new(Reload { path, written: Mutex::new(written), door, level });
    let signals = tokio::spawn(reload.follow(signals, Arc::clone(&shared)));
    let (api_listen, poll_listen) = (config.api.listen, poll.listen.to_string());
    info!(epoch, %api_listen, poll_listen, version = env!("CARGO_PKG_VERSION"), "daemon started");

    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    info!("daemon stops: no new events");
    signals.abort();
    // Publishers under way still get their acknowledgements; then the nodes are let go.
    stop_api.send_replace(true);
    let _ = api.await;
    if let Some(source) = source {
        let _ = source.await;
    }
    stop_poll.send_replace(true);
    let _ = polls.await;
    sweeper.abort();
    for watcher in watcher.into_iter().chain(event_watcher) {
        watcher.abort();
    }
    let close = move || {
        letters.flush(LETTERS_PATIENCE);
        keeper.close(STORE_PATIENCE)
    };
    let closed = tokio::task::spawn_blocking(close).await;
    if !closed.unwrap_or_default() {
        error!("not everything in force could be written to the store: the next start may lack it");
    }
    audit.note(None, Fact::Stop {});
    let _ = tokio::task::spawn_blocking(|| audit_writer.finish()).await;
    info!("daemon stopped");
    Ok(())
}

/// Where the store is, and what is known of it from elsewhere.
struct Disk<'a> {
    directory: &'a Path,
    witness: Witness,
    rebuild: bool,
}

/// What says whether there was a store.
fn witness_of(store: &store::Settings, log: &Path) -> Witness {
    let log = log_elsewhere(&store.directory, log);
    Witness::of(&store.directory, &store.witness).and(log)
}

/// A file of an audit log that is not in the store's directory: only a daemon that had a store has
/// written it.
fn log_elsewhere(store: &Path, log: &Path) -> Option<PathBuf> {
    let first = || audit::list(log).ok()?.into_iter().next();
    if log.starts_with(store) { None } else { first().map(|file| log.join(file.name)) }
}

/// Reads back what earlier runs knew: nobody is answered before.
fn restore(
    engine: Engine,
    intake: &Intake,
    disk: &Disk<'_>,
    metrics: &Metrics,
) -> Result<(Engine, Keeper), DaemonError> {
    let (started, wall) = (Instant::now(), wall_clock());
    let mut restore = Restore::new(engine, intake, Now { wall, mono: Duration::ZERO });
    let Disk { directory, witness, rebuild } = disk;
    let meters = metrics.store.clone();
    let program = if *rebuild { Some(env::current_exe()?) } else { None };
    let program = program.as_deref();
    let opened = store::open(
        store::Opening { directory, witness, rebuild: program, meters },
        wall,
        |kept| restore.take(kept),
    )?;
    let Opened { keeper, start, sources_alive } = opened;
    let mut engine = restore.finish(&keeper).map_err(|error| ConfigError {
        field: "limits.subjects_max".to_owned(),
        rule: error.to_string(),
    })?;
    // A clock that was put back would make what is known look newer than it is.
    if let Some(alive) = sources_alive.filter(|alive| *alive <= wall) {
        engine.sources_were_alive(wall.since(alive));
    }
    let (path, events) = (keeper.path().display(), keeper.status().events);
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match start {
        Start::First => warn!(%path, "first start: the store is new and empty"),
        Start::Loaded => info!(%path, events, took_ms, "store loaded"),
        Start::Rebuilt => {
            warn!(%path, events, took_ms, "store rebuilt: some events may be missing")
        }
    }
    Ok((engine, keeper))
}

/// A keys file as the daemon starts with it. Without the keys that it is configured with it would
/// take them away from its nodes, or refuse good events: then it does not start.
struct KeysFile<K: 'static> {
    path: PathBuf,
    stamps: Stamps,
    keys: K,
    load: Load<K>,
}

impl<K: Send> KeysFile<K> {
    fn read(path: PathBuf, load: Load<K>) -> Result<Self, ConfigError> {
        let Reading { stamps, keys } = Reading::of(&path, load);
        Ok(Self { path, stamps, keys: keys?, load })
    }

    /// Puts the keys in force, and goes on to watch the file.
    fn watch(self, put: impl Fn(Result<K, ConfigError>) + Send + 'static) -> JoinHandle<()> {
        let Self { path, stamps, keys, load } = self;
        put(Ok(keys));
        tokio::spawn(system::watch(path, stamps, load, put))
    }
}

async fn serve_polls(
    listen: &Listen,
    router: Router,
    bounds: Bounds,
    shutdown: Shutdown,
) -> Result<(JoinHandle<()>, Option<SocketFile>), DaemonError> {
    match listen {
        Listen::Unix { path, mode } => {
            if mode & 0o007 != 0 {
                warn!(path = %path.display(), "the poll socket is open to every user of this host");
            }
            let (listener, file) = listen::unix(path, *mode).map_err(|cause| {
                DaemonError::Listen { field: "poll.listen", address: listen.to_string(), cause }
            })?;
            Ok((tokio::spawn(serve(listener, router, bounds, None, shutdown)), Some(file)))
        }
        Listen::Tcp(address) => {
            if !address.ip().is_loopback() {
                warn!(%address, "polls and their secret cross a network without encryption");
            }
            let listener = tcp("poll.listen", *address)?;
            Ok((tokio::spawn(serve(listener, router, bounds, None, shutdown)), None))
        }
    }
}

fn tcp(
    field: &'static str,
    address: SocketAddr,
) -> Result<impl axum::serve::Listener, DaemonError> {
    let listener = listen::tcp(address).map_err(|cause| DaemonError::Listen {
        field,
        address: address.to_string(),
        cause,
    })?;
    // Answers are small and wanted at once. A connection that is gone already says so by itself.
    Ok(listener.tap_io(|stream: &mut TcpStream| {
        let _ = stream.set_nodelay(true);
    }))
}
