//! What one worker reports of what was taken from the fleet's buckets, and what it does with the answers.
//!
//! A call has what is due, at most [`FLEET_REPORTS_MAX`] reports. One call is under way at a time, and calls are 5 ms
//! apart. A report stands in its replica until it is answered, so that any worker can send it again: after a
//! call that failed, and after the worker that had sent it is gone.

use std::collections::HashMap;
use std::time::Duration;

use fleet::bounds::Budget;
use fleet::replica::due::{Due, Outgoing, Overdue};
use fleet::replica::{Heard, Replica, Told};
use fleet::terms::Terms;
use fleet::wire::Answer;
use model::bucket::Bucket;
use model::memory::SharedMemory;
use model::push::{FLEET_REPORTS_MAX, FleetReport, FleetReports, PROTOCOL};
use model::time::MonotonicNanos;

use super::call::{boot, read, report};
use super::change::{change_at, epoch};
use super::link;
use super::memo::{FleetMemo, Look};
use crate::config::{Config, Limit};
use crate::slab::replicas::BucketKey;

/// The shortest time between two calls.
pub const CALL_GAP: Duration = Duration::from_millis(5);

/// How long after a call that failed comes the next.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long after the last one a node that is cut off asks whether it still is, if it has nothing to report.
const PROBE_AFTER: Duration = Duration::from_millis(500);

/// Most buckets that are looked at for one call: some have nothing to report.
const LOOKS_PER_CALL_MAX: usize = 4 * FLEET_REPORTS_MAX;

/// The side of one worker that reports.
#[derive(Debug)]
pub struct Reporter {
    /// Random: what this worker's reports have in common, and no other worker's have.
    tag: u32,
    serial: u32,
    /// What of the first sights of each limit may be reported, by the limit's index: as all workers of the node have left it.
    first_sights: Vec<Option<Budget>>,
    under_way: Option<Call>,
    /// When it was last asked whether the node is still cut off.
    probed_at: MonotonicNanos,
}

/// A call that has no answer yet.
#[derive(Debug)]
struct Call {
    sent_at: MonotonicNanos,
    reports: Vec<(u64, Look)>,
}

/// Where replicas are, and whose limits they are of.
#[derive(Debug)]
pub struct Place<'a, S> {
    /// What the worker's requests are decided by.
    pub config: &'a Config,
    /// The memory of the node.
    pub shared: &'a mut S,
    /// What the worker remembers.
    pub memo: &'a mut FleetMemo,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Reports that were answered.
    pub answered: usize,
    /// Buckets of which Redis had less than the node knew.
    pub behind: usize,
}

/// What a call says, and what was given up meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Called {
    /// Send this; nothing if nothing is due.
    pub reports: Option<FleetReports>,
    /// Tokens in reports that will not be sent any more.
    pub given_up: u64,
}

impl Reporter {
    /// One that has not reported anything. `tag` is random.
    #[must_use]
    pub fn new(config: &Config, tag: u32) -> Self {
        let first_sights = vec![None; config.limits.len()];
        Self { tag, serial: 0, first_sights, under_way: None, probed_at: 0 }
    }

    /// What is to be sent now.
    pub fn call(
        &mut self,
        place: &mut Place<'_, impl SharedMemory>,
        (node, boot_id): (&str, &str),
        now: MonotonicNanos,
    ) -> Called {
        let mut called = Called::default();
        if !place.memo.may_call(now) {
            return called;
        }
        place.memo.refresh(place.shared);
        // Without the fleet's key there is nothing to call its buckets by.
        let Some(key_version) = place.memo.get(place.shared).key.as_ref().map(|key| key.0) else {
            if place.memo.next_at().is_some() {
                place.memo.call_again_at(Some(now.saturating_add(nanos(RETRY_AFTER))));
            }
            return called;
        };
        let mut found =
            Collected { reports_max: place.memo.reports_max(now), ..Collected::default() };
        self.collect(place, now, &mut found);
        let Collected { reports, sent, waits, given_up, .. } = found;
        waits.into_iter().for_each(|look| place.memo.note(look));
        called.given_up = given_up;
        if given_up > 0 {
            link::note_given_up(place.shared, given_up);
        }
        if reports.is_empty() && !self.is_to_probe(place.memo, now) {
            return called;
        }
        link::note_sent(place.shared, &self.budgets(place.config), now);
        place.memo.call_again_at(None);
        self.under_way = Some(Call { sent_at: now, reports: sent });
        called.reports = Some(FleetReports {
            protocol: PROTOCOL,
            node: node.to_owned(),
            boot_id: boot_id.to_owned(),
            key_version,
            boot: boot(boot_id),
            reports,
        });
        called
    }

