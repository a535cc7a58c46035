//! Dead letters: events that can never be applied and whose publishers cannot be told, kept on disk
//! with their causes, for operators to look at and to replay.
//!
//! They are no part of what is enforced: if they cannot be kept, that is logged and counted, and
//! everything else goes on. The file holds what publishers sent, so it is personal data.
//!
//! Whether an event is refused, and what becomes of one that is replayed, is decided elsewhere. Begin with
//! [`DeadLetters::keep`], and with [`Class`] for which letters make room for which.

mod class;
mod config;
mod erase;
mod letter;
mod metrics;
mod room;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disk::Held;
use redb::Database;
use thiserror::Error;
use throttle::{Folds, Throttle};
use tracing::{error, info, warn};

pub use class::{Class, Proof};
pub use config::{Bounds, RawDeadLetters};
pub use letter::{Cause, Fresh, GARBAGE_BYTES_MAX, Letter, RAW_BYTES_MAX, Refused, Replay};
pub use metrics::DeadLetterMetrics;
pub use table::{Filter, Named};
use tables::Written;
use writer::Task;

/// Name of the file in the store's directory.
pub const FILE_NAME: &str = "dead-letters.redb";
/// Most letters of each class, the lowest first, that wait to be written; of further ones only the
/// number is kept. No flood of one class takes the places of another.
const QUEUE_MAX: [usize; 4] = [64, 64, 384, 512];
/// The places of all classes, and some for questions.
const TASKS_MAX: usize = 1_024 + 64;

/// The dead letters. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    inner: Arc<Inner>,
    tasks: SyncSender<Task>,
}

/// The file cannot be used now. Why has been logged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the dead letters cannot be read or written now: the daemon's log says why")]
pub struct Unavailable;

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    bounds: Bounds,
    metrics: DeadLetterMetrics,
    held: Mutex<Held>,
    /// Why it cannot be used, while it cannot.
    failure: Mutex<Option<String>>,
    /// Held by a replay: there is one at a time, so that none is done twice.
    replaying: Mutex<()>,
    /// What is counted together, by source or inbox, cause and class.
    folds: Folds<Sort, Fresh>,
    started: Instant,
    /// What keeps a full disk's lines from filling the log.
    full: Throttle,
    /// Letters of each class that wait to be written.
    waiting: [AtomicUsize; 4],
    progress: Mutex<Progress>,
    progressed: Condvar,
}

/// How many letters were handed to the writer, and how many it has written.
#[derive(Debug, Default)]
struct Progress {
    handed: u64,
    written: u64,
}

type Sort = (String, String, Class);

