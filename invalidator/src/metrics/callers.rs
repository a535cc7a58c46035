//! What is counted of the API's callers. No label holds a name.

use access::{Denied, Lane};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Which bound a request is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The caller has as many requests under way as it may.
    Caller,
    /// All places are taken.
    All,
}

impl Bound {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Caller, Self::All];

    /// As a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::All => "all",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BusyLabels {
    lane: &'static str,
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabels {
    listener: &'static str,
    of: &'static str,
}

/// The listeners that there are.
const LISTENERS: [&str; 2] = [API, POLL];
const API: &str = "api";
const POLL: &str = "poll";

/// Counts connections of one listener that had to end for others.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    ended: Family<EndedLabels, Counter>,
    listener: &'static str,
}

impl ConnectionMetrics {
    /// Counts one: a stranger's, or a known caller's.
    pub fn ended(&self, of_stranger: bool) {
        let of = if of_stranger { "stranger" } else { "known" };
        self.ended.get_or_create(&EndedLabels { listener: self.listener, of }).inc();
    }
}

/// Counters of requests that were turned away.
#[derive(Debug, Default)]
pub struct AccessMetrics {
    denied: Family<CauseLabel, Counter>,
    forbidden: Counter,
    rate_limited: Family<LaneLabel, Counter>,
    busy: Family<BusyLabels, Counter>,
    ended: Family<EndedLabels, Counter>,
}

impl AccessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "API requests with missing or wrong credentials";
        registry.register("api_auth_failures", help, self.denied.clone());
        let help = "API requests that the caller's role does not allow";
        registry.register("api_forbidden", help, self.forbidden.clone());
        let help = "API requests beyond their caller's rate";
        registry.register("api_rate_limited", help, self.rate_limited.clone());
        let help = "API requests turned away because as many as may be were under way";
        registry.register("api_busy", help, self.busy.clone());
        let help = "Connections that ended because others needed their places";
        registry.register("connections_ended", help, self.ended.clone());
        for listener in LISTENERS {
            for of in ["stranger", "known"] {
                drop(self.ended.get_or_create(&EndedLabels { listener, of }));
            }
        }
        for (lane, bound) in Lane::ALL.into_iter().flat_map(|lane| Bound::ALL.map(|b| (lane, b))) {
            let labels = BusyLabels { lane: lane.as_str(), bound: bound.as_str() };
            drop(self.busy.get_or_create(&labels));
        }
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

    /// Counts a request for which there was no place.
    pub fn busy(&self, lane: Lane, bound: Bound) {
        let labels = BusyLabels { lane: lane.as_str(), bound: bound.as_str() };
        self.busy.get_or_create(&labels).inc();
    }

    /// For the connections of the API.
    #[must_use]
    pub fn api_connections(&self) -> ConnectionMetrics {
        ConnectionMetrics { ended: self.ended.clone(), listener: API }
    }

    /// For the connections of Envoys.
    #[must_use]
    pub fn poll_connections(&self) -> ConnectionMetrics {
        ConnectionMetrics { ended: self.ended.clone(), listener: POLL }
    }
}