    /// Looks at buckets until a call is full: first at those that the node knows, then at those that it sees for the
    /// first time, as far as the budget of their limit goes.
    fn collect(
        &mut self,
        place: &mut Place<'_, impl SharedMemory>,
        now: MonotonicNanos,
        found: &mut Collected,
    ) {
        self.read_budgets(place);
        while found.has_room() {
            let Some(look) = place.memo.pop(now) else { break };
            self.take_up(place, look, now, found);
        }
        for limit in 0..place.config.limits.len() {
            while found.has_room() {
                let budget = self.first_sights.get(limit).copied().flatten();
                let from = budget.map_or(now, |budget| budget.next_at(now));
                if from > now {
                    place.memo.wait_for_budget(limit, from);
                    break;
                }
                let Some(look) = place.memo.pop_first_sight(limit, now) else { break };
                self.take_up(place, look, now, found);
            }
        }
    }

    fn take_up(
        &mut self,
        place: &mut Place<'_, impl SharedMemory>,
        look: Look,
        now: MonotonicNanos,
        found: &mut Collected,
    ) {
        found.looked_at = found.looked_at.saturating_add(1);
        let Some((limit, terms)) = limit_of(place.config, &look) else { return };
        let later = |at| Look { at, is_first_sight: false, ..look };
        match self.look(place, &look, &terms, now) {
            Found::Nothing => {}
            Found::Later(at) => found.waits.push(later(at)),
            Found::GivenUp(tokens) => {
                found.given_up = found.given_up.saturating_add(tokens.into());
                found.waits.push(later(now.saturating_add(nanos(RETRY_AFTER))));
            }
            Found::Send(outgoing) => {
                found.sent.push((outgoing.serial, look));
                found.reports.push(report(limit, &look, &terms, outgoing));
                // Should the call that has it fail.
                found.waits.push(later(now.saturating_add(nanos(RETRY_AFTER))));
            }
        }
    }

    /// Takes over what the node has left of the budgets for first sights.
    fn read_budgets(&mut self, place: &mut Place<'_, impl SharedMemory>) {
        let known = &place.memo.get(place.shared).first_sights;
        let budget = |limit: &Limit| {
            let left = known.get(&limit.id).copied().unwrap_or_default();
            Some(Budget::new(limit.fleet?.first_sights).used(left))
        };
        self.first_sights = place.config.limits.iter().map(budget).collect();
    }

    /// What is left of them now, by the fingerprints of the limits.
    fn budgets(&self, config: &Config) -> HashMap<u32, Bucket> {
        let all = config.limits.iter().zip(&self.first_sights);
        all.filter_map(|(limit, budget)| Some((limit.id, (*budget)?.bucket()))).collect()
    }

    /// Whether to call without a report. A node that is cut off has perhaps nothing to report, and lets nothing
    /// through that could be: it has to find out that it is back all the same.
    fn is_to_probe(&mut self, memo: &FleetMemo, now: MonotonicNanos) -> bool {
        let is_to_probe =
            memo.waits_too_long(now) && now.saturating_sub(self.probed_at) >= nanos(PROBE_AFTER);
        if is_to_probe {
            self.probed_at = now;
        }
        is_to_probe
    }

    /// What is to be done about one bucket.
    fn look(
        &mut self,
        place: &mut Place<'_, impl SharedMemory>,
        look: &Look,
        terms: &Terms,
        now: MonotonicNanos,
    ) -> Found {
        let serial = u64::from(self.tag) << 32 | u64::from(self.serial);
        self.serial = self.serial.wrapping_add(1);
        let budget = self.first_sights.get(look.limit).copied().flatten();
        let has_budget = budget.is_none_or(|budget| budget.next_at(now) <= now);
        let is_lost = place.memo.waits_too_long(now);
        let lost_until = place.memo.get(place.shared).lost_until;
        let found = change(place, look, now, |replica| {
            if let Some(at) = replica.overdue_at() {
                return match replica.overdue(now) {
                    None => ((Found::Later(at), false), false),
                    Some(Overdue::Again(outgoing)) => ((Found::Send(outgoing), false), true),
                    Some(Overdue::GivenUp(tokens)) => ((Found::GivenUp(tokens), false), true),
                };
            }
            let before = replica.unreported();
            if is_lost || replica.reported_at() < lost_until {
                replica.settle(terms, now);
            }
            let is_settled = replica.unreported() != before;
            let Some((due_at, why)) = replica.due_at(terms) else {
                return ((Found::Nothing, false), is_settled);
            };
            let is_first_sight = why == Due::FirstSight;
            if due_at > now {
                let at = replica.goes_at(terms, now).map_or(due_at, |(at, _)| at);
                return ((Found::Later(at), false), is_settled);
            }
            if is_first_sight && !has_budget {
                let at = now.saturating_add(nanos(RETRY_AFTER));
                return ((Found::Later(at), false), is_settled);
            }
            match replica.report(serial, terms, now) {
                Some(outgoing) => ((Found::Send(outgoing), is_first_sight), true),
                None => ((Found::Nothing, false), is_settled),
            }
        });
        let Some((found, is_first_sight)) = found else { return Found::Nothing };
        if let Some(Some(budget)) = self.first_sights.get_mut(look.limit).filter(|_| is_first_sight)
        {
            budget.use_one(now);
        }
        found
    }

