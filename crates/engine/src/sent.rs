//! What one batch carried: its node says only that it has applied it, and what of it was refused.

use model::push::Batch;
use model::subject::Subject;

/// A batch that is being made, and whom its changes are about.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) batch: Batch,
    /// Each change's sequence, as a refusal would name it, and its subject.
    pub(super) subjects: Vec<(u64, Subject)>,
}

impl From<Batch> for Draft {
    fn from(batch: Batch) -> Self {
        Self { batch, subjects: Vec::new() }
    }
}

/// What is remembered of a batch until the node's next poll.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) id: u64,
    /// As in [`Draft`]; at most as many as one batch has changes.
    pub(super) subjects: Vec<(u64, Subject)>,
    /// With it, the node has every urgent change up to this sequence.
    pub(super) ahead: u64,
    /// Something that was refused is tried again.
    pub(super) retry: Option<Retry>,
    /// Some states are checked.
    pub(super) check: Option<Check>,
}

/// How far trying again gets with a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) up_to: u64,
    /// Nothing is left to try in this round.
    pub(super) is_last: bool,
}

/// How far checks get with a batch.
#[derive(Debug)]
pub(super) struct Check {
    /// The last subject that was looked at; nothing when the next round begins.
    pub(super) up_to: Option<Subject>,
}
