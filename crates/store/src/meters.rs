//! What the store measures while it works.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of the commits' times, in seconds: a good disk takes 1 ms, a bad one a second.
const COMMIT_SECONDS: [f64; 11] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Clones count together.
#[derive(Clone, Debug)]
pub struct Meters {
    pub(super) commit_seconds: Histogram,
    pub(super) commit_failures: Counter,
    pub(super) rewrites: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        let commit_seconds = Histogram::new(COMMIT_SECONDS);
        let (commit_failures, rewrites) = (Counter::default(), Counter::default());
        Self { commit_seconds, commit_failures, rewrites }
    }
}

impl Meters {
    /// Gives the metrics their names.
    pub fn register(&self, registry: &mut Registry) {
        let help = "From beginning to write changes to having them on the disk";
        registry.register("store_commit_seconds", help, self.commit_seconds.clone());
        let help = "Times that changes could not be written to the store";
        registry.register("store_commit_failures", help, self.commit_failures.clone());
        let help = "Times that the store's file was gone and was written anew";
        registry.register("store_rewrites", help, self.rewrites.clone());
    }
}
