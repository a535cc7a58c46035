//! What was found missing and put back, in one family: by where it was missing.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Who may lack something: the memory of an Envoy, this daemon, Redis.
const PLACES: [&str; 3] = [NODE, DAEMON, REDIS];
const NODE: &str = "node";
const DAEMON: &str = "daemon";
const REDIS: &str = "redis";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhereLabel {
    r#where: &'static str,
}

/// The family; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Repaired(Family<WhereLabel, Counter>);

impl Repaired {
    pub(super) fn register(&self, registry: &mut Registry) {
        for place in PLACES {
            drop(self.0.get_or_create(&WhereLabel { r#where: place }));
        }
        let help = "States and events that were missing where they should be, found and put back";
        registry.register("repaired", help, self.0.clone());
    }

    fn count(&self, place: &'static str, number: u64) {
        self.0.get_or_create(&WhereLabel { r#where: place }).inc_by(number);
    }

    /// Counts states that an Envoy had acknowledged and lacked.
    pub fn at_node(&self, states: u64) {
        self.count(NODE, states);
    }

    /// Counts events that this daemon lacked and got back from Redis.
    pub fn here(&self, events: u64) {
        self.count(DAEMON, events);
    }

    /// Counts events that Redis lacked and got back from this daemon.
    pub fn in_redis(&self, events: u64) {
        self.count(REDIS, events);
    }
}
