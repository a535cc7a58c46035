//! What is counted of limits across the fleet. No label holds a name of a bucket or of a node.

use std::time::Duration;

use engine::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::relay::{Given, RelayStatus};

/// Bounds of the buckets of the time that Redis takes for a call, in seconds.
const LEDGER_SECONDS: [f64; 11] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// What becomes of a node's call with reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// Every report was counted, and has its answer.
    Answered,
    /// It breaks a rule.
    Malformed,
    /// Its names are made with another key.
    OtherKey,
    /// No key is known here yet.
    NoKey,
    /// As many calls as may be were under way.
    Busy,
    /// There is no Redis.
    NoLedger,
    /// Redis did not count it: why is one of [`crate::relay::Uncounted::NAMES`].
    Uncounted(&'static str),
}

impl CallResult {
    /// All that are decided here.
    const OWN: [Self; 6] =
        [Self::Answered, Self::Malformed, Self::OtherKey, Self::NoKey, Self::Busy, Self::NoLedger];

    /// As a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Malformed => "malformed",
            Self::OtherKey => "other_key",
            Self::NoKey => "no_key",
            Self::Busy => "busy",
            Self::NoLedger => "no_ledger",
            Self::Uncounted(name) => name,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabel {
    what: &'static str,
}

const HEARD: &str = "heard";
const MALFORMED: &str = "malformed";
const DROPPED: &str = "dropped";
const SENT: &str = "sent";
const LEFT_OUT: &str = "left_out";

/// See the module's description.
#[derive(Debug)]
pub struct FleetMetrics {
    calls: Family<ResultLabel, Counter>,
    reports: Counter,
    answers: Counter,
    seconds: Histogram,
    news: Family<WhatLabel, Counter>,
    key_changes: Counter,
    keys_sent: Counter,
    reconnects: Counter,
    behind: Counter,
    given_up: Counter,
    open: Gauge,
    nodes: Gauge,
    sharing: Gauge,
    cut_off: Gauge,
}

impl Default for FleetMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            reports: Counter::default(),
            answers: Counter::default(),
            seconds: Histogram::new(LEDGER_SECONDS),
            news: Family::default(),
            key_changes: Counter::default(),
            keys_sent: Counter::default(),
            reconnects: Counter::default(),
            behind: Counter::default(),
            given_up: Counter::default(),
            open: Gauge::default(),
            nodes: Gauge::default(),
            sharing: Gauge::default(),
            cut_off: Gauge::default(),
        }
    }
}

impl FleetMetrics {
    /// Adds them to those of the daemon; `reasons` are those for which Redis may not count a call.
    pub(super) fn register(&self, r: &mut Registry, reasons: &[&'static str]) {
        let own = CallResult::OWN.map(CallResult::as_str);
        for result in own.into_iter().chain(reasons.iter().copied()) {
            drop(self.calls.get_or_create(&ResultLabel { result }));
        }
        for what in [HEARD, MALFORMED, DROPPED, SENT, LEFT_OUT] {
            drop(self.news.get_or_create(&WhatLabel { what }));
        }
        let help = "Calls of nodes with reports of what they took from the fleet's buckets";
        r.register("fleet_calls", help, self.calls.clone());
        let help = "Reports in calls that break no rule";
        r.register("fleet_reports", help, self.reports.clone());
        r.register("fleet_answers", "Answers to reports", self.answers.clone());
        let help = "From handing a call to Redis to its answers";
        r.register("fleet_ledger_seconds", help, self.seconds.clone());
        let help = "News of the fleet's buckets that have no token left, by what became of them";
        r.register("fleet_news", help, self.news.clone());
        let help = "Times that the key changed with which nodes name the fleet's buckets";
        r.register("fleet_key_changes", help, self.key_changes.clone());
        r.register("fleet_keys_sent", "Keys handed to nodes", self.keys_sent.clone());
        let help = "Connections for the fleet's buckets that were made again after a loss";
        r.register("fleet_ledger_reconnects", help, self.reconnects.clone());
        let help = "Times that Redis had less of a bucket than a node knew";
        r.register("fleet_behind", help, self.behind.clone());
        let help = "Tokens in reports that nodes gave up";
        r.register("fleet_given_up_tokens", help, self.given_up.clone());
        let help = "1 while the fleet's buckets can be reached; 0 also while no node needs them";
        r.register("fleet_ledger_open", help, self.open.clone());
        let help = "Envoys of all daemons, as far as is known; 0: not known";
        r.register("fleet_nodes", help, self.nodes.clone());
        let help = "Connected nodes of this daemon with limits across the fleet";
        r.register("nodes_with_fleet_limits", help, self.sharing.clone());
        let help = "Those of them that are cut off from the fleet's buckets";
        r.register("nodes_cut_off", help, self.cut_off.clone());
    }

    /// Counts a call.
    pub fn call(&self, result: CallResult) {
        self.calls.get_or_create(&ResultLabel { result: result.as_str() }).inc();
    }

    /// Counts reports that break no rule.
    pub fn reported(&self, reports: usize) {
        self.reports.inc_by(count(reports));
    }

    /// Counts answers.
    pub fn answered(&self, answers: usize) {
        self.answers.inc_by(count(answers));
    }

    /// Notes how long Redis took.
    pub fn took(&self, span: Duration) {
        self.seconds.observe(span.as_secs_f64());
    }

    /// Counts news that came, and lines that are none.
    pub fn heard(&self, news: usize, malformed: usize) {
        self.count_news(HEARD, news);
        self.count_news(MALFORMED, malformed);
    }

    /// Counts messages of which nothing was read since too many came.
    pub fn dropped(&self, messages: usize) {
        self.count_news(DROPPED, messages);
    }

    /// Counts what a node was given with a batch.
    pub fn gave(&self, given: Given) {
        self.count_news(SENT, given.news);
        self.count_news(LEFT_OUT, given.left_out);
        if given.key.is_some() {
            self.keys_sent.inc();
        }
    }

    fn count_news(&self, what: &'static str, number: usize) {
        if number > 0 {
            self.news.get_or_create(&WhatLabel { what }).inc_by(count(number));
        }
    }

    /// Counts another key.
    pub fn key_changed(&self) {
        self.key_changes.inc();
    }

    /// Counts a connection that was made again.
    pub fn reconnected(&self) {
        self.reconnects.inc();
    }

    /// Counts what a node has said that it had not said before.
    pub fn node_said(&self, behind: u64, given_up: u64) {
        self.behind.inc_by(behind);
        self.given_up.inc_by(given_up);
    }

    pub(super) fn set(&self, relay: &RelayStatus, status: &Status) {
        self.open.set((relay.ledger == "open").into());
        self.nodes.set(relay.nodes.into());
        let connected = || status.nodes.iter().filter(|node| node.connected);
        let sharing = || connected().filter_map(|node| node.fleet_limits);
        self.sharing.set(gauge(sharing().count()));
        self.cut_off.set(gauge(sharing().filter(|limits| limits.cut_off_ms.is_some()).count()));
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
