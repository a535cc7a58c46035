//! What `/metrics` shows, in the OpenMetrics text format. No label ever holds a user's id.

mod callers;
mod config;
mod durable;
mod fleet;
mod intake;
mod keys;
mod repaired;
#[cfg(test)]
mod tests;
pub mod text;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::access::tls::TlsMetrics;
use audit::AuditMetrics;
use deadletter::DeadLetterMetrics;
use engine::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use store::Meters;

use crate::intake::Refusal;
use crate::overview::Overview;
use crate::relay::Uncounted;
pub use callers::{AccessMetrics, Bound, ConnectionMetrics};
pub use config::ConfigMetrics;
pub use fleet::{CallResult, FleetMetrics};
pub use intake::IntakeMetrics;
pub use repaired::Repaired;

/// Bounds of the acknowledgement times' buckets, in seconds: the target is 1 ms, the pain 1 s.
const ACK_SECONDS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    source: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: String,
    boot_id: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Every metric of the daemon.
pub struct Metrics {
    registry: Registry,
    /// Gauges are set and written under this lock, so that two scrapes do not mix.
    scrape: Mutex<()>,
    events: Family<EventLabels, Counter>,
    events_refused: Family<KindLabel, Counter>,
    /// What is counted of events before the engine has them.
    pub intake: IntakeMetrics,
    /// What is counted of dead letters.
    pub dead_letters: DeadLetterMetrics,
    unknown_names: Counter,
    ack_seconds: Histogram,
    refused_changes: Counter,
    /// What was found missing and put back.
    pub repaired: Repaired,
    poll_auth_failures: Counter,
    polls_malformed: Counter,
    nodes_refused: Counter,
    source_reconnects: Family<SourceLabel, Counter>,
    subjects: Gauge,
    subjects_holding: Gauge,
    subjects_full: Gauge,
    sequence: Gauge,
    nodes: Gauge,
    node_lag: Family<NodeLabels, Gauge>,
    node_staleness: Family<NodeLabels, Seconds>,
    source_connected: Family<SourceLabel, Gauge>,
    source_age: Family<SourceLabel, Seconds>,
    keys_reloads: Counter,
    keys_reload_failures: Counter,
    keys_file_broken: Gauge,
    keys_crowded: Gauge,
    keys: Family<StateLabel, Gauge>,
    node_keys_current: Family<NodeLabels, Gauge>,
    /// What the audit log counts.
    pub audit: AuditMetrics,
    /// What the store measures by itself.
    pub store: Meters,
    store_events: Gauge,
    store_bytes: Gauge,
    store_queue: Gauge,
    store_unkept: Gauge,
    store_failing: Gauge,
    store_doubtful: Gauge,
    clock_jumps: Counter,
    /// What is counted of the configuration.
    pub config: ConfigMetrics,
    /// Who was turned away from the API.
    pub access: AccessMetrics,
    /// The API's certificates.
    pub tls: TlsMetrics,
    /// Limits across the fleet.
    pub fleet: FleetMetrics,
}

