//! All subjects of a request: every one is looked at before anything is taken from any.

use model::bucket::Quota;
use model::hash::SubjectHash;
use model::memory::{ATTEMPTS_MAX, Mark, MemoryKey, SharedMemory};
use model::time::Clock;

use super::cause::Cause;
use super::decision::{Decision, Denial};
use super::evaluate::Evaluation;
use super::fleet::FleetLook;
use super::plan::{Plan, Plans};
use super::{Context, Gate};
use crate::config::Groups;

/// A subject, and what was found when its slab was read.
pub(super) struct Look<'a> {
    pub(super) plan: Plan<'a>,
    mark: Mark,
    pub(super) evaluation: Evaluation,
    /// The fleet's buckets of the subject. None is looked at once the subject is rejected.
    pub(super) fleet: Vec<FleetLook<'a>>,
}

impl Look<'_> {
    /// What rejects the request.
    pub(super) fn denials(&self) -> impl Iterator<Item = &Denial> {
        let of_fleet = self.fleet.iter().map(|look| &look.evaluation);
        let all = std::iter::once(&self.evaluation).chain(of_fleet);
        all.filter_map(|evaluation| evaluation.denial.as_ref())
    }
}

impl Gate {
    /// Looks at every subject, and takes nothing yet.
    pub(super) fn look<'a>(
        &self,
        plans: Plans<'a>,
        groups: Groups,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) -> Vec<Look<'a>> {
        plans.0.into_iter().map(|plan| self.look_at(plan, groups, context)).collect()
    }

    fn look_at<'a>(
        &self,
        plan: Plan<'a>,
        groups: Groups,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) -> Look<'a> {
        let (mut mark, mut evaluation) = (Mark::Absent, Evaluation::default());
        // Of a subject without anything but limits of the fleet nothing stands there.
        if plan.has_status || !plan.limits.is_empty() {
            let slab;
            (slab, mark) = context.shared.read(self.slab(plan.hash));
            evaluation = self.evaluate(&plan, slab.as_deref(), groups, context.clock);
            slab.into_iter().for_each(|slab| context.shared.give_back(slab));
        }
        let mut fleet = Vec::new();
        if evaluation.denial.is_none() {
            let about = evaluation.about(plan.hash, groups);
            fleet.extend(plan.fleet.iter().map(|one| self.look_fleet(*one, about, context)));
        }
        Look { plan, mark, evaluation, fleet }
    }

    pub(super) fn slab(&self, hash: SubjectHash) -> MemoryKey {
        MemoryKey::Slab(hash.slab(self.config.storage.slabs))
    }

    /// Takes a token from every bucket, if nothing rejects.
    pub(super) fn take_all(
        &self,
        looks: Vec<Look<'_>>,
        groups: Groups,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        let denials = looks.iter().flat_map(Look::denials);
        if let Some(denial) = denials.min_by_key(|denial| denial.rank()).cloned() {
            for Look { plan, mark, evaluation, fleet } in looks {
                // If another worker is faster, the next request does this again.
                if let (Some(_), Some(slab)) = (evaluation.denial, evaluation.write) {
                    let _ = context.shared.write(self.slab(plan.hash), &slab, mark);
                }
                decision.notes.extend(evaluation.notes);
                decision.notes.extend(fleet.into_iter().flat_map(|one| one.evaluation.notes));
            }
            return Err(denial);
        }
        for Look { plan, mark, evaluation, fleet } in looks {
            let evaluation =
                self.take_one((&plan, groups), (mark, evaluation), context, decision)?;
            for one in fleet {
                let about = evaluation.about(plan.hash, groups);
                let taken = self.take_fleet(one, about, context, decision)?;
                decision.notes.extend(taken.notes);
                add_quotas(&mut decision.quotas, taken.quotas);
            }
            decision.notes.extend(evaluation.notes);
            add_quotas(&mut decision.quotas, evaluation.quotas);
        }
        Ok(())
    }

    /// Takes the tokens of one subject that were looked at.
    fn take_one(
        &self,
        (plan, groups): (&Plan<'_>, Groups),
        (mut mark, mut evaluation): (Mark, Evaluation),
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        decision: &mut Decision,
    ) -> Result<Evaluation, Denial> {
        let key = self.slab(plan.hash);
        let mut attempts = ATTEMPTS_MAX;
        while let Some(slab) = evaluation.write.take() {
            if context.shared.write(key, &slab, mark).is_ok() {
                context.shared.give_back(slab);
                break;
            }
            attempts = attempts.saturating_sub(1);
            if attempts == 0 {
                let policy = &self.config.fail_policy;
                decision.fail(Cause::Contention, policy.contention, policy.shadow)?;
                break;
            }
            let (slab, present) = context.shared.read(key);
            mark = present;
            evaluation = self.evaluate(plan, slab.as_deref(), groups, context.clock);
            if let Some(denial) = evaluation.denial {
                return Err(denial);
            }
        }
        Ok(evaluation)
    }
}

/// Adds what is left in the buckets of limits, by the limits' indexes. Of several buckets of one limit,
/// the emptiest counts. There are few, and sorting them would be more code than all of this file.
fn add_quotas(all: &mut Vec<(usize, Quota)>, more: Vec<(usize, Quota)>) {
    for (index, quota) in more {
        match all.binary_search_by_key(&index, |(known, _)| *known) {
            Err(place) => all.insert(place, (index, quota)),
            Ok(place) => {
                let known = all.get_mut(place).filter(|(_, it)| quota.remaining < it.remaining);
                if let Some((_, emptiest)) = known {
                    *emptiest = quota;
                }
            }
        }
    }
}
