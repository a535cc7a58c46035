//! What the handles to the store and its writer share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use model::time::UnixMicros;
use redb::Database;
use tokio::sync::watch;

use super::keeper::Ticket;
use super::mark::{Mark, MarkFile};
use super::meters::Meters;
use super::pending::Pending;
use super::retired::Retired;

/// How long the file is not closed since somebody reads one event.
const READERS_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two looks whether they still do.
const READERS_STEP: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) path: PathBuf,
    /// Nothing was kept before this start.
    pub(super) is_new: bool,
    pub(super) queue: Mutex<Queue>,
    /// The beginning of this run.
    pub(super) started: Instant,
    pub(super) wake: Condvar,
    /// Nothing while it has to be opened again.
    pub(super) database: RwLock<Option<Arc<Database>>>,
    pub(super) durable: watch::Sender<Ticket>,
    pub(super) health: Mutex<Health>,
    pub(super) meters: Meters,
    /// Locked after `health`, never before it.
    pub(super) mark_file: Mutex<MarkFile>,
    /// What is committed is not where a restart would look for it.
    pub(super) lost: AtomicBool,
    /// Why the store may lack what an earlier life of this daemon knew, if somebody said so.
    pub(super) doubt: OnceLock<String>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) pending: Pending,
    pub(super) retired: Retired,
    pub(super) stopping: bool,
    pub(super) stopped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    /// Since when nothing could be written, and why.
    pub(super) failure: Option<(UnixMicros, String)>,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) rewrites: u64,
    pub(super) mark: Mark,
}

impl Inner {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn database(&self) -> Option<Arc<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_database(&self, database: Option<Arc<Database>>) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = database;
    }

    /// Lets go of the database and, if nobody reads it for long, of its file.
    pub(super) fn close_database(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        let deadline = Instant::now() + READERS_PATIENCE;
        while database.as_ref().is_some_and(|database| Arc::strong_count(database) > 1)
            && Instant::now() < deadline
        {
            std::thread::sleep(READERS_STEP);
        }
    }

    /// Whether what is committed is not where a restart would look for it.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Says whether that has changed.
    pub(super) fn set_lost(&self, lost: bool) -> bool {
        let changed = self.lost.swap(lost, Ordering::AcqRel) != lost;
        if changed {
            // Whoever waits for something to be durable looks again.
            self.durable.send_modify(|_| {});
        }
        changed
    }

    pub(super) fn note_rewrite(&self) {
        self.meters.rewrites.inc();
        let mut health = self.health();
        health.rewrites = health.rewrites.saturating_add(1);
    }

    pub(super) fn set_mark_file(&self, file: MarkFile) {
        *self.mark_file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Changes what the mark says, and writes it.
    pub(super) fn write_mark(&self, change: impl FnOnce(&mut Mark)) -> std::io::Result<()> {
        let mut health = self.health();
        change(&mut health.mark);
        self.mark_file.lock().unwrap_or_else(PoisonError::into_inner).write(health.mark)
    }

    pub(super) fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        most: Duration,
    ) -> MutexGuard<'a, Queue> {
        let waited = self.wake.wait_timeout(queue, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
