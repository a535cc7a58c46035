//! What the daemon knows, and what it tells which node: plain data, no clock, no sockets, no async.
//!
//! Events go in with [`Engine::ingest`]; each accepted one gets the next sequence of this epoch
//! (one run of the daemon). Nodes come with [`Engine::poll`] and are answered with what they
//! lack: the changes after their sequence, or a snapshot in chunks when the log does not reach
//! back far enough. A node's next poll is its acknowledgement, and completes waiters.
//!
//! Which of two events is newer is not decided here but in `model::state`.
//!
//! Events are read and checked before they come here, and stored by whoever is told to keep them. Begin with `ingest.rs` for an
//! event's way in, with `answer.rs` for what a node is told.

mod acknowledge;
mod answer;
mod beaten;
mod chunk;
mod digest;
mod does;
mod ended;
mod enforcement;
mod extras;
mod firsts;
mod gathered;
mod identity;
mod idle;
mod ingest;
mod kept;
mod keys;
mod limits;
mod log;
mod node;
mod nodes;
mod order;
mod overdue;
mod patience;
mod report;
mod room;
mod sent;
mod sharing;
mod sources;
mod subjects;
mod types;
mod untold;
mod waiters;
mod warnings;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use model::name::EventId;
use model::push::{Batch, Poll};
use model::subject::Subject;
use signing::key::KeySet;

use acknowledge::Heard;
pub use answer::Answer;
use answer::Position;
use beaten::Beaten;
pub use chunk::SentChunk;
pub use digest::Digest;
pub use does::Does;
pub use enforcement::{Enforcement, Enforces};
pub use extras::CHECK_CHANGES_MAX;
use firsts::Firsts;
pub use firsts::{FirstRejection, FirstRejections};
pub use gathered::{
    BATCH_BYTES, BATCH_CHANGES_MAX, BATCH_SCAN_MAX, BatchBounds, URGENT_CHANGES_MAX,
};
use identity::SeenEvents;
pub use identity::{Identity, Publisher, derived};
pub use ingest::Incoming;
use kept::event_ids;
pub use kept::{Dropped, prune};
use keys::Keys;
pub use limits::Limits;
use log::SequenceLog;
use node::Asked;
use nodes::Nodes;
pub use nodes::{NODE_EXPIRES_AFTER, NodeKey, PollError, Ticket};
pub use order::{Order, Settled};
pub use overdue::{Change, Overdue};
use patience::Patience;
pub use report::{
    Acknowledged, KeyStatus, KeysStatus, NodeStatus, Receipt, Refused, SourceStatus, Status,
};
pub use sharing::{FleetLimits, FleetProgress};
pub use sources::Source;
use sources::Sources;
use subjects::Subjects;
pub use types::{
    Forgotten, IngestError, Ingested, Now, Overruling, Polled, Progress, Settings, Swept, Verdict,
    View,
};
pub use waiters::WaiterId;
use waiters::Waiters;