impl DeadLetters {
    /// Opens the file in this directory, or makes it. If that is impossible it is tried again for
    /// every letter.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        directory: &Path,
        bounds: Bounds,
        metrics: DeadLetterMetrics,
    ) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            path: directory.join(FILE_NAME),
            held: Mutex::new(Held::new(directory.join(FILE_NAME), table::KIND, table::FORMAT)),
            bounds,
            metrics,
            failure: Mutex::default(),
            replaying: Mutex::default(),
            folds: Folds::new(bounds.pace),
            started: Instant::now(),
            full: Throttle::default(),
            waiting: Default::default(),
            progress: Mutex::default(),
            progressed: Condvar::new(),
        });
        let (tasks, received) = sync_channel(TASKS_MAX);
        writer::spawn(Arc::clone(&inner), received)?;
        Ok(Self { inner, tasks })
    }

    /// Keeps a letter, or if there are too many of its sort or too many wait, its number. Never
    /// waits.
    pub fn keep(&self, refused: Refused<'_>) {
        let inner = &self.inner;
        inner.metrics.came(&refused.cause.kind);
        let (class, sort) = (refused.class(), refused.sort());
        if class.is_low() && !inner.folds.admit(sort.clone(), inner.started.elapsed()) {
            return inner.fold(sort, refused);
        }
        if inner.takes_place(class) {
            let letter = Fresh::new(refused.clone());
            let mut progress = inner.progress();
            if self.tasks.try_send(Task::Keep(letter)).is_ok() {
                progress.handed = progress.handed.saturating_add(1);
                return;
            }
            inner.leaves_place(class);
        }
        inner.metrics.dropped("queue_full", 1);
        inner.fold(sort, refused);
    }

    /// Held by a replay: there is one at a time, so that none is done twice.
    pub fn one_replay_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.inner.replaying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a letter that was replayed, by what became of it.
    pub fn count_replay(&self, result: &'static str) {
        self.inner.metrics.replayed(result);
    }

    /// Waits until the letters that came before are written, or for this long. Says whether they are. What is only
    /// counted is not waited for, and nothing is written for the asking: who makes others ask costs no disk. Blocks.
    pub fn settled(&self, patience: Duration) -> bool {
        let progress = self.inner.progress();
        let wanted = progress.handed;
        let waits = |progress: &mut Progress| progress.written < wanted;
        let waited = self.inner.progressed.wait_timeout_while(progress, patience, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits until everything that came before is written, also what is only counted, or for this long. Says whether
    /// it is. Blocks.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        let asked = self.tasks.try_send(Task::Flush(done));
        asked.is_ok() && flushed.recv_timeout(patience).is_ok()
    }

    /// One letter. Blocks.
    ///
    /// # Errors
    /// If the file cannot be used now.
    pub fn get(&self, id: &str) -> Result<Option<Letter>, Unavailable> {
        self.inner.with(|database| table::get(database, id))
    }

    /// At most `limit` letters, the oldest first. Blocks.
    ///
    /// # Errors
    /// If the file cannot be used now.
    pub fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Named>, Unavailable> {
        self.inner.with(|database| table::list(database, filter, limit))
    }

    /// Notes tries to replay letters. Blocks.
    ///
    /// # Errors
    /// If the file cannot be used now.
    pub fn note(&self, replays: &[(String, Replay)]) -> Result<(), Unavailable> {
        self.inner.with(|database| table::note(database, replays))
    }
}

impl Inner {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that so many letters of those that were handed over are written.
    fn note_written(&self, letters: usize) {
        let mut progress = self.progress();
        let letters = u64::try_from(letters).unwrap_or(u64::MAX);
        progress.written = progress.written.saturating_add(letters);
        self.progressed.notify_all();
    }

    /// Does something with the database, and opens it first if need be.
    fn with<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Unavailable> {
        let database = self.database()?;
        let done = act(&database).map_err(|cause| {
            self.held().close();
            self.failed(cause.to_string())
        })?;
        if self.failure().take().is_some() {
            self.metrics.failing(false);
            info!("dead letters can be kept again");
        }
        Ok(done)
    }

    fn database(&self) -> Result<Arc<Database>, Unavailable> {
        let database = self.held().get();
        database.map_err(|cause| self.failed(cause.to_string()))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why the file cannot be used; says so once for each cause.
    fn failed(&self, cause: String) -> Unavailable {
        self.metrics.failing(true);
        let mut failure = self.failure();
        if failure.as_ref() != Some(&cause) {
            let file = self.path.display();
            error!(%file, cause, "dead letters cannot be kept; enforcement goes on without them");
        }
        *failure = Some(cause);
        Unavailable
    }

    /// Whether there is a place for one more of this class to wait in, which it has then.
    fn takes_place(&self, class: Class) -> bool {
        let rank = usize::from(class.rank());
        let Some((waiting, most)) = self.waiting.get(rank).zip(QUEUE_MAX.get(rank)) else {
            return false;
        };
        let one_more = |waiting: usize| (waiting < *most).then(|| waiting.saturating_add(1));
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn leaves_place(&self, class: Class) {
        if let Some(waiting) = self.waiting.get(usize::from(class.rank())) {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Keeps no more of a letter than that it came. Nothing of it is looked at but for the first.
    fn fold(&self, sort: Sort, refused: Refused<'_>) {
        self.metrics.folded();
        self.folds.fold(sort, refused.at, || Fresh::sample(refused));
    }

    fn written(&self, written: &Written) {
        self.metrics.stored(written.stored, written.bytes);
        for (why, letters) in &written.dropped {
            self.metrics.dropped(why, *letters);
        }
        if written.good_dropped > 0 {
            self.metrics.good_dropped(written.good_dropped);
            if let Some(left_out) = self.full.admit(self.started.elapsed()) {
                let letters = written.good_dropped;
                warn!(letters, left_out, "there is no room for dead letters that may yet succeed");
            }
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
