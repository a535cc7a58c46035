//! What is counted of a listener's TLS. Without TLS there are no samples.

use model::time::UnixMicros;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

/// The only listener that speaks TLS.
const API: ListenerLabel = ListenerLabel { listener: "api" };

/// Counters and gauges of certificates and handshakes.
#[derive(Clone, Debug, Default)]
pub struct TlsMetrics {
    not_after: Family<ListenerLabel, Gauge>,
    broken: Family<ListenerLabel, Gauge>,
    reloads: Family<ListenerLabel, Counter>,
    reload_failures: Family<ListenerLabel, Counter>,
    handshake_failures: Family<ListenerLabel, Counter>,
}

impl TlsMetrics {
    /// Gives the metrics their names.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Unix time at which the certificate in use expires";
        registry.register("tls_not_after_seconds", help, self.not_after.clone());
        let help = "1 while certificates and keys as they are on the disk now are not in use";
        registry.register("tls_broken", help, self.broken.clone());
        let help = "Times that changed certificates and keys were read";
        registry.register("tls_reloads", help, self.reloads.clone());
        let help = "Times that changed certificates and keys could not be used";
        registry.register("tls_reload_failures", help, self.reload_failures.clone());
        let help = "Connections that TLS did not let in";
        registry.register("tls_handshake_failures", help, self.handshake_failures.clone());
    }

    /// Shows everything, from the first certificate on.
    pub fn started(&self, not_after: UnixMicros) {
        for counter in [&self.reloads, &self.reload_failures, &self.handshake_failures] {
            drop(counter.get_or_create(&API));
        }
        self.in_use(not_after);
    }

    fn in_use(&self, not_after: UnixMicros) {
        let seconds = not_after.0.checked_div(1_000_000).unwrap_or_default();
        self.not_after.get_or_create(&API).set(i64::try_from(seconds).unwrap_or(i64::MAX));
        self.broken.get_or_create(&API).set(0);
    }

    /// Counts changed files that are in use now, and notes when the certificate expires.
    pub fn reloaded(&self, not_after: UnixMicros) {
        self.reloads.get_or_create(&API).inc();
        self.in_use(not_after);
    }

    /// Counts changed files that could not be used.
    pub fn reload_failed(&self) {
        self.reload_failures.get_or_create(&API).inc();
        self.broken.get_or_create(&API).set(1);
    }

    /// Counts a connection that did not come to be.
    pub fn handshake_failed(&self) {
        self.handshake_failures.get_or_create(&API).inc();
    }
}
