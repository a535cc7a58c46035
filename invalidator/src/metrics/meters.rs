//! What sources are given to register their metrics with.

use prometheus_client::registry::Registry;

use super::Repaired;

/// Where a source registers metrics of its own.
#[derive(Debug)]
pub struct SourceMeters<'a> {
    /// All metrics.
    pub registry: &'a mut Registry,
    /// The family that whoever puts something back counts in.
    pub repaired: Repaired,
}
