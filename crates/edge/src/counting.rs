//! What is counted of what, and when the proxy is told.
//!
//! Telling the proxy costs more than many a decision, so counts go with the next tick. What a worker has
//! counted since its last one is lost if it traps.

use std::cell::RefCell;

use gate::decide::{Cause, Decision, Denial, Note, Verdict, Why};
use gate::node::{PollFailure, Report};
use model::name::Name;
use model::time::MonotonicNanos;
use signing::verify::Verified;
use signing::{CLOCK_SKEW, Profile};

use crate::call::Call;
use crate::host::{Host, Metric};
use crate::metrics::{FIRST_REJECTIONS, FIRST_REJECTIONS_LEFT_OUT, Names, TOO_LARGE};

/// Reasons that have counters of their own; all further ones are counted as `other`.
const REASONS_MAX: usize = 64;

/// One in so many requests is timed: reading the clock twice costs as much as a tenth of a decision.
const TIMED_EVERY: u32 = 64;

/// How many skews of one key id are recorded between two ticks. It takes as long as to read headers,
/// and a hundred a second from each VM tell as much as all.
const SKEWS_PER_TICK: usize = 4;

/// Key ids that have a histogram of their own; the skew of further ones is not recorded.
const KEY_IDS_MAX: usize = 256;

impl<H: Host> Call<'_, H> {
    /// When a request's headers came, if it is one of those that are timed.
    pub(crate) fn start_timing(self) -> Option<MonotonicNanos> {
        let untimed = self.worker.tally.untimed.get();
        self.worker.tally.untimed.set((untimed + 1) % TIMED_EVERY);
        (untimed == 0).then(|| self.host.monotonic())
    }

    /// Records how long the filter took over a request's headers.
    pub(crate) fn end_timing(self, started: Option<MonotonicNanos>) {
        if let Some((metric, started)) = self.plugin.metrics.decision_ns.zip(started) {
            self.host.record(metric, self.host.monotonic().saturating_sub(started));
        }
    }

    /// Counts what came of a request.
    pub(crate) fn count_decision(self, decision: &Decision) {
        match &decision.verdict {
            Verdict::Allow => self.add(self.plugin.metrics.allowed, 1),
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
            if verified.is_skewed && decision.verdict == Verdict::Allow {
                self.count_signature(verified.profile, CLOCK_SKEW);
            }
            self.record_skew(verified);
        }
    }

    /// Counts a request that the same gate has decided before in its chain of filters.
    pub(crate) fn count_repeated(self) {
        self.add(self.plugin.metrics.repeated, 1);
    }

    fn count_signature(self, profile: Profile, result: &'static str) {
        self.add(self.plugin.metrics.signatures.get(&(profile, result)), 1);
    }

    fn record_skew(self, verified: &Verified) {
        let Some(skew_ms) = verified.skew_ms else { return };
        let Ok(mut known) = self.worker.tally.skew_ms.try_borrow_mut() else { return };
        let mut metric = known.get(&verified.key_id);
        if metric.is_none() && known.len() < KEY_IDS_MAX {
            let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let id = verified.key_id.as_str();
            let id: String = id.chars().map(|c| if in_name(c) { c } else { '_' }).collect();
            let names = Names::new(&self.plugin.metrics.prefix);
            metric = self.host.histogram_of(&names.skew(), &id);
            known.insert(verified.key_id.clone(), metric);
        }
        let is_due =
            |metric: &Metric| add_up(&self.worker.tally.recorded, *metric, 1) <= SKEWS_PER_TICK;
        if let Some(metric) = metric.filter(is_due) {
            self.host.record(metric, skew_ms.unsigned_abs());
        }
    }

    fn count_rule(self, outcome: &'static str, denial: &Denial, integration: Option<usize>) {
        if let Some(index) = integration.filter(|_| denial.cause.is_of_integration()) {
            self.add(self.plugin.metrics.by_integration.get(&(outcome, index)), 1);
        }
        let profile = integration.and_then(|index| *self.plugin.metrics.profiles.get(index)?);
        match &denial.cause {
            Cause::Signature { profile, failure, .. } => {
                self.count_signature(*profile, failure.as_str());
            }
            Cause::BodyTooLarge => {
                profile.into_iter().for_each(|profile| self.count_signature(profile, TOO_LARGE));
            }
            _ => {}
        }
        self.add(self.plugin.metrics.by_cause.get(&(outcome, denial.cause.as_str())), 1);
        if let Some(index) = denial.cause.limit() {
            self.add(self.plugin.metrics.by_limit.get(&(outcome, index)), 1);
        }
        if let Cause::Block { reason, .. } = &denial.cause {
            self.add(self.reason(outcome, reason), 1);
        }
    }

    fn reason(self, outcome: &'static str, reason: &Name) -> Option<Metric> {
        let mut known = self.worker.tally.by_reason.try_borrow_mut().ok()?;
        let known_as = |known: &(&'static str, Name)| (known.0, &known.1).cmp(&(outcome, reason));
        if let Some(metric) = known.find(known_as) {
            return Some(metric);
        }
        let has_room = known.len() < REASONS_MAX;
        let shown = if has_room { reason.as_str() } else { "other" };
        let names = Names::new(&self.plugin.metrics.prefix);
        let metric = self.host.counter_of(&names.block(outcome), shown);
        if has_room {
            known.insert((outcome, reason.clone()), metric);
        }
        metric
    }

    /// Counts that this VM polls from now on.
    pub(crate) fn count_lease_taken(self) {
        self.add(self.plugin.metrics.push.get(&"lease_taken"), 1);
    }

    /// Counts keys that were handed out, and will not be tried.
    pub(crate) fn count_left_out(self, keys: usize) {
        self.add(self.plugin.metrics.push.get(&"keys_left_out"), keys);
    }

    /// Counts a stream that was ended, or would have been.
    pub(crate) fn count_stream(self, name: &'static str) {
        self.add(self.plugin.metrics.streams.get(&name), 1);
    }

    fn count_fleet(self, name: &'static str, by: usize) {
        self.add(self.plugin.metrics.fleet.get(&name), by);
    }

    /// Counts reports of what was taken from the fleet's buckets, as they are sent.
    pub(crate) fn count_reports(self, reports: usize) {
        self.count_fleet("reports", reports);
    }

    /// Counts reports that were answered, and buckets of which less was known then than here.
    pub(crate) fn count_answers(self, answers: usize, behind: usize) {
        self.count_fleet("answers", answers);
        self.count_fleet("behind", behind);
    }

    /// Counts tokens in reports that will not be sent any more.
    pub(crate) fn count_given_up(self, tokens: u64) {
        self.count_fleet("given_up", usize::try_from(tokens).unwrap_or(usize::MAX));
    }

    /// Counts a call with reports that has brought no answer.
    pub(crate) fn count_failed_reports(self) {
        self.count_fleet("failed", 1);
    }

    /// Counts requests that were decided while nothing was heard of the fleet.
    pub(crate) fn count_cut_off(self, requests: usize) {
        self.count_fleet("cut_off", requests);
    }

    /// Counts first rejections: those that are noted, and those that are left out.
    pub(crate) fn count_first_rejections(self, noted: usize, left_out: usize) {
        self.add(self.plugin.metrics.push.get(&FIRST_REJECTIONS), noted);
        self.add(self.plugin.metrics.push.get(&FIRST_REJECTIONS_LEFT_OUT), left_out);
    }

    /// Counts what an answer to a poll brought.
    pub(crate) fn count_push(self, answer: &Result<Report, PollFailure>) {
        let push =
            |name: &'static str, by: usize| self.add(self.plugin.metrics.push.get(&name), by);
        match answer {
            Ok(Report { is_superseded: true, .. }) => push("superseded", 1),
            Ok(report) => {
                push("batches", 1);
                push("changes", report.changes);
                push("urgent", report.urgent);
                push("checked", report.checked);
                push("repaired", report.repaired);
                push("refused", report.refused);
                push(FIRST_REJECTIONS_LEFT_OUT, report.unawaited);
                push("snapshots", usize::from(report.is_snapshot));
                self.count_fleet("news", report.news);
            }
            Err(_) => push("failed", 1),
        }
    }

    /// Notes it for [`Call::flush`].
    fn add(self, metric: Option<Metric>, by: usize) {
        let Some(metric) = metric.filter(|_| by > 0) else { return };
        if self.host.counts_at_once(metric) {
            self.host.count(metric, by);
        } else {
            add_up(&self.worker.tally.unsent, metric, by);
        }
    }

    /// Tells the proxy what was counted since the last time.
    pub(crate) fn flush(self) {
        if let Ok(mut recorded) = self.worker.tally.recorded.try_borrow_mut() {
            recorded.clear();
        }
        let Ok(mut unsent) = self.worker.tally.unsent.try_borrow_mut() else { return };
        for (metric, count) in unsent.drain(..) {
            self.host.count(metric, count);
        }
    }
}

/// Adds to what a list has for a metric: how much it is then.
fn add_up(list: &RefCell<Vec<(Metric, usize)>>, metric: Metric, by: usize) -> usize {
    let Ok(mut list) = list.try_borrow_mut() else { return by };
    if let Some((_, count)) = list.iter_mut().find(|(known, _)| *known == metric) {
        *count = count.saturating_add(by);
        return *count;
    }
    list.push((metric, by));
    by
}
