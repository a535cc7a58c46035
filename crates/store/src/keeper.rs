//! The handle to the state store that the daemon's tasks share. Nothing here waits for the disk
//! except reading one event back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::record::Record;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use serde::Serialize;
use tokio::sync::watch;
use tracing::error;

use super::inner::Inner;
use super::retired::Retiree;
use super::table;

pub use super::table::KeptEvent;

/// What the status says while the file is gone and nothing has failed yet.
const BEING_REWRITTEN: &str = "its file is gone, and is being written anew";

/// A place in the order of changes: durable once everything up to it is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

impl Ticket {
    /// Of what finds no room in memory to wait for the disk.
    pub(super) const NEVER: Self = Self(u64::MAX);
}

/// The state store; see the module's description. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Keeper(pub(super) Arc<Inner>);

/// The store at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// `healthy`; `failing` while nothing can be written; `behind` while an event in force is not
    /// kept, since too much has waited for the disk.
    pub state: &'static str,
    /// Since when it fails; nothing while it does not.
    pub failing_since: Option<String>,
    /// Why it fails; nothing while it does not.
    pub cause: Option<String>,
    /// Changes that wait for the disk.
    pub queue: usize,
    /// Events in force that a restart would not bring back from here.
    pub unkept: usize,
    /// Events kept.
    pub events: u64,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// How often the file was gone and was written anew since the start.
    pub rewrites: u64,
    /// Why something may be missing that an earlier life of this daemon knew; nothing if nothing
    /// says so.
    pub doubt: Option<String>,
}

impl StoreStatus {
    /// Why the daemon should not count as ready, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match (&self.cause, self.state) {
            (Some(cause), _) => Some(format!("store is failing: {cause}")),
            (None, "behind") => Some(format!("store is behind: {} events not kept", self.unkept)),
            _ => self.doubt.as_ref().map(|doubt| format!("store may lack blocks: {doubt}")),
        }
    }
}

impl Keeper {
    /// Keeps one event that is in force. Does not wait for the disk.
    pub fn save(&self, event: KeptEvent) -> Ticket {
        self.update(Some(event), [])
    }

    /// Lets go of an event: it is overtaken, or over for long.
    pub fn forget(&self, subject: &Subject, event_id: &EventId) {
        self.update(None, [(subject.clone(), event_id.clone())]);
    }

    /// Both at once: what the new event replaces is gone from the disk in the same moment in which
    /// the event is there, and stays if there is no room for the event. To be called in the order
    /// in which the engine merges.
    pub fn update(
        &self,
        event: Option<KeptEvent>,
        forgotten: impl IntoIterator<Item = (Subject, EventId)>,
    ) -> Ticket {
        let mut queue = self.0.queue();
        let mut ticket = Some(queue.pending.issued());
        let mut unkept = None;
        if let Some(KeptEvent { subject, event_id, record }) = event {
            let identity = (subject, event_id);
            ticket = match record.encode() {
                Ok(record) => queue.pending.save(identity.clone(), record.into()),
                // It has passed the check of an event's size: this is a mistake in this program.
                Err(cause) => {
                    error!(event_id = %identity.1, %cause, "event cannot be kept");
                    queue.pending.leave(identity.clone());
                    None
                }
            };
            unkept = ticket.is_none().then_some(identity);
        }
        for identity in forgotten {
            match &unkept {
                Some(by) => queue.pending.forget_once_kept(by, identity),
                None => queue.pending.forget(identity),
            }
        }
        drop(queue);
        self.0.wake.notify_one();
        ticket.map_or(Ticket::NEVER, Ticket)
    }

    /// Lets go of an event that another one, if it is to be kept, has overtaken: after a while, since it
    /// may come again, and has to be recognized then also after a restart.
    pub fn retire(&self, by: Option<(Subject, EventId)>, gone: (Subject, EventId)) {
        let mut queue = self.0.queue();
        if !queue.pending.is_unkept(&gone) {
            queue.retired.add(by, gone, self.0.started.elapsed());
            return;
        }
        match by.filter(|by| queue.pending.is_unkept(by)) {
            Some(by) => queue.pending.forget_once_kept(&by, gone),
            None => queue.pending.forget(gone),
        }
    }

    /// Lets go of what need not be recognized any more, but for what is in force again. To be called
    /// once in a while.
    pub fn forget_retired(&self, is_in_force: impl Fn(&Subject, &EventId) -> bool) {
        let mut queue = self.0.queue();
        for Retiree { by, gone, .. } in queue.retired.due(self.0.started.elapsed()) {
            if is_in_force(&gone.0, &gone.1) {
                continue;
            }
            match by.filter(|by| queue.pending.is_unkept(by)) {
                Some(by) => queue.pending.forget_once_kept(&by, gone),
                None => queue.pending.forget(gone),
            }
        }
        drop(queue);
        self.0.wake.notify_one();
    }

