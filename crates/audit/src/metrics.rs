//! What `/metrics` shows of the audit log.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds of the buckets of the times that a disk takes, in seconds.
const FSYNC_SECONDS: [f64; 10] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0];

/// The metrics of the audit log; copies count together.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    lines: Counter,
    bytes: Counter,
    lost: Counter,
    unkept: Counter,
    failures: Counter,
    rewrites: Counter,
    failing: Gauge,
    queue: Gauge,
    fsync_seconds: Histogram,
}

impl Default for AuditMetrics {
    fn default() -> Self {
        Self {
            lines: Counter::default(),
            bytes: Counter::default(),
            lost: Counter::default(),
            unkept: Counter::default(),
            failures: Counter::default(),
            rewrites: Counter::default(),
            failing: Gauge::default(),
            queue: Gauge::default(),
            fsync_seconds: Histogram::new(FSYNC_SECONDS),
        }
    }
}

impl AuditMetrics {
    /// Shows them in a registry.
    pub fn register(&self, r: &mut Registry) {
        r.register("audit_lines", "Lines written to the audit log", self.lines.clone());
        r.register("audit_bytes", "Bytes written to the audit log", self.bytes.clone());
        let help = "Entries that the audit log has lost since its queue was full";
        r.register("audit_lost", help, self.lost.clone());
        let help = "Pseudonyms that lead to nobody since audit.pseudonyms_max is reached";
        r.register("audit_pseudonyms_unkept", help, self.unkept.clone());
        let help = "Attempts to write the audit log that failed";
        r.register("audit_failures", help, self.failures.clone());
        let help = "Times that the audit log's file was gone and was written anew";
        r.register("audit_rewrites", help, self.rewrites.clone());
        let help = "1 while the audit log cannot be written";
        r.register("audit_failing", help, self.failing.clone());
        let help = "Entries that wait to be written to the audit log";
        r.register("audit_queue", help, self.queue.clone());
        let help = "Time to put lines of the audit log on disk";
        r.register("audit_fsync_seconds", help, self.fsync_seconds.clone());
    }

    pub(super) fn written(&self, lines: usize, bytes: u64) {
        self.lines.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
        self.bytes.inc_by(bytes);
    }

    pub(super) fn lost(&self) {
        self.lost.inc();
    }

    pub(super) fn unkept(&self, count: u64) {
        self.unkept.inc_by(count);
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
        self.failing.set(1);
    }

    pub(super) fn rewritten(&self) {
        self.rewrites.inc();
    }

    pub(super) fn works(&self) {
        self.failing.set(0);
    }

    pub(super) fn queued(&self, length: usize) {
        self.queue.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    pub(super) fn synced(&self, took: Duration) {
        self.fsync_seconds.observe(took.as_secs_f64());
    }
}
