//! Snapshots, chunk by chunk, each made while the node applies the one before.
//!
//! A snapshot stands for a sequence, and what changes after it comes in its turn. So a chunk that
//! was made some time ago is as good as one that is made now: each state in it is at least as new
//! as the snapshot. What it lacks of a subject goes along as urgent, if it is.

use model::push::batch::Kind;
use model::push::{self, Batch, Change, Message};
use model::subject::Subject;

use super::answer::Gathered;
use super::sent::Draft;
use super::{Engine, Now, Ticket};

/// One chunk of a snapshot.
#[derive(Debug)]
pub(super) struct Chunk {
    /// What the snapshot stands for.
    sequence: u64,
    after: Option<Subject>,
    is_packed: bool,
    changes: Vec<Change>,
    subjects: Vec<(u64, Subject)>,
    cursor: Vec<u8>,
    is_last: bool,
}

impl Chunk {
    /// Whether this is what follows a subject in a snapshot.
    pub(super) fn follows(&self, sequence: u64, after: &Subject, is_packed: bool) -> bool {
        self.sequence == sequence
            && self.after.as_ref() == Some(after)
            && self.is_packed == is_packed
    }
}

impl Engine {
    /// Makes what a node will ask for once it has applied a chunk of a snapshot. Call it when that
    /// chunk is on its way: then the node and the daemon work at the same time.
    ///
    /// It is for the very next poll alone. If that asks for something else, or came already, it is
    /// not used: of a chunk that is older than other batches there is no telling what its node
    /// could not store since.
    pub fn prepare(&mut self, ticket: &Ticket, sent: &SentChunk) {
        if !self.nodes.is_current(ticket) {
            return;
        }
        let Ok(after) = push::Subject::decode(&*sent.cursor) else { return };
        let Ok(after) = Subject::try_from(after) else { return };
        let chunk = self.chunk(sent.sequence, Some(&after), ticket.takes_packed);
        if let Some(node) = self.nodes.get_mut(&ticket.key) {
            node.next_chunk = Some(Box::new(chunk));
        }
    }

    /// The chunk after a subject, or the first, of a snapshot that stands for `sequence`.
    pub(super) fn chunk(&self, sequence: u64, after: Option<&Subject>, is_packed: bool) -> Chunk {
        let mut gathered = Gathered::new(self.batch, is_packed);
        let mut cursor = None;
        let mut is_last = true;
        for (subject, state, last_change) in self.subjects.after(after) {
            let told = self.subjects.told(subject);
            let state = told.as_ref().map_or(state, |(told, _)| told);
            if !gathered.add(subject, state, last_change) {
                is_last = false;
                break;
            }
            cursor = Some(subject);
        }
        let cursor = cursor.filter(|_| !is_last).map(|at| push::Subject::from(at).encode_to_vec());
        let cursor = cursor.unwrap_or_default();
        let Gathered { changes, subjects, .. } = gathered;
        Chunk { sequence, after: after.cloned(), is_packed, changes, subjects, cursor, is_last }
    }

    pub(super) fn snapshot(&self, chunk: Chunk, now: Now) -> Draft {
        let Chunk { sequence, changes, subjects, cursor, is_last, .. } = chunk;
        let batch = self.batch(Kind::Snapshot, sequence, changes, now);
        Draft { batch: Batch { cursor, last: is_last, ..batch }, subjects }
    }
}

/// A chunk of a snapshot that another one follows.
#[derive(Clone, Debug)]
pub struct SentChunk {
    sequence: u64,
    cursor: Vec<u8>,
}

impl SentChunk {
    /// Nothing if the batch is anything else.
    #[must_use]
    pub fn of(batch: &Batch) -> Option<Self> {
        let is_chunk = batch.kind() == Kind::Snapshot && !batch.last;
        is_chunk.then(|| Self { sequence: batch.sequence, cursor: batch.cursor.clone() })
    }
}
