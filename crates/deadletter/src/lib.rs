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
mod inner;
mod letter;
mod metrics;
mod room;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disk::Held;
use throttle::{Folds, Throttle};

pub use class::{Class, Proof};
pub use config::{Bounds, RawDeadLetters};
pub use inner::Unavailable;
use inner::{Inner, Progress};
pub use letter::{Cause, Fresh, GARBAGE_BYTES_MAX, Letter, RAW_BYTES_MAX, Refused, Replay};
pub use metrics::DeadLetterMetrics;
pub use table::{Filter, Named};
use writer::Task;

/// Name of the file in the store's directory.
pub const FILE_NAME: &str = "dead-letters.redb";
/// The places of all classes, and some for questions.
const TASKS_MAX: usize = 1_024 + 64;

/// The dead letters. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    inner: Arc<Inner>,
    tasks: SyncSender<Task>,
}

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
