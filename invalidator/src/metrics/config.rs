//! What is counted of the configuration that is read again at a signal.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// All zero at first.
#[derive(Debug, Default)]
pub struct ConfigMetrics {
    reloads: Family<ResultLabel, Counter>,
    waiting: Gauge,
}

impl ConfigMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Times that the configuration was read again at a signal, by result";
        r.register("config_reloads", help, self.reloads.clone());
        let help = "Fields of the configuration as it was read last that wait for a restart";
        r.register("config_waiting_fields", help, self.waiting.clone());
        for result in ["loaded", "failed"] {
            drop(self.reloads.get_or_create(&ResultLabel { result }));
        }
    }

    /// Counts a configuration that was read again; so many of its fields wait for a restart.
    pub fn loaded(&self, waiting: usize) {
        self.reloads.get_or_create(&ResultLabel { result: "loaded" }).inc();
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Counts a configuration that could not be used.
    pub fn failed(&self) {
        self.reloads.get_or_create(&ResultLabel { result: "failed" }).inc();
    }
}
