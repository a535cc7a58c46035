//! All that is there before anybody is answered: the configuration is proven as far as can be, what earlier runs knew
//! is read back, and the hub is made of it.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::tls::Tls;
use audit::entry::{Fact, Start as Started};
use audit::{self, Audit};
use deadletter::DeadLetters;
use engine::{self, BatchBounds, Engine, Now, Settings};
use keys;
use model::violation::Violation;
use store::{self, Keeper, Opened, Start, Witness};
use system::wall_clock;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::DaemonError;
use super::keys_file::KeysFile;
use super::part::{Parts, Stage};
use crate::config::{Api, Config, Limits, Poll};
use crate::hub::{Contents, Hub, Source};
use crate::intake::{Events, Intake, Signatures, load_keys};
use crate::metrics::Metrics;
use crate::relay;
use crate::restore::Restore;

/// How much later than due a node's next poll may be before the node counts as gone.
const POLL_LATE_MAX: Duration = Duration::from_secs(2);
/// Longest wait at the end for dead letters that are still to be written.
const LETTERS_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait at the end for what is still to be written to the store.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that knows all that it knew before, and to which nobody can speak yet.
pub(crate) struct Prepared {
    pub(crate) hub: Arc<Hub>,
    pub(super) epoch: String,
    pub(super) api: Api,
    pub(super) poll: Poll,
    pub(super) limits: Limits,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Prepared {
    /// Whatever may be wrong with the configuration shows before anything is written.
    pub(crate) fn new(
        config: Config,
        rebuild_store: bool,
        parts: &mut Parts,
    ) -> Result<Self, DaemonError> {
        let epoch = Uuid::new_v4().simple().to_string();
        let (version, digest) = (env!("CARGO_PKG_VERSION"), config.digest());
        let started = Started { version, epoch: epoch.clone(), config: digest };
        let mut metrics = Metrics::new();
        let sources = config.sources.build(&mut metrics.meters())?;
        if config.log.pseudonym_key.is_some() {
            warn!(
                "log.pseudonym_key has no effect any more: users stand in the log as in the audit log"
            );
        }
        let engine = engine_of(&epoch, (&config.poll, config.limits.engine), &sources);
        let keys_file =
            config.keys_file.map(|path| KeysFile::read(path, keys::load)).transpose()?;
        let publishers = config.events.keys_file.clone();
        let publishers = publishers.map(|path| KeysFile::read(path, load_keys)).transpose()?;
        let fleet_key = config.fleet_key_file.clone();
        let fleet_key = fleet_key.map(|path| KeysFile::read(path, relay::load)).transpose()?;
        let tls = config.api.tls.clone();
        let tls = tls.map(|files| Tls::start(files, metrics.tls.clone())).transpose()?;
        let intake = intake_of(config.events, &metrics);
        if let Some(file) = &publishers {
            intake.set_keys(file.keys.clone());
        }
        let witness = witness_of(&config.store, &config.audit.directory);
        let disk = Disk { directory: &config.store.directory, witness, rebuild: rebuild_store };
        let (engine, keeper) = restore(engine, &intake, &disk, &metrics)?;
        let (directory, counted) = (&config.store.directory, metrics.dead_letters.clone());
        let dead_letters = DeadLetters::start(directory, config.dead_letters, counted)?;
        let (audit, writer) = Audit::start(&config.audit, directory, metrics.audit.clone())?;
        audit.note(None, Fact::Start(started));
        close_store(parts, dead_letters.clone(), keeper.clone());
        let noted = audit.clone();
        parts.closed((Stage::Audit, "audit log"), move || {
            noted.note(None, Fact::Stop {});
            writer.finish();
        });
        let called = config.called;
        let contents =
            Contents { engine, keeper, intake, dead_letters, audit, metrics, sources, called };
        let hub = Arc::new(Hub::new(contents));
        let to = Arc::clone(&hub);
        if let Some(file) = keys_file {
            let task = file.watch(move |keys| to.keys_read(keys));
            parts.aborted((Stage::Lookouts, "keys file"), task);
        }
        let to = Arc::clone(&hub);
        if let Some(file) = publishers {
            let task = file.watch(move |keys| to.event_keys_read(keys));
            parts.aborted((Stage::Lookouts, "keys of publishers"), task);
        }
        let to = Arc::clone(&hub);
        if let Some(file) = fleet_key {
            let task = file.watch(move |key| to.fleet_key_read(key));
            parts.aborted((Stage::Lookouts, "fleet's key"), task);
        }
        Ok(Self { hub, epoch, api: config.api, poll: config.poll, limits: config.limits, tls })
    }
}

fn engine_of(
    epoch: &str,
    (poll, limits): (&Poll, engine::Limits),
    sources: &[Arc<dyn Source>],
) -> Engine {
    let sources = sources.iter().map(|source| source.kind());
    let sources =
        sources.map(|kind| engine::Source { name: kind.name, built_in: kind.built_in }).collect();
    Engine::new(Settings {
        epoch: epoch.to_owned(),
        limits,
        batch: BatchBounds::default(),
        connected_for: poll.hold.saturating_add(POLL_LATE_MAX),
        scrub: poll.scrub,
        sources,
    })
}

fn intake_of(events: Events, metrics: &Metrics) -> Intake {
    for (kind, mode) in &events.signatures {
        if *mode != Signatures::Off {
            metrics.intake.show_signatures(kind.name);
        }
    }
    Intake::new(events)
}

fn close_store(parts: &mut Parts, letters: DeadLetters, keeper: Keeper) {
    parts.closed((Stage::Store, "store"), move || {
        letters.flush(LETTERS_PATIENCE);
        if !keeper.close(STORE_PATIENCE) {
            error!(
                "not everything in force could be written to the store: the next start may lack it"
            );
        }
    });
}

/// Where the store is, and what is known of it from elsewhere.
struct Disk<'a> {
    directory: &'a Path,
    witness: Witness,
    rebuild: bool,
}

/// What says whether there was a store.
pub(super) fn witness_of(store: &store::Settings, log: &Path) -> Witness {
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
    let mut engine = restore.finish(&keeper).map_err(|error| Violation {
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
