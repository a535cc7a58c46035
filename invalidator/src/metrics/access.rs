//! What is counted of the API's callers. No label holds a name.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::access::{Denied, Lane};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

/// Counters of requests that were turned away.
#[derive(Debug, Default)]
pub struct AccessMetrics {
    denied: Family<CauseLabel, Counter>,
    forbidden: Counter,
    rate_limited: Family<LaneLabel, Counter>,
}

impl AccessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "API requests with missing or wrong credentials";
        registry.register("api_auth_failures", help, self.denied.clone());
        let help = "API requests that the caller's role does not allow";
        registry.register("api_forbidden", help, self.forbidden.clone());
        let help = "API requests beyond their caller's rate";
        registry.register("api_rate_limited", help, self.rate_limited.clone());
        for cause in Denied::ALL.map(Denied::as_str) {
            drop(self.denied.get_or_create(&CauseLabel { cause }));
        }
        for lane in Lane::ALL.map(Lane::as_str) {
            drop(self.rate_limited.get_or_create(&LaneLabel { lane }));
        }
    }

    /// Counts a request of whom nobody knows.
    pub fn denied(&self, denied: Denied) {
        self.denied.get_or_create(&CauseLabel { cause: denied.as_str() }).inc();
    }

    /// Counts a request that the caller's role does not allow.
    pub fn forbidden(&self) {
        self.forbidden.inc();
    }

    /// Counts a request beyond its caller's rate.
    pub fn rate_limited(&self, lane: Lane) {
        self.rate_limited.get_or_create(&LaneLabel { lane: lane.as_str() }).inc();
    }
}
