//! What `/metrics` shows of Redis.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Agreement, State};
use crate::metrics::Repaired;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// Metrics of the Redis source.
#[derive(Debug, Default)]
pub(super) struct RedisMetrics {
    repaired: Repaired,
    data_lost: Counter,
    reads: Family<WhyLabel, Counter>,
    writes: Family<ResultLabel, Counter>,
    bare: Counter,
    aside: Counter,
    missing: Counter,
    refused: Gauge,
    later: Gauge,
    evicts: Gauge,
    forgotten: Counter,
    left_out: Counter,
    outbox: Gauge,
    skew: Gauge<f64, AtomicU64>,
    unequal: Family<StateLabel, Gauge<f64, AtomicU64>>,
}

impl RedisMetrics {
    /// With the family that others count repairs in as well.
    pub(super) fn new(repaired: Repaired) -> Self {
        Self { repaired, ..Self::default() }
    }

    /// Adds them to those of the daemon, each kind with a zero.
    pub(super) fn register(&self, r: &mut Registry, reads: impl Iterator<Item = &'static str>) {
        for result in ["written", "duplicate", "failed"] {
            drop(self.writes.get_or_create(&ResultLabel { result }));
        }
        for why in reads {
            drop(self.reads.get_or_create(&WhyLabel { why }));
        }
        let help = "Times that Redis was found to have less than it had";
        r.register("redis_data_lost", help, self.data_lost.clone());
        let help = "Times that everything was read from Redis, by cause";
        r.register("redis_reads", help, self.reads.clone());
        let help = "Events written to Redis by result";
        r.register("redis_writes", help, self.writes.clone());
        let help = "Keys in Redis that were damaged, and put aside to be written anew";
        r.register("redis_put_aside", help, self.aside.clone());
        let help = "Events that had been in Redis and were found missing there";
        r.register("redis_missing_events", help, self.missing.clone());
        let help = "Events in Redis that are refused for causes that may pass, and tried again";
        r.register("redis_refused_events", help, self.refused.clone());
        let help = "Bare events that were refused for causes that may pass, and are tried again";
        r.register("redis_refused_bare_events", help, self.later.clone());
        let help = "1 if Redis evicts keys for want of memory, whatever they are";
        r.register("redis_evicts", help, self.evicts.clone());
        let help = "Events heard by Pub/Sub that nobody had written";
        r.register("redis_bare_events", help, self.bare.clone());
        let help = "Events forgotten in Redis because nobody needs them any more";
        r.register("redis_forgotten", help, self.forgotten.clone());
        let help = "Events left out of the queue to Redis for want of room, to be repaired later";
        r.register("redis_outbox_left_out", help, self.left_out.clone());
        r.register("redis_outbox", "Events waiting to be written to Redis", self.outbox.clone());
        let help = "Redis's clock less ours";
        r.register("redis_clock_skew_seconds", help, self.skew.clone());
        let help = "For how long Redis has not held the events known here, by why; 0: it does";
        r.register("redis_unequal_seconds", help, self.unequal.clone());
    }

    /// Counts events that were found missing.
    pub(super) fn missing(&self, events: u64) {
        self.missing.inc_by(events);
    }

    /// Shows how many bare events are tried again.
    pub(super) fn later(&self, events: usize) {
        self.later.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// Shows how many events in Redis are tried again.
    pub(super) fn refused(&self, events: usize) {
        self.refused.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// Shows whether Redis evicts keys.
    pub(super) fn evicts(&self, evicts: bool) {
        self.evicts.set(evicts.into());
    }

    /// Counts damaged keys.
    pub(super) fn put_aside(&self, keys: u64) {
        self.aside.inc_by(keys);
    }

    /// Counts events that this daemon lacked.
    pub(super) fn repaired_here(&self, events: u64) {
        self.repaired.here(events);
    }

    /// Counts events that Redis lacked.
    pub(super) fn repaired_there(&self, events: u64) {
        self.repaired.in_redis(events);
    }

    /// Counts a loss of data in Redis.
    pub(super) fn data_lost(&self) {
        self.data_lost.inc();
    }

    /// Counts a reading of everything.
    pub(super) fn read(&self, why: &'static str) {
        self.reads.get_or_create(&WhyLabel { why }).inc();
    }

    /// Counts an event written: `written`, `duplicate` or `failed`.
    pub(super) fn wrote(&self, result: &'static str) {
        self.writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts bare events.
    pub(super) fn bare(&self, events: u64) {
        self.bare.inc_by(events);
    }

    /// Counts forgotten events.
    pub(super) fn forgotten(&self, events: u64) {
        self.forgotten.inc_by(events);
    }

    /// Shows how many events wait, and counts those left out.
    pub(super) fn outbox(&self, waiting: usize, left_out: u64) {
        self.outbox.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.left_out.inc_by(left_out);
    }

    /// Shows how Redis stands to what is known here; nothing, while that cannot be said.
    pub(super) fn agreement(&self, agreement: Option<&Agreement>) {
        self.unequal.clear();
        let Some(agreement) = agreement else { return };
        for state in [State::Settling, State::Differs] {
            let ms = if agreement.state == state { agreement.for_ms } else { 0 };
            let seconds = Duration::from_millis(ms).as_secs_f64();
            self.unequal.get_or_create(&StateLabel { state: state.as_str() }).set(seconds);
        }
    }

    /// Shows how far Redis's clock is ahead of ours, in microseconds.
    pub(super) fn skew(&self, micros: i64) {
        let millis = i32::try_from(micros / 1_000).unwrap_or(i32::MAX);
        self.skew.set(f64::from(millis) / 1_000.0);
    }
}
