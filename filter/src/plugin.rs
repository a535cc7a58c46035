//! What all requests of one plugin share.

use std::cell::Cell;

use policy::gate::{Clock, Freshness, Gate};
use policy::node::FreshnessCache;

use crate::host::{HostClock, SharedData};
use crate::metrics::Metrics;

/// The gate, its counters, and how fresh the node was when last looked at.
pub(crate) struct Plugin {
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    freshness: Option<Cell<FreshnessCache>>,
}

impl Plugin {
    pub(crate) fn new(gate: Gate) -> Self {
        let metrics = Metrics::new(gate.config());
        let invalidator = gate.config().invalidator.as_ref();
        let freshness = invalidator.map(|i| Cell::new(FreshnessCache::new(i.stale_after)));
        Self { gate, metrics, freshness }
    }

    /// How fresh the node is now; always fresh if nothing is to be followed.
    pub(crate) fn freshness(&self) -> Freshness {
        let Some(cell) = &self.freshness else { return Freshness::Fresh };
        let mut cache = cell.get();
        let freshness = cache.get(&mut SharedData, HostClock.monotonic());
        cell.set(cache);
        freshness
    }
}
