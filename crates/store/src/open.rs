//! Opening the state store at the daemon's start: never empty without saying so.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};
use std::time::Instant;
use std::{io, thread};

use disk::{DirectoryLock, StoreError, directory, file};
use model::time::UnixMicros;
use redb::Database;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::inner::{Health, Inner, Queue};
use super::keeper::{Keeper, KeptEvent, Ticket};
use super::mark::{Mark, MarkFile};
use super::meters::Meters;
use super::pending::{Batch, Change, PENDING_BYTES_MAX, Pending};
use super::place::Place;
use super::retired::Retired;
use super::table::{self, FORMAT, KIND, Meta};
use super::witness::Witness;
use super::{salvage, writer};

/// The store's file in its directory.
pub const FILE_NAME: &str = "state.redb";
/// The small file that says that the directory is in use.
pub const MARK_NAME: &str = "state.mark";
/// What the name ends with of a store that is written anew: not as that of a first start, since all
/// that was kept may be in it.
pub(super) const REWRITTEN: &str = "again";
/// What a file system may put into an empty directory by itself.
const NOT_OURS: [&str; 1] = ["lost+found"];
/// Salvaged events that are written at once.
const SALVAGE_BATCH_EVENTS: usize = 10_000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// An empty directory: this is the first start.
    First,
    /// What an earlier run has kept.
    Loaded,
    /// What could be salvaged of a damaged store.
    Rebuilt,
}

/// A store that is ready, and what is known of the time before.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub keeper: Keeper,
    /// What was found.
    pub start: Start,
    /// When every source was last known to work, if that is known and still counts.
    pub sources_alive: Option<UnixMicros>,
}

/// What a store is opened with.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Where it is; made if it is not there.
    pub directory: &'a Path,
    /// What may say that there was a store. An empty directory is a first start only if it is silent.
    pub witness: &'a Witness,
    /// The program with [`salvage::SUBCOMMAND`], if what is damaged is to be moved aside and salvaged: this
    /// one, outside tests.
    pub rebuild: Option<&'a Path>,
    /// What counts its work.
    pub meters: Meters,
}

/// Opens the store in its directory, and gives every event in it to `take`; of a store that is rebuilt, `take`
/// may see events twice.
///
/// # Errors
/// If another process has the store, the system refuses, or something that was kept may be lost
/// and `rebuild` is not asked for.
pub fn open(
    opening: Opening<'_>,
    now: UnixMicros,
    mut take: impl FnMut(KeptEvent) -> Result<(), String>,
) -> Result<Opened, StoreError> {
    let Opening { directory, witness, rebuild, meters } = opening;
    directory::make(directory)?;
    let lock = DirectoryLock::take(directory)?;
    let path = directory.join(FILE_NAME);
    let mark_path = directory.join(MARK_NAME);
    let mark = Mark::read(&mark_path).map_err(StoreError::system(&mark_path))?;
    let found = match load(&path, witness, mark, now, &mut take) {
        Err(cause)
            if cause.is_loss()
                && let Some(program) = rebuild =>
        {
            error!(%cause, "the store is rebuilt");
            rebuild_store(&path, program, now, &mut take)
        }
        Ok(found) => {
            if rebuild.is_some() {
                info!(path = %path.display(), "the store is whole: there is nothing to rebuild");
            }
            Ok(found)
        }
        Err(cause) => Err(cause),
    };
    let (database, meta, start) = found?;
    let sources_alive = match start {
        Start::Loaded => mark.map(|mark| mark.sources_alive).filter(|alive| alive.0 > 0),
        Start::First | Start::Rebuilt => None,
    };
    let mark = Mark { commits: meta.commits, sources_alive: sources_alive.unwrap_or_default() };
    let mark_file = MarkFile::open(&mark_path)
        .and_then(|file| file.write(mark).and_then(|()| file.sync()).map(|()| file))
        .map_err(StoreError::system(&mark_path))?;
    file::sync_directory_of(&path)?;
    witness.leave(now)?;
    let place = Place::of(&path, mark_path, lock)?;
    let bytes = std::fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or_default();
    let health = Health { failure: None, events: meta.events, bytes, rewrites: 0, mark };
    let pending = Pending::new(PENDING_BYTES_MAX, meta.positions);
    let keeper = Keeper(Arc::new(Inner {
        path,
        is_new: start == Start::First,
        queue: Mutex::new(Queue {
            pending,
            retired: Retired::default(),
            stopping: false,
            stopped: false,
        }),
        started: Instant::now(),
        wake: Condvar::new(),
        database: RwLock::new(Some(Arc::new(database))),
        durable: watch::Sender::new(Ticket(0)),
        health: Mutex::new(health),
        meters,
        mark_file: Mutex::new(mark_file),
        lost: AtomicBool::new(false),
        doubt: OnceLock::new(),
    }));
    let inner = Arc::clone(&keeper.0);
    thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer::run(&inner, place))
        .map_err(StoreError::system(directory))?;
    Ok(Opened { keeper, start, sources_alive })
}

