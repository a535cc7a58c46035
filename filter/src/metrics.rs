//! Counters: what is counted, and under which name.
//!
//! All are defined at start, so that a scrape shows zeros before anything happens. Only reasons of
//! blocks come up at run time; metrics never expire, so there is a limit to them. No name ever
//! holds anything of a request or a user.
//!
//! Telling the proxy costs more than many a decision, so counts go with the next tick. What a VM has
//! counted since its last one is lost if it traps.

mod sorted;

use std::cell::{Cell, RefCell};

use gate::config::{Config, Integration};
use gate::decide::{Cause, Decision, Denial, Note, Verdict, Why};
use gate::node::{Failure, Report};
use model::name::Name;
use model::time::{Clock, MonotonicNanos};
use signing::key::KeyId;
use signing::verify::Verified;
use signing::{Failure as SignatureFailure, Profile};

use crate::host::{self, HostClock};
use sorted::Sorted;

/// Reasons that have counters of their own; all further ones are counted as `other`.
const REASONS_MAX: usize = 64;

/// What can come of a rule.
const OUTCOMES: [&str; 3] = ["denied", "would_deny", "failed_open"];

/// A signed body that is too large to be verified.
const TOO_LARGE: &str = "too_large";

/// What is counted of answers to polls, and of the lease.
const PUSH: [&str; 11] = [
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
];

/// One in so many requests is timed: reading the clock twice costs as much as a tenth of a decision.
const TIMED_EVERY: u32 = 64;

/// How many skews of one key id are recorded between two ticks. It takes as long as to read headers,
/// and a hundred a second from each VM tell as much as all.
const SKEWS_PER_TICK: usize = 4;

/// Key ids that have a histogram of their own; the skew of further ones is not recorded.
const KEY_IDS_MAX: usize = 256;

