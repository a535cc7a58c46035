//! Counters: what is counted, and under which name.
//!
//! All are defined at start, so that a scrape shows zeros before anything happens. Only reasons of
//! blocks come up at run time; metrics never expire, so there is a limit to them. No name ever
//! holds anything of a request or a user.
//!
//! [`Metrics`] has the numbers of those that are defined at start, and is the same for all workers. What a
//! worker counts is in its [`Tally`] until the next tick. What is counted of what is in `counting`.

mod sorted;
mod tally;

use gate::config::{Config, Integration};
use gate::decide::Cause;
use model::name::Name;
use signing::{CLOCK_SKEW, Failure, Profile};

use crate::host::{Family, Host, Metric};
use sorted::Sorted;
pub(crate) use tally::Tally;

/// What can come of a rule.
const OUTCOMES: [&str; 3] = ["denied", "would_deny", "failed_open"];

/// A signed body that is too large to be verified.
pub(crate) const TOO_LARGE: &str = "too_large";

/// What is counted of polls, of answers to them, and of the lease.
const PUSH: [&str; 13] = [
    "batches",
    "changes",
    "urgent",
    "checked",
    "repaired",
    "refused",
    "snapshots",
    "superseded",
    "failed",
    "lease_taken",
    "keys_left_out",
    FIRST_REJECTIONS,
    FIRST_REJECTIONS_LEFT_OUT,
];

/// What is counted of streams that were open when their subjects were blocked.
const STREAMS: [&str; 3] = ["answered", "broken_off", "would_end"];

/// What is counted of limits that hold for the fleet.
const FLEET: [&str; 7] = ["reports", "answers", "behind", "given_up", "failed", "news", "cut_off"];

/// First requests that were rejected because of events, and were noted for the invalidator.
pub(crate) const FIRST_REJECTIONS: &str = "first_rejections";

/// Events of which the first such request is not noted, for want of room.
pub(crate) const FIRST_REJECTIONS_LEFT_OUT: &str = "first_rejections_left_out";

/// The counters of one plugin whose names are known at start, by what they count.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) prefix: Name,
    pub(crate) allowed: Option<Metric>,
    pub(crate) repeated: Option<Metric>,
    pub(crate) decision_ns: Option<Metric>,
    pub(crate) by_cause: Sorted<(&'static str, &'static str)>,
    pub(crate) by_limit: Sorted<(&'static str, usize)>,
    pub(crate) by_integration: Sorted<(&'static str, usize)>,
    /// How each integration's requests are signed, by its index.
    pub(crate) profiles: Vec<Option<Profile>>,
    pub(crate) signatures: Sorted<(Profile, &'static str)>,
    pub(crate) push: Sorted<&'static str>,
    pub(crate) fleet: Sorted<&'static str>,
    pub(crate) streams: Sorted<&'static str>,
}

impl Metrics {
    /// Defines all counters whose names are known by now.
    pub(crate) fn new(config: &Config, host: impl Host) -> Self {
        let prefix = config.stat_prefix.clone();
        let counter = |name: &[&str]| counter(&prefix, name, host);
        let names = Names::new(&prefix);
        let families = OUTCOMES.map(|outcome| names.of(outcome));
        families.iter().flatten().for_each(|family| host.announce(family));
        host.announce(&names.skew());
        let (mut by_cause, mut by_limit, mut by_integration) =
            (Sorted::default(), Sorted::default(), Sorted::default());
        for outcome in OUTCOMES {
            for cause in Cause::NAMES {
                by_cause.insert((outcome, cause), counter(&[outcome, cause]));
            }
            for (index, limit) in config.limits.iter().enumerate() {
                let family = names.limit(outcome);
                by_limit.insert((outcome, index), host.counter_of(&family, limit.name.as_str()));
            }
            for (index, integration) in config.integrations.iter().enumerate() {
                let (family, name) = (names.integration(outcome), integration.name.as_str());
                by_integration.insert((outcome, index), host.counter_of(&family, name));
            }
        }
        let profile_of = |one: &Integration| Some(one.signature.as_ref()?.profile);
        let profiles: Vec<_> = config.integrations.iter().map(profile_of).collect();
        let mut signatures = Sorted::default();
        for profile in profiles.iter().flatten() {
            for result in ["verified", CLOCK_SKEW, TOO_LARGE].into_iter().chain(Failure::NAMES) {
                let name = ["signature", profile.as_str(), result];
                signatures.insert((*profile, result), counter(&name));
            }
        }
        let mut push = Sorted::default();
        for name in PUSH {
            push.insert(name, counter(&["push", name]));
        }
        let mut fleet = Sorted::default();
        for name in FLEET.into_iter().filter(|_| config.has_fleet_limits()) {
            fleet.insert(name, counter(&["fleet", name]));
        }
        let mut streams = Sorted::default();
        for name in STREAMS.into_iter().filter(|_| config.open_streams.end_any()) {
            streams.insert(name, counter(&["streams", name]));
        }
        Self {
            allowed: counter(&["allowed"]),
            repeated: counter(&["repeated"]),
            decision_ns: host.histogram(&format!("{prefix}.decision_ns")),
            by_cause,
            by_limit,
            by_integration,
            profiles,
            signatures,
            push,
            fleet,
            streams,
            prefix: prefix.clone(),
        }
    }
}

/// The parts of names before that which differs within a family.
pub(crate) struct Names {
    block: String,
    limit: String,
    integration: String,
    skew: String,
}

impl Names {
    pub(crate) fn new(prefix: &Name) -> Self {
        Self {
            block: format!("{prefix}.block"),
            limit: format!("{prefix}.limit"),
            integration: format!("{prefix}.integration"),
            skew: format!("{prefix}.signature.skew_ms"),
        }
    }

    /// Counters of blocks, by their reasons.
    pub(crate) fn block<'a>(&'a self, outcome: &'a str) -> Family<'a> {
        Family { are_counters: true, before: &self.block, label: "reason", after: outcome }
    }

    fn limit<'a>(&'a self, outcome: &'a str) -> Family<'a> {
        Family { are_counters: true, before: &self.limit, label: "limit", after: outcome }
    }

    fn integration<'a>(&'a self, outcome: &'a str) -> Family<'a> {
        Family {
            are_counters: true,
            before: &self.integration,
            label: "integration",
            after: outcome,
        }
    }

    /// Histograms of clock skew, by key.
    pub(crate) fn skew(&self) -> Family<'_> {
        Family { are_counters: false, before: &self.skew, label: "key_id", after: "" }
    }

    /// All counters with this outcome.
    fn of<'a>(&'a self, outcome: &'a str) -> [Family<'a>; 3] {
        [self.block(outcome), self.limit(outcome), self.integration(outcome)]
    }
}

/// Defines the counter whose name has these parts.
fn counter(prefix: &Name, parts: &[&str], host: impl Host) -> Option<Metric> {
    host.counter(&format!("{prefix}.{}", parts.join(".")))
}