type Found = (Database, Meta, Start);

fn load(
    path: &Path,
    witness: &Witness,
    mark: Option<Mark>,
    now: UnixMicros,
    take: &mut impl FnMut(KeptEvent) -> Result<(), String>,
) -> Result<Found, StoreError> {
    if !path.try_exists().map_err(StoreError::system(path))? {
        if mark.is_some() || is_used(path)? {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        witness.is_silent(path)?;
        let database =
            file::create(path, KIND, FORMAT, |database| table::initialize(database, now))?;
        let meta = read_meta(&database, path)?;
        return Ok((database, meta, Start::First));
    }
    let database = file::existing(path, KIND, FORMAT)?;
    let meta = read_meta(&database, path)?;
    let least = mark.unwrap_or_default().commits;
    if meta.commits < least {
        let cause = format!(
            "it has seen {} commits, where at least {least} were made: it is older than it should be",
            meta.commits
        );
        return Err(StoreError::damaged(path, cause));
    }
    table::each(&database, path, meta.events, take)?;
    Ok((database, meta, Start::Loaded))
}

fn read_meta(database: &Database, path: &Path) -> Result<Meta, StoreError> {
    let meta = table::meta(database).map_err(|cause| StoreError::of(path, cause))?;
    meta.ok_or_else(|| StoreError::damaged(path, "it lacks what every store says of itself"))
}

/// Whether there is something in the directory already that a daemon may have put there.
pub(super) fn is_used(path: &Path) -> Result<bool, StoreError> {
    let directory = path.parent().unwrap_or(path);
    let used = || -> io::Result<bool> {
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            if !NOT_OURS.iter().any(|known| name == *known)
                && Some(&*name) != draft_name().as_deref()
            {
                return Ok(true);
            }
        }
        Ok(false)
    };
    used().map_err(StoreError::system(directory))
}

/// A first start that was cut short leaves this, and nothing that was kept.
fn draft_name() -> Option<std::ffi::OsString> {
    file::draft_of(Path::new(FILE_NAME)).file_name().map(ToOwned::to_owned)
}

/// Makes a new store of what can be read of this one, which is kept beside it. The new one takes its
/// place only when it is whole: cut short, a rebuild has lost nothing and can be begun again.
fn rebuild_store(
    path: &Path,
    program: &Path,
    now: UnixMicros,
    take: &mut impl FnMut(KeptEvent) -> Result<(), String>,
) -> Result<Found, StoreError> {
    let is_there = path.try_exists().map_err(StoreError::system(path))?;
    let mut events = Vec::new();
    let (copy, draft) = (beside(path, "salvage"), beside(path, REWRITTEN));
    if is_there {
        events = salvage::read(path, &copy, program)?;
    } else if draft.exists() {
        // The daemon was killed while it wrote the store anew.
        let found = salvage::read(&draft, &copy, program);
        let found = found.inspect_err(|cause| warn!(%cause, "nothing of the draft can be read"));
        events = found.unwrap_or_default();
    }
    events.retain(|event| match take(event.clone()) {
        Ok(()) => true,
        Err(cause) => {
            error!(event_id = %event.event_id, cause, "an event is not salvaged");
            false
        }
    });
    let mut changes = Vec::new();
    for KeptEvent { subject, event_id, record } in events {
        let record = record.encode().map_err(|cause| table::of_record(path, cause))?;
        changes.push(((subject, event_id), Change::Save(record.into())));
    }
    if is_there {
        let aside = beside(path, &format!("corrupt-{}", now.0 / 1_000_000));
        keep_aside(path, &aside).map_err(StoreError::system(&aside))?;
        warn!(path = %aside.display(), "the damaged store is kept there");
    }
    let database = file::create(path, KIND, FORMAT, |database| {
        table::initialize(database, now)?;
        for some in changes.chunks(SALVAGE_BATCH_EVENTS) {
            table::commit(database, &Batch { changes: some.to_vec(), ..Batch::default() })?;
        }
        Ok(())
    })?;
    // What was in it has its name now.
    let _ = std::fs::remove_file(draft);
    let salvaged = changes.len();
    warn!(salvaged, "the store was rebuilt: what is missing has to come from the sources again");
    let meta = read_meta(&database, path)?;
    Ok((database, meta, Start::Rebuilt))
}

/// A second name for the file, which goes on to have its own.
fn keep_aside(path: &Path, aside: &Path) -> io::Result<()> {
    match std::fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(path, aside)
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("{FILE_NAME}.{suffix}"))
}
