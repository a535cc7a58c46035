//! Dead letters: events that can never be applied and whose publishers cannot be told, kept on disk
//! with their causes, for operators to look at and to replay.
//!
//! They are no part of what is enforced: if they cannot be kept, that is logged and counted, and
//! everything else goes on. The file holds what publishers sent, so it is personal data.

mod erase;
mod letter;
mod replay;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::Database;
use thiserror::Error;
use tracing::{error, info};

use crate::config;
use crate::metrics::DeadLetterMetrics;
use crate::store::Held;
pub use letter::{Cause, Fresh, Letter, RAW_BYTES_MAX, Replay};
pub use replay::{REPLAYED_MAX, ReplayError, Replayed, Selection, Word, replay};
use table::Written;
pub use table::{Filter, Named};
use writer::Task;

/// Name of the file in the store's directory.
pub const FILE_NAME: &str = "dead-letters.redb";
/// Most letters that wait to be written; further ones are dropped and counted.
const QUEUE_MAX: usize = 1_024;

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
    bounds: config::DeadLetters,
    metrics: DeadLetterMetrics,
    held: Mutex<Held>,
    /// Why it cannot be used, while it cannot.
    failure: Mutex<Option<String>>,
    /// Held by a replay: there is one at a time, so that none is done twice.
    replaying: Mutex<()>,
}

impl DeadLetters {
    /// Opens the file in this directory, or makes it. If that is impossible it is tried again for
    /// every letter.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        directory: &Path,
        bounds: config::DeadLetters,
        metrics: DeadLetterMetrics,
    ) -> std::io::Result<Self> {
        let inner = Arc::new(Inner {
            path: directory.join(FILE_NAME),
            held: Mutex::new(Held::new(directory.join(FILE_NAME), table::KIND, table::FORMAT)),
            bounds,
            metrics,
            failure: Mutex::default(),
            replaying: Mutex::default(),
        });
        let (tasks, received) = sync_channel(QUEUE_MAX);
        writer::spawn(Arc::clone(&inner), received)?;
        Ok(Self { inner, tasks })
    }

    /// Keeps a letter. Never waits.
    pub fn keep(&self, letter: Fresh) {
        self.inner.metrics.came(&letter.cause.kind);
        if self.tasks.try_send(Task::Keep(letter)).is_err() {
            self.inner.metrics.dropped("queue_full", 1);
        }
    }

    /// Waits until everything that came before is written, or for this long. Says whether it is.
    /// Blocks.
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
    fn note(&self, replays: &[(String, Replay)]) -> Result<(), Unavailable> {
        self.inner.with(|database| table::note(database, replays))
    }
}

impl Inner {
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

    fn written(&self, written: Written) {
        self.metrics.stored(written.stored);
        self.metrics.dropped("count", written.dropped_count);
        self.metrics.dropped("age", written.dropped_age);
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
