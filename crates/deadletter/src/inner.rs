//! What the handle and the writer share: the file, the queue's places, and what is counted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use disk::Held;
use redb::Database;
use thiserror::Error;
use throttle::{Folds, Throttle};
use tracing::{error, info, warn};

use super::class::Class;
use super::config::Bounds;
use super::letter::{Fresh, Refused};
use super::metrics::DeadLetterMetrics;
use super::tables::Written;

/// Most letters of each class, the lowest first, that wait to be written; of further ones only the
/// number is kept. No flood of one class takes the places of another.
pub(super) const QUEUE_MAX: [usize; 4] = [64, 64, 384, 512];

/// The file cannot be used now. Why has been logged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the dead letters cannot be read or written now: the daemon's log says why")]
pub struct Unavailable;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) path: PathBuf,
    pub(super) bounds: Bounds,
    pub(super) metrics: DeadLetterMetrics,
    pub(super) held: Mutex<Held>,
    /// Why it cannot be used, while it cannot.
    pub(super) failure: Mutex<Option<String>>,
    /// Held by a replay: there is one at a time, so that none is done twice.
    pub(super) replaying: Mutex<()>,
    /// What is counted together, by source or inbox, cause and class.
    pub(super) folds: Folds<Sort, Fresh>,
    pub(super) started: Instant,
    /// What keeps a full disk's lines from filling the log.
    pub(super) full: Throttle,
    /// Letters of each class that wait to be written.
    pub(super) waiting: [AtomicUsize; 4],
    pub(super) progress: Mutex<Progress>,
    pub(super) progressed: Condvar,
}

/// How many letters were handed to the writer, and how many it has written.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) handed: u64,
    pub(super) written: u64,
}

pub(super) type Sort = (String, String, Class);

impl Inner {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that so many letters of those that were handed over are written.
    pub(super) fn note_written(&self, letters: usize) {
        let mut progress = self.progress();
        let letters = u64::try_from(letters).unwrap_or(u64::MAX);
        progress.written = progress.written.saturating_add(letters);
        self.progressed.notify_all();
    }

    /// Does something with the database, and opens it first if need be.
    pub(super) fn with<T>(
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

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
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
    pub(super) fn takes_place(&self, class: Class) -> bool {
        let rank = usize::from(class.rank());
        let Some((waiting, most)) = self.waiting.get(rank).zip(QUEUE_MAX.get(rank)) else {
            return false;
        };
        let one_more = |waiting: usize| (waiting < *most).then(|| waiting.saturating_add(1));
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    pub(super) fn leaves_place(&self, class: Class) {
        if let Some(waiting) = self.waiting.get(usize::from(class.rank())) {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Keeps no more of a letter than that it came. Nothing of it is looked at but for the first.
    pub(super) fn fold(&self, sort: Sort, refused: Refused<'_>) {
        self.metrics.folded();
        self.folds.fold(sort, refused.at, || Fresh::sample(refused));
    }

    pub(super) fn written(&self, written: &Written) {
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
