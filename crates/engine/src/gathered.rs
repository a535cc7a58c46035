//! Changes for one batch, gathered up to its bounds.

use model::push::{Change, Message};
use model::state::State;
use model::subject::Subject;

/// Most changes in one batch.
pub const BATCH_CHANGES_MAX: usize = 512;
/// Size of the changes in one batch, in bytes: well under what a filter accepts. A single change
/// is sent whatever its size.
pub const BATCH_BYTES: usize = 256 * 1024;
/// Most entries of the log looked at for one batch.
pub const BATCH_SCAN_MAX: usize = 4_096;

/// Most changes in one batch ahead of their turn, and most that are tried again.
pub const URGENT_CHANGES_MAX: usize = 128;

/// Bounds of one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchBounds {
    /// Most changes; at least 1.
    pub changes_max: usize,
    /// Size of all changes, in bytes.
    pub bytes: usize,
    /// Most entries of the log looked at; at least 1.
    pub scan_max: usize,
    /// Most changes ahead of their turn; at least 1.
    pub urgent_max: usize,
}

impl Default for BatchBounds {
    fn default() -> Self {
        Self {
            changes_max: BATCH_CHANGES_MAX,
            bytes: BATCH_BYTES,
            scan_max: BATCH_SCAN_MAX,
            urgent_max: URGENT_CHANGES_MAX,
        }
    }
}

/// Changes gathered up to the bounds.
pub(super) struct Gathered {
    pub(super) changes: Vec<Change>,
    pub(super) subjects: Vec<(u64, Subject)>,
    bytes: usize,
    bounds: BatchBounds,
    is_packed: bool,
}

impl Gathered {
    /// `is_packed` is for nodes that read packed states.
    pub(super) fn new(bounds: BatchBounds, is_packed: bool) -> Self {
        Self { changes: Vec::new(), subjects: Vec::new(), bytes: 0, bounds, is_packed }
    }

    /// Adds a subject's state; `false` if there is no room for it.
    pub(super) fn add(&mut self, subject: &Subject, state: &State, sequence: u64) -> bool {
        let mut change = Change { sequence, subject: Some(subject.into()), ..Change::default() };
        if self.is_packed {
            change.packed = state.pack();
        } else {
            change.state = Some(state.into());
        }
        let bytes = self.bytes.saturating_add(change.encoded_len());
        let fits = self.changes.len() < self.bounds.changes_max && bytes <= self.bounds.bytes;
        if fits || self.changes.is_empty() {
            self.bytes = bytes;
            self.changes.push(change);
            self.subjects.push((sequence, subject.clone()));
            return true;
        }
        false
    }
}
