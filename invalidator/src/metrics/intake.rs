//! What is counted of events before the engine has them: their signatures, and publishers' keys.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::EventLabels;
use crate::intake::Outcome;

/// All zero at first.
#[derive(Debug, Default)]
pub struct IntakeMetrics {
    signatures: Family<EventLabels, Counter>,
    keys_reloads: Counter,
    keys_reload_failures: Counter,
    keys_file_broken: Gauge,
}

impl IntakeMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Events by source and what became of their signature, where it is looked at";
        r.register("event_signatures", help, self.signatures.clone());
        let help = "Times that a changed file of publishers' keys was read";
        r.register("event_keys_reloads", help, self.keys_reloads.clone());
        let help = "Times that a changed file of publishers' keys could not be used";
        r.register("event_keys_reload_failures", help, self.keys_reload_failures.clone());
        let help = "1 while the file of publishers' keys as it is now is not in force";
        r.register("event_keys_file_broken", help, self.keys_file_broken.clone());
    }

    /// Counts what became of an event's signature, if it was looked at.
    pub fn signature(&self, source: &'static str, outcome: Option<Outcome>) {
        if let Some(result) = outcome.map(Outcome::as_str) {
            self.signatures.get_or_create(&EventLabels { source, result }).inc();
        }
    }

    /// Shows zeros for every outcome of a source of which signatures are looked at.
    pub fn show_signatures(&self, source: &'static str) {
        for result in Outcome::ALL.map(Outcome::as_str) {
            drop(self.signatures.get_or_create(&EventLabels { source, result }));
        }
    }

    /// Counts a changed file of publishers' keys, which is in force or cannot be used.
    pub fn keys_read(&self, in_force: bool) {
        let counter = if in_force { &self.keys_reloads } else { &self.keys_reload_failures };
        counter.inc();
        self.keys_file_broken.set((!in_force).into());
    }
}