/// The whole of it; see the module's description.
#[derive(Debug)]
pub struct Engine {
    epoch: String,
    batch: BatchBounds,
    subjects: Subjects,
    log: SequenceLog,
    seen: SeenEvents,
    beaten: Beaten,
    nodes: Nodes,
    waiters: Waiters,
    sources: Sources,
    keys: Keys,
    patience: Patience,
    firsts: Firsts,
    /// The id of the last batch that has one.
    batches: u64,
    /// States checked per second and node.
    scrub: u32,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { epoch, limits, batch, connected_for, scrub, sources } = settings;
        Self {
            epoch,
            batch,
            subjects: Subjects::new(limits.subjects_max),
            log: SequenceLog::new(limits.log_entries_max),
            seen: SeenEvents::new(limits.event_ids_max),
            beaten: Beaten::default(),
            nodes: Nodes::new(limits.nodes_max, connected_for),
            waiters: Waiters::default(),
            sources: Sources::new(sources),
            keys: Keys::default(),
            patience: Patience::default(),
            firsts: Firsts::default(),
            batches: 0,
            scrub,
        }
    }

    /// Takes in one poll: notes what it acknowledges, and says what to answer. An answer of
    /// [`Answer::Hold`] is asked for again with [`Engine::recheck`] and ended with
    /// [`Engine::release`].
    ///
    /// # Errors
    /// If the poll breaks a rule of the protocol, or there is no room for another node.
    pub fn poll(&mut self, poll: &Poll, now: Now) -> Result<Polled, PollError> {
        let position = match self.position(poll) {
            Position::Applied(_) if self.nodes.needs_snapshot(poll, now.mono) => Position::Fresh,
            _ if self.nodes.has_not_begun(poll) => Position::Fresh,
            position => position,
        };
        let keys_before = self.nodes.keys_version(poll);
        let fleet = self.nodes.fleet_progress(poll);
        let (ticket, superseded) = self.nodes.arrive(poll, position, now.mono)?;
        self.keys.outrank(poll.keys_version);
        let keys_taken = Some(poll.keys_version).filter(|version| *version != keys_before);
        let first = !self.nodes.is_synced(&ticket.key);
        let progress = match ticket.position {
            Position::Applied(_) => first.then_some(Progress::Synchronized),
            Position::Fresh => Some(Progress::Started),
            Position::Snapshot { .. } => None,
        };
        let Heard { acknowledged, refused, repaired } = self.acknowledge(&ticket, poll, now.mono);
        if ticket.position == Position::Fresh {
            let ahead = self.log.before_last_urgent(extras::AHEAD_OF_SNAPSHOT_MAX);
            self.nodes.start_over(&ticket.key, ahead, self.batches.saturating_add(1));
        }
        let answer = self.answer(&ticket, now);
        self.nodes.set_held(&ticket, answer == Answer::Hold);
        Ok(Polled {
            ticket,
            answer,
            superseded,
            progress,
            keys_taken,
            acknowledged,
            refused,
            repaired,
            fleet,
        })
    }

    /// What to answer to a poll that is held; a heartbeat when a newer poll took its place.
    #[must_use]
    pub fn recheck(&mut self, ticket: &Ticket, now: Now) -> Answer {
        if self.nodes.is_current(ticket) {
            self.answer(ticket, now)
        } else {
            Answer::Batch(self.heartbeat(ticket, now))
        }
    }

    /// The answer to a poll that has been held long enough.
    #[must_use]
    pub fn heartbeat(&mut self, ticket: &Ticket, now: Now) -> Batch {
        let mut draft = self.heartbeat_at(&ticket.position, now).into();
        if self.nodes.is_current(ticket) {
            self.add_extras(&mut draft, ticket, now);
        }
        let keys = (ticket.keys_version != self.keys.version()).then(|| self.keys.to_wire());
        Batch { keys, ..draft.batch }
    }

    /// Notes that the poll is not held any more, whether it was answered or its node went away.
    pub fn release(&mut self, ticket: &Ticket) {
        self.nodes.set_held(ticket, false);
    }

    /// Notes that the connection of a node's last poll was closed, before it was answered or after it. Of a poll that is held,
    /// [`Engine::release`] comes after it.
    pub fn hung_up(&mut self, ticket: &Ticket) {
        self.nodes.set_hung_up(ticket);
    }

    /// Starts to wait until every connected node has applied `sequence`.
    pub fn wait(&mut self, subject: &Subject, sequence: u64, now: Now) -> WaiterId {
        let current = self.subjects.sequence_of(subject).unwrap_or(sequence);
        let is_urgent = self.log.is_urgent(sequence);
        let asked = Asked { subject, sequence, current, is_urgent };
        self.waiters.start(asked, self.nodes.standings(asked, now.mono), now.mono)
    }

    /// Whether nobody is waited for any more.
    #[must_use]
    pub fn is_complete(&self, waiter: WaiterId) -> bool {
        self.waiters.is_complete(waiter)
    }

    /// Ends the waiting and says who has applied the change; nothing if it was ended before.
    pub fn finish(&mut self, waiter: WaiterId) -> Option<Receipt> {
        self.waiters.finish(waiter)
    }

    /// What is known about a subject, if anything is.
    #[must_use]
    pub fn view(&self, subject: &Subject, now: Now) -> Option<View> {
        let (state, sequence) = self.subjects.get(subject)?;
        let is_urgent = self.log.is_urgent(sequence);
        let asked = Asked { subject, sequence, current: sequence, is_urgent };
        let nodes = self.nodes.enforcing(asked, now.mono);
        let nodes = self.without_idle(subject, nodes, now);
        Some(View { state: state.clone(), sequence, nodes })
    }

    /// Puts a set of keys in force; says whether it is another one than before. Held polls are to
    /// be looked at again then.
    pub fn set_keys(&mut self, keys: KeySet, now: Now) -> bool {
        self.keys.replace(keys, now.wall)
    }

    /// Notes why the newest keys are not in force: those before them stay.
    pub fn keys_failed(&mut self, cause: String) {
        self.keys.fail(cause);
    }

    /// Random name of this run.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The ids of the events that a subject's state consists of.
    #[must_use]
    pub fn events_of(&self, subject: &Subject) -> Vec<EventId> {
        self.subjects.get(subject).map_or_else(Vec::new, |(state, _)| event_ids(state))
    }

    /// The events of the next subjects after a given one, in order; from the first on without one.
    #[must_use]
    pub fn events_after(
        &self,
        after: Option<&Subject>,
        max: usize,
    ) -> Vec<(Subject, Vec<EventId>)> {
        let subjects = self.subjects.after(after).take(max);
        subjects.map(|(subject, state, _)| (subject.clone(), event_ids(state))).collect()
    }

    /// How many subjects have a state.
    #[must_use]
    pub fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// The digest of all events that the states consist of.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.subjects.digest()
    }

    /// Some events that the states no longer consist of; each is given once. Whoever stores
    /// events need not store these.
    pub fn take_dropped(&mut self, max: usize) -> Vec<Dropped> {
        self.subjects.take_dropped(max)
    }

    /// Says what is wrong with a source that is connected, or that nothing is any more.
    pub fn source_trouble(&mut self, name: &str, trouble: Option<&'static str>) {
        self.sources.set_trouble(name, trouble);
    }

    /// Notes a sign of life of a source.
    pub fn source_alive(&mut self, name: &str, now: Now) {
        self.sources.alive(name, now.mono);
    }

    /// Notes for how long, at the start, it had been that every source was known to work: in an
    /// earlier run, of which the state is known.
    pub fn sources_were_alive(&mut self, ago: Duration) {
        self.sources.were_alive(ago);
    }

    /// Time since every source was last known to work; nothing if one never was.
    #[must_use]
    pub fn sources_age(&self, now: Now) -> Option<Duration> {
        self.sources.age(now.mono)
    }

    /// Notes that a source's connection is gone.
    pub fn source_lost(&mut self, name: &str) {
        self.sources.lost(name);
    }

    /// Everything an operator may want to see at a glance.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        Status {
            epoch: self.epoch.clone(),
            sequence: self.log.last(),
            uptime_s: now.mono.as_secs(),
            sources: self.sources.status(now.mono),
            nodes: self.nodes.status(self.log.last(), now.mono),
            subjects: self.subjects.len(),
            subjects_holding: self.subjects.room().0,
            is_full: !self.subjects.room().1,
            digest: self.digest(),
            keys: self.keys.status(now.wall),
        }
    }

    /// Forgets a bounded number of what no longer matters; call it about once a second.
    pub fn sweep(&mut self, now: Now) -> Swept {
        let forgotten = self.subjects.sweep(self.patience.time(now));
        self.subjects.acknowledged(self.nodes.all_have().unwrap_or(self.log.last()));
        Swept { gone: self.nodes.sweep(now.mono), forgotten }
    }
}
