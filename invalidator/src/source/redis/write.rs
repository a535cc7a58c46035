//! What waits in the outbox, written to Redis: some at a time, blocks first.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::outbox::{Entry, Outbox, Purpose};
use super::scripts::{INVALID, SUBJECT_FULL, ToWrite, Written};
use super::session::Session;
use super::{BACKOFF_MAX, Lost, REDIS, backoff};

/// Most events on their way at once: what comes now waits for no more than these.
const WRITES_AT_ONCE: usize = 64;

/// The code of Redis's error about a key of another type.
const WRONG_TYPE: &str = "WRONGTYPE";

/// Events in flight. Those that have not been written when this is dropped wait again.
struct InFlight<'a> {
    outbox: &'a Outbox,
    entries: Vec<Option<Entry>>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut queue = self.outbox.queue();
        for entry in self.entries.drain(..).rev().flatten() {
            queue.put_back(entry);
        }
    }
}

impl Session<'_> {
    /// Writes what waits, for as long as the connection lasts.
    pub(super) async fn write(&self) -> Lost {
        let mut pauses = backoff();
        loop {
            let outbox = &*self.source.outbox;
            let entries = outbox.take(WRITES_AT_ONCE).await;
            let in_flight = InFlight { outbox, entries: entries.into_iter().map(Some).collect() };
            match self.write_some(in_flight).await {
                Ok(None) => pauses = backoff(),
                Ok(Some(error)) => {
                    // Redis answers but does not write: full, read-only disk, missing permission.
                    // Hearing goes on, so the connection is kept.
                    let pause = pauses.next().unwrap_or(BACKOFF_MAX);
                    self.complain(&error, pause);
                    sleep(pause).await;
                }
                Err(lost) => return lost,
            }
        }
    }

    /// An answer that is an error is given back if the events it is about are to be tried again.
    async fn write_some(&self, mut in_flight: InFlight<'_>) -> Result<Option<RedisError>, Lost> {
        let entries = in_flight.entries.iter().flatten();
        let results = join_all(entries.map(|entry| self.write_one(entry))).await;
        let mut failure = None;
        for (slot, result) in in_flight.entries.iter_mut().zip(results) {
            match result {
                Ok(written) => {
                    if let Some(entry) = slot.take() {
                        self.note_written(entry, written);
                    }
                }
                Err(error) if ends_connection(&error) => return Err(error.into()),
                Err(error) if matches!(error.code(), Some(SUBJECT_FULL | INVALID)) => {
                    if let Some(entry) = slot.take() {
                        self.give_up(&entry, &error);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        Ok(failure)
    }

    async fn write_one(&self, entry: &Entry) -> Result<Written, RedisError> {
        let Entry { subject, event_id, event, heard, purpose, .. } = entry;
        let new = ToWrite { subject, event_id, event, heard: *heard };
        let tell = *purpose == Purpose::Publish;
        let scripts = &self.source.scripts;
        let mut link = self.link.clone();
        let first = scripts.publish(&mut link, new, tell).await;
        match first {
            Err(error) if error.code() == Some(SUBJECT_FULL) => {
                if self.make_room(subject).await? == 0 {
                    return Err(error);
                }
                scripts.publish(&mut link, new, tell).await
            }
            Err(error) if error.code() == Some(WRONG_TYPE) => {
                let name = subject.to_text();
                if !scripts.put_aside(&mut link, name.as_bytes()).await? {
                    return Err(error);
                }
                self.source.metrics.put_aside(1);
                error!(source = REDIS, cause = %error, "the state of a subject was damaged");
                scripts.publish(&mut link, new, tell).await
            }
            first => first,
        }
    }

    fn note_written(&self, entry: Entry, written: Written) {
        self.source.outbox.queue().written(&entry);
        let other = written.event_id.filter(|id| *id != entry.event_id);
        if let Some(id) = &other {
            let event_id = &entry.event_id;
            if self.hub.rename((&entry.subject, event_id), id) {
                warn!(%event_id, own = %id, "another event has this id in Redis: ours counts as its own");
            }
        }
        let metrics = &self.source.metrics;
        metrics.wrote(if written.duplicate { "duplicate" } else { "written" });
        match entry.purpose {
            _ if written.duplicate => {}
            Purpose::Publish => {}
            Purpose::Bare => {
                metrics.bare(1);
                info!(source = REDIS, event_id = %entry.event_id, "bare event written");
            }
            Purpose::Repair => metrics.repaired_there(1),
        }
        if let Some(answer) = entry.answer {
            // Nobody waits for it any more: then nobody needs it.
            let _ = answer.send(other.unwrap_or(entry.event_id));
        }
    }

    /// It stays in our own store, and in force here.
    fn give_up(&self, entry: &Entry, cause: &RedisError) {
        self.source.outbox.queue().written(entry);
        self.source.metrics.wrote("failed");
        let event_id = &entry.event_id;
        warn!(source = REDIS, %event_id, %cause, "event not written");
    }

    fn complain(&self, error: &RedisError, pause: Duration) {
        self.source.metrics.wrote("failed");
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        warn!(source = REDIS, cause = %error, retry_ms, "Redis does not write events");
    }
}

/// Whether nothing more can be had from this connection, or from this server: one that only reads
/// is no master any more.
pub(super) fn ends_connection(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
        ),
        ErrorKind::Extension => false,
        _ => true,
    }
}
