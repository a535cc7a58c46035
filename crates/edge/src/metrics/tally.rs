//! What one worker has counted and not told yet.

use std::cell::{Cell, RefCell};

use model::name::Name;
use signing::key::KeyId;

use super::sorted::Sorted;
use crate::host::Metric;

/// What one worker has counted and not told yet, and the counters whose names come up at run time.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) untimed: Cell<u32>,
    pub(crate) by_reason: RefCell<Sorted<(&'static str, Name)>>,
    pub(crate) skew_ms: RefCell<Sorted<KeyId>>,
    /// Histograms that were added to since the last tick, and how often.
    pub(crate) recorded: RefCell<Vec<(Metric, usize)>>,
    /// Counts that the proxy does not have yet: few different ones, since they go every few
    /// milliseconds.
    pub(crate) unsent: RefCell<Vec<(Metric, usize)>>,
}
