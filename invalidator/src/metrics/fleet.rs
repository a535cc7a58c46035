//! What is counted of the fleet: questions whether all of its Envoys enforce an event, what this daemon hears and answers,
//! and who is registered.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::fence::Members;
use crate::wire::{DaemonState, Everywhere, Reason};

/// Bounds of the buckets of answers' times, in seconds: the target for 32 nodes is 10 ms, for 1,000 daemons 250 ms.
const ANSWER_SECONDS: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// What becomes of fences, and of replies to ours.
const FENCES: [&str; 5] = ["asked", "answered", "left_out", "too_old", "malformed"];
const REPLIES: [&str; 4] = ["taken", "unasked", "malformed", "not_vouched"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// See the module's description.
#[derive(Debug)]
pub struct FleetMetrics {
    questions: Family<ResultLabel, Counter>,
    missing: Family<ReasonLabel, Counter>,
    seconds: Histogram,
    fences: Family<ResultLabel, Counter>,
    replies: Family<ResultLabel, Counter>,
    daemons: Family<StateLabel, Gauge>,
    registered: Gauge,
}

impl Default for FleetMetrics {
    fn default() -> Self {
        let metrics = Self {
            questions: Family::default(),
            missing: Family::default(),
            seconds: Histogram::new(ANSWER_SECONDS),
            fences: Family::default(),
            replies: Family::default(),
            daemons: Family::default(),
            registered: Gauge::default(),
        };
        for result in Verdict::ALL.map(Verdict::as_str) {
            drop(metrics.questions.get_or_create(&ResultLabel { result }));
        }
        for reason in Reason::ALL.map(Reason::as_str) {
            drop(metrics.missing.get_or_create(&ReasonLabel { reason }));
        }
        for result in FENCES {
            drop(metrics.fences.get_or_create(&ResultLabel { result }));
        }
        for result in REPLIES {
            drop(metrics.replies.get_or_create(&ResultLabel { result }));
        }
        metrics.members(&Members::default());
        metrics
    }
}

/// What somebody was told who has asked for the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every Envoy of it enforces the event.
    Everywhere,
    /// Of some that is not known.
    Missing,
    /// The event is not in effect, so nobody enforces it.
    NotInEffect,
}

impl Verdict {
    const ALL: [Self; 3] = [Self::Everywhere, Self::Missing, Self::NotInEffect];

    /// By the answer, and whether the event is in effect.
    #[must_use]
    pub fn of(all: &Everywhere, in_effect: bool) -> Self {
        match (in_effect, all.enforced_everywhere) {
            (false, _) => Self::NotInEffect,
            (true, true) => Self::Everywhere,
            (true, false) => Self::Missing,
        }
    }

    /// As it is spelled in metrics and in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Missing => "missing",
            Self::NotInEffect => "not_in_effect",
        }
    }
}

impl FleetMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Times that a publisher waited for the fleet, by what it was told";
        r.register("fleet_questions", help, self.questions.clone());
        let help =
            "Envoys, or daemons, of which publishers were told that they may not enforce an event";
        r.register("fleet_missing", help, self.missing.clone());
        let help = "From taking an event in to the answer about the fleet";
        r.register("fleet_answer_seconds", help, self.seconds.clone());
        let help = "Fences asked by this daemon, and those of all that it answers";
        r.register("fleet_fences", help, self.fences.clone());
        let help = "What came as a reply to a fence of this daemon";
        r.register("fleet_replies", help, self.replies.clone());
        let help = "Daemons registered in Redis at the last look, at most some minutes ago";
        r.register("fleet_daemons", help, self.daemons.clone());
        let help = "1 while this daemon is registered in Redis";
        r.register("fleet_registered", help, self.registered.clone());
    }

    /// Counts an answer about the fleet that was given so long after the event was taken in.
    pub fn answered(&self, verdict: Verdict, all: &Everywhere, after: Duration) {
        self.questions.get_or_create(&ResultLabel { result: verdict.as_str() }).inc();
        self.seconds.observe(after.as_secs_f64());
        for one in &all.missing {
            self.missing.get_or_create(&ReasonLabel { reason: one.reason.as_str() }).inc();
        }
    }

    /// Counts a fence: `asked`, `answered`, or why it is not answered.
    pub(crate) fn fence(&self, result: &'static str) {
        self.fences.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts what came as a reply.
    pub(crate) fn reply(&self, result: &'static str) {
        self.replies.get_or_create(&ResultLabel { result }).inc();
    }

    /// Shows who is registered.
    pub(crate) fn members(&self, members: &Members) {
        for (state, name) in [
            (DaemonState::Live, "live"),
            (DaemonState::Gone, "gone"),
            (DaemonState::Stopped, "stopped"),
            (DaemonState::Unreadable, "unreadable"),
        ] {
            let count = i64::try_from(members.count(state)).unwrap_or(i64::MAX);
            self.daemons.get_or_create(&StateLabel { state: name }).set(count);
        }
    }

    /// Shows whether this daemon is registered.
    pub(crate) fn registered(&self, is_registered: bool) {
        self.registered.set(is_registered.into());
    }
}