    /// What has to be durable so that an event which was saved before is: for an event that is
    /// heard again.
    #[must_use]
    pub fn ticket_of(&self, subject: &Subject, event_id: &EventId) -> Ticket {
        let identity = (subject.clone(), event_id.clone());
        let queue = self.0.queue();
        match queue.pending.change(&identity) {
            _ if queue.pending.is_unkept(&identity) => Ticket::NEVER,
            Some((number, _)) => Ticket(*number),
            None => Ticket(0),
        }
    }

    /// Whether an event in force is not kept for want of room, so that it should be saved when it
    /// is heard again.
    #[must_use]
    pub fn lacks(&self, subject: &Subject, event_id: &EventId) -> bool {
        self.0.queue().pending.is_unkept(&(subject.clone(), event_id.clone()))
    }

    /// Whether everything up to the ticket is on the disk, where a restart finds it.
    #[must_use]
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        *self.0.durable.borrow() >= ticket && ticket != Ticket::NEVER && !self.0.is_lost()
    }

    /// Rings when more has become durable.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Ticket> {
        self.0.durable.subscribe()
    }

    /// Notes up to where a source has been read: every event before that has been saved, or need
    /// not be. It reaches the disk together with them, and never before them. Ignored while an
    /// event in force is not kept: a restart then reads it again.
    pub fn set_position(&self, source: &str, position: &str) {
        self.0.queue().pending.set_position(source, position);
        self.0.wake.notify_one();
    }

    /// Up to where a source had been read, by this run or the ones before.
    #[must_use]
    pub fn position(&self, source: &str) -> Option<String> {
        self.0.queue().pending.position(source).map(str::to_owned)
    }

    /// One event as it is kept. Reads the disk: not for where every microsecond counts. Nothing if
    /// it is not kept, and while the store cannot be read.
    #[must_use]
    pub fn event(&self, subject: &Subject, event_id: &EventId) -> Option<Record> {
        let identity = (subject.clone(), event_id.clone());
        if let Some((_, change)) = self.0.queue().pending.change(&identity) {
            return match change {
                super::pending::Change::Save(record) => Record::decode(record).ok(),
                super::pending::Change::Forget => None,
            };
        }
        table::get(&*self.0.database()?, &identity).ok().flatten()
    }

    /// Notes when every source was last known to work: a restart counts its age from there.
    pub fn note_sources_alive(&self, at: UnixMicros) {
        if self.0.health().mark.sources_alive < at {
            // The next second brings another one, and the writer says if it cannot be written.
            let _ = self.0.write_mark(|mark| mark.sources_alive = at);
        }
    }

    /// Notes that something speaks for an earlier life of this daemon, of which the store knows
    /// nothing. Only the first time counts, and a restart ends it: by then somebody has read it.
    pub fn note_doubt(&self, why: &str) {
        if self.0.doubt.set(why.to_owned()).is_ok() {
            error!(why, "the store is new, but there was one before: blocks may be missing");
        }
    }

    /// The store at a glance.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let queue = self.0.queue();
        let (waiting, unkept) = (queue.pending.len(), queue.pending.unkept());
        drop(queue);
        let health = self.0.health();
        let (failing_since, cause) = health.failure.clone().unzip();
        let rewriting = || self.0.is_lost().then(|| BEING_REWRITTEN.to_owned());
        let cause = cause.or_else(rewriting);
        let state = match (&cause, unkept) {
            (Some(_), _) => "failing",
            (None, 0) => "healthy",
            (None, _) => "behind",
        };
        let failing_since = failing_since.map(|since| since.to_string());
        let (events, bytes, rewrites) = (health.events, health.bytes, health.rewrites);
        let (queue, doubt) = (waiting, self.0.doubt.get().cloned());
        StoreStatus { state, failing_since, cause, queue, unkept, events, bytes, rewrites, doubt }
    }

    /// Writes what still waits, ends the writer and lets go of the files. Whether everything is on the disk then: it is
    /// not waited for longer than `patience`.
    pub fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut queue = self.0.queue();
        queue.stopping = true;
        self.0.wake.notify_all();
        while !queue.stopped {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.0.wait(queue, left);
        }
        queue.pending.is_empty() && queue.pending.unkept() == 0 && !self.0.is_lost()
    }

    /// Whether nothing was kept before this start.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.0.is_new
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}
