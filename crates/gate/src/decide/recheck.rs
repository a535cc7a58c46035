//! A request that was held for its body, or that is open, once more: what became known of its subjects meanwhile.
//!
//! A body takes as long as its sender likes. What was acknowledged as enforced while it came must hold
//! for the request, since nothing of it has reached the upstream yet.

use model::hash::SubjectHash;
use model::memory::SharedMemory;
use model::time::Clock;

use super::decision::{Decision, Denial, Note, Verdict, Why};
use super::evaluate::{Evaluation, Known, status, zero_denial};
use super::take::Look;
use super::watched::Watched;
use super::{Context, Freshness, Gate};
use crate::config::{Groups, LIMITS_MAX};
use crate::slab;

/// What has to be looked at once more.
#[derive(Debug)]
pub(super) struct Recheck {
    /// Whom events can name, each with its limits: a bit for each, by its index.
    subjects: Vec<(SubjectHash, u32)>,
    groups: Groups,
    freshness: Freshness,
}

impl Recheck {
    pub(super) fn new(looks: &[Look<'_>], groups: Groups, freshness: Freshness) -> Self {
        let mut subjects = Vec::with_capacity(looks.len());
        for look in looks.iter().filter(|look| look.plan.has_status) {
            let own = look.plan.limits.iter().map(|(index, _)| *index);
            let limits = own.chain(look.plan.fleet.iter().map(|one| one.index));
            let limits = limits.fold(0, |bits, index| bits | bit(index));
            subjects.push((look.plan.hash, limits));
        }
        Self { subjects, groups, freshness }
    }
}

/// There are [`LIMITS_MAX`] limits at most.
fn bit(index: usize) -> u32 {
    const { assert!(LIMITS_MAX <= u32::BITS as usize) };
    u32::try_from(index).ok().and_then(|index| 1u32.checked_shl(index)).unwrap_or(0)
}

impl Gate {
    /// Freshness, blocks, and zeros. Tokens that the request has taken it keeps.
    pub(super) fn recheck(
        &self,
        recheck: &Recheck,
        freshness: Freshness,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        // What was decided on less than fresh knowledge was noted then.
        if recheck.freshness == Freshness::Fresh {
            self.check_freshness(freshness, recheck.groups, decision)?;
        }
        let mut found = Evaluation::default();
        for (hash, limits) in &recheck.subjects {
            let (slab, _) = context.shared.read(self.slab(*hash));
            let entry = slab::find(slab.as_deref(), *hash).map_err(|_| ());
            match entry.and_then(status) {
                Ok(None) => {}
                Ok(Some(state)) => {
                    let wall = context.clock.wall();
                    let groups = recheck.groups;
                    let known = Known { hash: *hash, state: &state, groups, wall };
                    self.check_status(known, &mut found);
                    self.check_emptied(known, *limits, context.clock, &mut found);
                }
                Err(()) => found.fail_unreadable(&self.config.fail_policy),
            }
        }
        for note in found.notes {
            let is_same = |known: &Note| {
                known.denial.cause.as_str() == note.denial.cause.as_str()
                    && known.denial.event == note.denial.event
            };
            if !decision.notes.iter().any(is_same) {
                decision.notes.push(note);
            }
        }
        found.denial.map_or(Ok(()), Err)
    }

    /// Whether an open request has to end by now: then the verdict denies it. What only counts is in the notes.
    pub fn look_again(
        &self,
        watched: &Watched,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) -> Decision {
        let mut found = Evaluation::default();
        for hash in watched.subjects() {
            let (slab, _) = context.shared.read(self.slab(*hash));
            let entry = slab::find(slab.as_deref(), *hash).map_err(|_| ());
            // What cannot be read says nothing of this request.
            let Ok(Some(state)) = entry.and_then(status) else { continue };
            let wall = context.clock.wall();
            let known = Known { hash: *hash, state: &state, groups: watched.groups(), wall };
            self.check_status(known, &mut found);
        }
        let Evaluation { denial, notes, .. } = found;
        let mut decision = Decision { notes, ..Decision::default() };
        match denial {
            Some(denial) if self.config.open_streams.shadow => {
                decision.notes.push(Note { denial, why: Why::Shadow });
            }
            Some(denial) => decision.verdict = Verdict::Deny(denial),
            None => {}
        }
        decision
    }

    /// Zeros that have emptied a bucket whose token the request has.
    fn check_emptied(
        &self,
        known: Known<'_>,
        limits: u32,
        clock: &impl Clock,
        found: &mut Evaluation,
    ) {
        let now = clock.monotonic();
        let numbered = self.config.limits.iter().enumerate();
        for (index, limit) in numbered.filter(|(index, _)| limits & bit(*index) != 0) {
            let rate = known.state.rate_for(&limit.name, known.wall).unwrap_or(limit.rate);
            if let Some((emptied, id)) = self.zeroed(known, &rate, now)
                && let Err(quota) = emptied.take(&rate, now)
            {
                let shadow = self.config.blocks_shadow || limit.shadow;
                found.reject(zero_denial(index, id, quota), shadow);
            }
        }
    }
}