/// The counters of one plugin.
pub(crate) struct Metrics {
    prefix: Name,
    allowed: Option<u32>,
    repeated: Option<u32>,
    decision_ns: Option<u32>,
    untimed: Cell<u32>,
    by_cause: Sorted<(&'static str, &'static str)>,
    by_limit: Sorted<(&'static str, usize)>,
    by_integration: Sorted<(&'static str, usize)>,
    /// How each integration's requests are signed, by its index.
    profiles: Vec<Option<Profile>>,
    by_reason: RefCell<Sorted<(&'static str, Name)>>,
    signatures: Sorted<(Profile, &'static str)>,
    skew_ms: RefCell<Sorted<KeyId>>,
    /// Histograms that were added to since the last tick, and how often.
    recorded: RefCell<Vec<(u32, usize)>>,
    push: Sorted<&'static str>,
    /// Counts that the proxy does not have yet: few different ones, since they go every few
    /// milliseconds.
    unsent: RefCell<Vec<(u32, usize)>>,
}

impl Metrics {
    /// Defines all counters whose names are known by now.
    pub(crate) fn new(config: &Config) -> Self {
        let prefix = config.stat_prefix.clone();
        let counter = |name: &[&str]| counter(&prefix, name);
        let (mut by_cause, mut by_limit, mut by_integration) =
            (Sorted::default(), Sorted::default(), Sorted::default());
        for outcome in OUTCOMES {
            for cause in Cause::NAMES {
                by_cause.insert((outcome, cause), counter(&[outcome, cause]));
            }
            for (index, limit) in config.limits.iter().enumerate() {
                let name = ["limit", limit.name.as_str(), outcome];
                by_limit.insert((outcome, index), counter(&name));
            }
            for (index, integration) in config.integrations.iter().enumerate() {
                let name = ["integration", integration.name.as_str(), outcome];
                by_integration.insert((outcome, index), counter(&name));
            }
        }
        let profile_of = |one: &Integration| Some(one.signature.as_ref()?.profile);
        let profiles: Vec<_> = config.integrations.iter().map(profile_of).collect();
        let mut signatures = Sorted::default();
        for profile in profiles.iter().flatten() {
            for result in ["verified", TOO_LARGE].into_iter().chain(SignatureFailure::NAMES) {
                let name = ["signature", profile.as_str(), result];
                signatures.insert((*profile, result), counter(&name));
            }
        }
        let mut push = Sorted::default();
        for name in PUSH {
            push.insert(name, counter(&["push", name]));
        }
        Self {
            allowed: counter(&["allowed"]),
            repeated: counter(&["repeated"]),
            decision_ns: host::histogram(&format!("{prefix}.decision_ns")),
            untimed: Cell::new(0),
            by_cause,
            by_limit,
            by_integration,
            profiles,
            by_reason: RefCell::default(),
            signatures,
            skew_ms: RefCell::default(),
            recorded: RefCell::default(),
            push,
            unsent: RefCell::default(),
            prefix: prefix.clone(),
        }
    }

    /// When a request's headers came, if it is one of those that are timed.
    pub(crate) fn start_timing(&self) -> Option<MonotonicNanos> {
        let untimed = self.untimed.get();
        self.untimed.set((untimed + 1) % TIMED_EVERY);
        (untimed == 0).then(|| HostClock.monotonic())
    }

    /// Records how long the filter took over a request's headers.
    pub(crate) fn end_timing(&self, started: Option<MonotonicNanos>) {
        if let Some((metric, started)) = self.decision_ns.zip(started) {
            host::record(metric, HostClock.monotonic().saturating_sub(started));
        }
    }

    /// Counts what came of a request.
    pub(crate) fn count_decision(&self, decision: &Decision) {
        match &decision.verdict {
            Verdict::Allow => self.add(self.allowed, 1),
            Verdict::Deny(denial) => self.count_rule("denied", denial, decision.integration),
        }
        for Note { denial, why } in &decision.notes {
            let outcome = match why {
                Why::Shadow => "would_deny",
                Why::FailOpen => "failed_open",
            };
            self.count_rule(outcome, denial, decision.integration);
        }
        if let Some(verified) = &decision.verified {
            self.count_signature(verified.profile, "verified");
            self.record_skew(verified);
        }
    }

    /// Counts a request that the same gate has decided before in its chain of filters.
    pub(crate) fn count_repeated(&self) {
        self.add(self.repeated, 1);
    }

    fn count_signature(&self, profile: Profile, result: &'static str) {
        self.add(self.signatures.get(&(profile, result)), 1);
    }

    fn record_skew(&self, verified: &Verified) {
        let Some(skew_ms) = verified.skew_ms else { return };
        let Ok(mut known) = self.skew_ms.try_borrow_mut() else { return };
        let mut metric = known.get(&verified.key_id);
        if metric.is_none() && known.len() < KEY_IDS_MAX {
            let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let id = verified.key_id.as_str();
            let id: String = id.chars().map(|c| if in_name(c) { c } else { '_' }).collect();
            metric = host::histogram(&format!("{}.signature.skew_ms.{id}", self.prefix));
            known.insert(verified.key_id.clone(), metric);
        }
        let is_due = |metric: &u32| add_up(&self.recorded, *metric, 1) <= SKEWS_PER_TICK;
        if let Some(metric) = metric.filter(is_due) {
            host::record(metric, skew_ms.unsigned_abs());
        }
    }

    fn count_rule(&self, outcome: &'static str, denial: &Denial, integration: Option<usize>) {
        if let Some(index) = integration.filter(|_| denial.cause.is_of_integration()) {
            self.add(self.by_integration.get(&(outcome, index)), 1);
        }
        let profile = integration.and_then(|index| *self.profiles.get(index)?);
        match &denial.cause {
            Cause::Signature { profile, failure, .. } => {
                self.count_signature(*profile, failure.as_str());
            }
            Cause::BodyTooLarge => {
                profile.into_iter().for_each(|profile| self.count_signature(profile, TOO_LARGE));
            }
            _ => {}
        }
        self.add(self.by_cause.get(&(outcome, denial.cause.as_str())), 1);
        if let Some(index) = denial.cause.limit() {
            self.add(self.by_limit.get(&(outcome, index)), 1);
        }
        if let Cause::Block { reason, .. } = &denial.cause {
            self.add(self.reason(outcome, reason), 1);
        }
    }

    fn reason(&self, outcome: &'static str, reason: &Name) -> Option<u32> {
        let mut known = self.by_reason.try_borrow_mut().ok()?;
        let known_as = |known: &(&'static str, Name)| (known.0, &known.1).cmp(&(outcome, reason));
        if let Some(metric) = known.find(known_as) {
            return Some(metric);
        }
        let has_room = known.len() < REASONS_MAX;
        let shown = if has_room { reason.as_str() } else { "other" };
        let metric = counter(&self.prefix, &["block", shown, outcome]);
        if has_room {
            known.insert((outcome, reason.clone()), metric);
        }
        metric
    }

    /// Counts that this VM polls from now on.
    pub(crate) fn count_lease_taken(&self) {
        self.add(self.push.get(&"lease_taken"), 1);
    }

    /// Counts keys that were handed out, and will not be tried.
    pub(crate) fn count_left_out(&self, keys: usize) {
        self.add(self.push.get(&"keys_left_out"), keys);
    }

    /// Counts what an answer to a poll brought.
    pub(crate) fn count_push(&self, answer: &Result<Report, Failure>) {
        let push = |name: &'static str, by: usize| self.add(self.push.get(&name), by);
        match answer {
            Ok(Report { is_superseded: true, .. }) => push("superseded", 1),
            Ok(report) => {
                push("batches", 1);
                push("changes", report.changes);
                push("urgent", report.urgent);
                push("checked", report.checked);
                push("repaired", report.repaired);
                push("refused", report.refused);
                push("snapshots", usize::from(report.is_snapshot));
            }
            Err(_) => push("failed", 1),
        }
    }

    /// Notes it for [`Metrics::flush`].
    fn add(&self, metric: Option<u32>, by: usize) {
        if let Some(metric) = metric.filter(|_| by > 0) {
            add_up(&self.unsent, metric, by);
        }
    }

    /// Tells the proxy what was counted since the last time.
    pub(crate) fn flush(&self) {
        if let Ok(mut recorded) = self.recorded.try_borrow_mut() {
            recorded.clear();
        }
        let Ok(mut unsent) = self.unsent.try_borrow_mut() else { return };
        for (metric, count) in unsent.drain(..) {
            host::count(metric, count);
        }
    }
}

/// Adds to what a list has for a metric: how much it is then.
fn add_up(list: &RefCell<Vec<(u32, usize)>>, metric: u32, by: usize) -> usize {
    let Ok(mut list) = list.try_borrow_mut() else { return by };
    if let Some((_, count)) = list.iter_mut().find(|(known, _)| *known == metric) {
        *count = count.saturating_add(by);
        return *count;
    }
    list.push((metric, by));
    by
}

/// Defines the counter whose name has these parts.
fn counter(prefix: &Name, parts: &[&str]) -> Option<u32> {
    host::counter(&format!("{prefix}.{}", parts.join(".")))
}