    /// The answer has come to the call that is under way; nothing if there was none that can be used. Says what it
    /// has taught.
    ///
    /// # Errors
    /// It is no answer to this call. What was reported is reported again.
    pub fn on_answer(
        &mut self,
        answer: Option<&[u8]>,
        place: &mut Place<'_, impl SharedMemory>,
        now: MonotonicNanos,
    ) -> Result<Outcome, Malformed> {
        let Some(Call { sent_at, reports }) = self.under_way.take() else {
            return Ok(Outcome::default());
        };
        place.memo.call_again_at(Some(sent_at.saturating_add(nanos(CALL_GAP))));
        let answers = match answer.map(|body| read(body, &reports)) {
            Some(Some(answers)) => answers,
            read => {
                place.memo.call_again_at(Some(now.saturating_add(nanos(RETRY_AFTER))));
                return if read.is_some() { Err(Malformed) } else { Ok(Outcome::default()) };
            }
        };
        let mut outcome = Outcome { answered: reports.len(), ..Outcome::default() };
        for ((serial, look), answer) in reports.iter().zip(&answers.answers) {
            let Some((_, terms)) = limit_of(place.config, look) else { continue };
            let epoch = epoch(answer.epoch.as_ref());
            let told = Told {
                answer: Answer { epoch, remaining_us: answer.remaining_us },
                as_of: sent_at,
            };
            let heard = change(place, look, now, |replica| {
                let heard = replica.answered(*serial, told, &terms, now);
                ((heard, replica.goes_at(&terms, now).map(|(at, _)| at)), true)
            });
            let Some((heard, goes_at)) = heard else { continue };
            if heard == Heard::Behind {
                outcome.behind = outcome.behind.saturating_add(1);
            }
            if let Some(at) = goes_at {
                place.memo.note(Look { at, is_first_sight: false, ..*look });
            }
        }
        let behind = u64::try_from(outcome.behind).unwrap_or(u64::MAX);
        link::note_answered(place.shared, (answers.fleet_nodes, behind), now);
        place.memo.refresh(place.shared);
        Ok(outcome)
    }
}

/// The answer is none to what was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What goes into a call.
#[derive(Debug, Default)]
struct Collected {
    reports_max: usize,
    looked_at: usize,
    reports: Vec<FleetReport>,
    /// The serial numbers of the reports, and what they are of.
    sent: Vec<(u64, Look)>,
    /// What is to be looked at again.
    waits: Vec<Look>,
    given_up: u64,
}

impl Collected {
    fn has_room(&self) -> bool {
        self.looked_at < LOOKS_PER_CALL_MAX && self.reports.len() < self.reports_max
    }
}

/// What a look at a bucket has found.
enum Found {
    Nothing,
    Later(MonotonicNanos),
    Send(Outgoing),
    GivenUp(u32),
}

/// The limit that a look is about, by its fingerprint, and what it is to the fleet.
fn limit_of(config: &Config, look: &Look) -> Option<(u32, Terms)> {
    let limit = config.limits.get(look.limit)?;
    Some((limit.id, super::terms(limit, look.rate)?))
}

/// Changes the replica of a bucket that this worker has in mind.
fn change<T>(
    place: &mut Place<'_, impl SharedMemory>,
    look: &Look,
    now: MonotonicNanos,
    step: impl FnMut(&mut Replica) -> (T, bool),
) -> Option<T> {
    let limit = place.config.limits.get(look.limit)?;
    let key = BucketKey { subject: look.subject, limit: limit.id, rate: look.rate.tag() };
    let room = place.config.storage.slab_bytes_max;
    change_at(place.shared, place.config, (&key, room), now, step)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
