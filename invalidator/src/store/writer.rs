//! The one thread that writes: everything that waits in one transaction, then the next. While the
//! disk does not take it, it tries again; what waits goes on waiting in memory.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use redb::Database;
use tracing::{error, info, warn};

use super::StoreError;
use super::keeper::{Inner, Ticket};
use super::pending::Batch;
use super::{file, table};
use crate::shared::wall_clock;

/// First pause after a failure; doubled each time, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Writes until it is told to stop and nothing waits.
pub(super) fn run(inner: &Inner) {
    let mut pauses = backoff();
    while let Some(batch) = next(inner) {
        let started = Instant::now();
        match write(inner, &batch) {
            Ok(()) => {
                inner.meters.commit_seconds.observe(started.elapsed().as_secs_f64());
                inner.queue().pending.written(&batch);
                inner.durable.send_replace(Ticket(batch.upto));
                recovered(inner);
                pauses = backoff();
            }
            Err(cause) => {
                failed(inner, &cause);
                pause(inner, pauses.next().unwrap_or(BACKOFF_MAX));
            }
        }
    }
    inner.set_database(None);
    inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    inner.queue().stopped = true;
    inner.wake.notify_all();
}

fn backoff() -> ExponentialBackoff {
    let builder = ExponentialBuilder::default().with_min_delay(BACKOFF_MIN);
    builder.with_max_delay(BACKOFF_MAX).with_jitter().without_max_times().build()
}

/// Waits for something to write; nothing when it is time to end.
fn next(inner: &Inner) -> Option<Batch> {
    let mut queue = inner.queue();
    while queue.pending.is_empty() {
        if queue.stopping {
            return None;
        }
        queue = inner.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
    Some(queue.pending.batch())
}

fn write(inner: &Inner, batch: &Batch) -> Result<(), StoreError> {
    let database = open(inner)?;
    let committed = table::commit(&database, batch);
    let (events, commits) = committed.map_err(|cause| StoreError::of(&inner.path, cause))?;
    let bytes = std::fs::metadata(&inner.path).map(|metadata| metadata.len());
    let mut health = inner.health();
    health.events = events;
    health.bytes = bytes.unwrap_or(health.bytes);
    health.mark.commits = commits;
    if let Err(cause) = inner.mark_file.write(health.mark) {
        warn!(%cause, "the store's mark cannot be written: a store put back would not be noticed");
    }
    Ok(())
}

/// The database: after a failure it has to be opened, and so checked, again.
fn open(inner: &Inner) -> Result<Arc<Database>, StoreError> {
    if let Some(database) = inner.database() {
        return Ok(database);
    }
    let database = Arc::new(file::existing(&inner.path, table::KIND, table::FORMAT)?);
    inner.set_database(Some(Arc::clone(&database)));
    Ok(database)
}

fn failed(inner: &Inner, cause: &StoreError) {
    inner.set_database(None);
    inner.meters.commit_failures.inc();
    let cause = cause.to_string();
    let mut health = inner.health();
    let (since, before) = health.failure.take().unzip();
    if before.as_ref() != Some(&cause) {
        error!(cause, "the store cannot be written: enforced, but a restart would forget it");
    }
    health.failure = Some((since.unwrap_or_else(wall_clock), cause));
}

fn recovered(inner: &Inner) {
    if let Some((since, _)) = inner.health().failure.take() {
        info!(%since, "the store is written again");
    }
}

/// Waits, though not when the daemon wants to end: then every moment counts.
fn pause(inner: &Inner, span: Duration) {
    let deadline = Instant::now() + span;
    let mut queue = inner.queue();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = if queue.stopping { left.min(BACKOFF_MIN) } else { left };
        if left.is_zero() {
            return;
        }
        queue = inner.wait(queue, left);
        if queue.stopping {
            return;
        }
    }
}
