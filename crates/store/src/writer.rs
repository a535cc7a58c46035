//! The one thread that writes: everything that waits in one transaction, then the next. While the
//! disk does not take it, it tries again; what waits goes on waiting in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use disk::{StoreError, file};
use redb::Database;
use system::wall_clock;
use tracing::{error, info};

use super::inner::Inner;
use super::keeper::Ticket;
use super::pending::Batch;
use super::place::Place;
use super::table;

/// First pause after a failure; doubled each time, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How often everything is looked for when nothing is to be written.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Writes until it is told to stop and nothing waits.
pub(super) fn run(inner: &Inner, mut place: Place) {
    let mut pauses = backoff();
    while let Some(turn) = next(inner) {
        let done = match &turn {
            Turn::Write(batch) => write(inner, &mut place, batch),
            Turn::Look => place.check(inner),
        };
        match done {
            Ok(()) => {
                recovered(inner);
                pauses = backoff();
            }
            Err(cause) => {
                failed(inner, &cause);
                pause(inner, pauses.next().unwrap_or(BACKOFF_MAX));
            }
        }
    }
    if let Err(cause) = place.check(inner) {
        failed(inner, &cause);
    }
    inner.set_database(None);
    drop(place);
    inner.queue().stopped = true;
    inner.wake.notify_all();
}

fn backoff() -> ExponentialBackoff {
    let builder = ExponentialBuilder::default().with_min_delay(BACKOFF_MIN);
    builder.with_max_delay(BACKOFF_MAX).with_jitter().without_max_times().build()
}

/// What to do next.
enum Turn {
    /// Write what waits.
    Write(Batch),
    /// See whether everything is where it was.
    Look,
}

/// Waits for something to do; nothing when it is time to end.
fn next(inner: &Inner) -> Option<Turn> {
    let mut queue = inner.queue();
    if queue.pending.is_empty() && !queue.stopping {
        queue = inner.wait(queue, LOOK_INTERVAL);
    }
    match queue.pending.is_empty() {
        false => Some(Turn::Write(queue.pending.batch())),
        true if queue.stopping => None,
        true => Some(Turn::Look),
    }
}

/// Writes a batch, and lets it count as written only if it is where a restart would find it.
fn write(inner: &Inner, place: &mut Place, batch: &Batch) -> Result<(), StoreError> {
    let started = Instant::now();
    place.check(inner)?;
    let database = open(inner)?;
    let committed = table::commit(&database, batch);
    drop(database);
    let (events, commits) = committed.map_err(|cause| StoreError::of(&inner.path, cause))?;
    let bytes = place.left(inner)?;
    let mut health = inner.health();
    (health.events, health.bytes, health.mark.commits) = (events, bytes, commits);
    drop(health);
    place.check(inner)?;
    inner.meters.commit_seconds.observe(started.elapsed().as_secs_f64());
    inner.queue().pending.written(batch);
    inner.durable.send_replace(Ticket(batch.upto));
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
    // A file without its name cannot be opened again: it stays open until it has one.
    if !inner.is_lost() {
        inner.set_database(None);
    }
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