/// Where a source registers metrics of its own.
#[derive(Debug)]
pub struct SourceMeters<'a> {
    /// All metrics.
    pub registry: &'a mut Registry,
    /// The family that whoever puts something back counts in.
    pub repaired: Repaired,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("portcullis"),
            scrape: Mutex::new(()),
            events: Family::default(),
            events_refused: Family::default(),
            intake: IntakeMetrics::default(),
            dead_letters: DeadLetterMetrics::default(),
            unknown_names: Counter::default(),
            ack_seconds: Histogram::new(ACK_SECONDS),
            refused_changes: Counter::default(),
            repaired: Repaired::default(),
            poll_auth_failures: Counter::default(),
            polls_malformed: Counter::default(),
            nodes_refused: Counter::default(),
            source_reconnects: Family::default(),
            subjects: Gauge::default(),
            subjects_holding: Gauge::default(),
            subjects_full: Gauge::default(),
            sequence: Gauge::default(),
            nodes: Gauge::default(),
            node_lag: Family::default(),
            node_staleness: Family::default(),
            source_connected: Family::default(),
            source_age: Family::default(),
            keys_reloads: Counter::default(),
            keys_reload_failures: Counter::default(),
            keys_file_broken: Gauge::default(),
            keys_crowded: Gauge::default(),
            keys: Family::default(),
            node_keys_current: Family::default(),
            audit: AuditMetrics::default(),
            store: Meters::default(),
            store_events: Gauge::default(),
            store_bytes: Gauge::default(),
            store_queue: Gauge::default(),
            store_unkept: Gauge::default(),
            store_failing: Gauge::default(),
            store_doubtful: Gauge::default(),
            clock_jumps: Counter::default(),
            config: ConfigMetrics::default(),
            access: AccessMetrics::default(),
            tls: TlsMetrics::default(),
            fleet: FleetMetrics::default(),
        };
        metrics.register_counters();
        metrics.intake.register(&mut metrics.registry);
        metrics.dead_letters.register(&mut metrics.registry, Refusal::kinds());
        metrics.register_gauges();
        metrics.register_keys();
        metrics.audit.register(&mut metrics.registry);
        metrics.register_store();
        metrics.config.register(&mut metrics.registry);
        metrics.access.register(&mut metrics.registry);
        metrics.tls.register(&mut metrics.registry);
        metrics.fleet.register(&mut metrics.registry, &Uncounted::NAMES);
        for kind in Refusal::kinds() {
            drop(metrics.events_refused.get_or_create(&KindLabel { kind }));
        }
        metrics
    }

    /// For metrics of somebody's own, before anything is shown.
    pub fn meters(&mut self) -> SourceMeters<'_> {
        SourceMeters { registry: &mut self.registry, repaired: self.repaired.clone() }
    }

    fn register_counters(&mut self) {
        let r = &mut self.registry;
        r.register("events", "Events by source and result", self.events.clone());
        r.register("events_refused", "Refused events by cause", self.events_refused.clone());
        let help = "Scopes and limits in events that no connected node knows by name";
        r.register("unenforceable_scopes", help, self.unknown_names.clone());
        let help = "From taking an event in to a node's acknowledgement";
        r.register("push_ack_seconds", help, self.ack_seconds.clone());
        let help = "Changes that a node could not store, and so does not enforce";
        r.register("refused_changes", help, self.refused_changes.clone());
        self.repaired.register(r);
        let help = "Polls with a missing or wrong secret";
        r.register("poll_auth_failures", help, self.poll_auth_failures.clone());
        let help = "Polls with the right secret that break the protocol";
        r.register("polls_malformed", help, self.polls_malformed.clone());
        let help = "Polls of nodes that were turned away: limits.nodes_max is reached";
        r.register("nodes_refused", help, self.nodes_refused.clone());
        let help = "Times that a source's connection was made again after a loss";
        r.register("source_reconnects", help, self.source_reconnects.clone());
    }

    fn register_gauges(&mut self) {
        let r = &mut self.registry;
        r.register("subjects", "Users and sessions with a state", self.subjects.clone());
        let help = "Users and sessions for whom something holds, such as a block";
        r.register("subjects_holding", help, self.subjects_holding.clone());
        let help = "1 while there is no room for a block of another user or session";
        r.register("subjects_full", help, self.subjects_full.clone());
        r.register("sequence", "Changes taken in since the start", self.sequence.clone());
        r.register("nodes", "Connected nodes", self.nodes.clone());
        r.register("node_lag", "Changes a node is behind", self.node_lag.clone());
        let help = "Since a node's last poll arrived";
        r.register("node_staleness_seconds", help, self.node_staleness.clone());
        let help = "1 while a source's connection works";
        r.register("source_connected", help, self.source_connected.clone());
        let help = "Since a source was last known to work";
        r.register("source_age_seconds", help, self.source_age.clone());
    }

    /// Counts an event: `applied`, `duplicate`, `stale` or `refused`.
    pub fn event(&self, source: &'static str, result: &'static str) {
        self.events.get_or_create(&EventLabels { source, result }).inc();
    }

    /// Counts a refused event by its cause.
    pub fn event_refused(&self, kind: &'static str) {
        self.events_refused.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts names that no connected node knows.
    pub fn unknown_names(&self, count: u64) {
        self.unknown_names.inc_by(count);
    }

    /// Records the times from taking changes in to one node's acknowledgement.
    pub fn acknowledged(&self, latencies: impl Iterator<Item = Duration>) {
        for latency in latencies {
            self.ack_seconds.observe(latency.as_secs_f64());
        }
    }

    /// Counts a change that a node could not store.
    pub fn change_refused(&self) {
        self.refused_changes.inc();
    }

    /// Counts a poll with a wrong secret.
    pub fn poll_auth_failure(&self) {
        self.poll_auth_failures.inc();
    }

    /// Counts a poll that breaks the protocol.
    pub fn poll_malformed(&self) {
        self.polls_malformed.inc();
    }

    /// Counts a poll of a node for which there is no room.
    pub fn node_refused(&self) {
        self.nodes_refused.inc();
    }

    /// Counts some more times that a source's connection was made again; 0 shows the source.
    pub fn source_reconnected(&self, source: &'static str, times: u64) {
        self.source_reconnects.get_or_create(&SourceLabel { source }).inc_by(times);
    }

    /// All metrics as OpenMetrics, with the gauges as the status has them, and as `measure` sets those of others.
    ///
    /// # Errors
    /// Only if text cannot be formatted, which does not happen in memory.
    pub fn encode(
        &self,
        overview: &Overview,
        measure: impl FnOnce(),
    ) -> Result<String, fmt::Error> {
        let _scrape = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_gauges(&overview.engine);
        self.set_store_gauges(&overview.store);
        self.fleet.set(&overview.fleet_limits, &overview.engine);
        measure();
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    fn set_gauges(&self, status: &Status) {
        self.subjects.set(i64::try_from(status.subjects).unwrap_or(i64::MAX));
        self.subjects_holding.set(i64::try_from(status.subjects_holding).unwrap_or(i64::MAX));
        self.subjects_full.set(status.is_full.into());
        self.sequence.set(i64::try_from(status.sequence).unwrap_or(i64::MAX));
        let connected = status.nodes.iter().filter(|node| node.connected).count();
        self.nodes.set(i64::try_from(connected).unwrap_or(i64::MAX));
        // Nodes come and go: those that are gone must not stay as labels for good.
        self.node_lag.clear();
        self.node_staleness.clear();
        for node in &status.nodes {
            let labels = NodeLabels { node: node.node.clone(), boot_id: node.boot_id.clone() };
            let lag = i64::try_from(node.lag).unwrap_or(i64::MAX);
            self.node_lag.get_or_create(&labels).set(lag);
            self.node_staleness.get_or_create(&labels).set(seconds(node.staleness_ms));
        }
        self.set_keys_gauges(status);
        for source in &status.sources {
            let label = SourceLabel { source: source.name };
            let connected = i64::from(source.state == "connected");
            self.source_connected.get_or_create(&label).set(connected);
            if let Some(age_ms) = source.age_ms {
                self.source_age.get_or_create(&label).set(seconds(age_ms));
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
