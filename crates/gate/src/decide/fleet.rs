//! Limits that hold for the whole fleet, as one request meets them: it takes from this node's replica of the fleet's
//! bucket, and asks nobody.

use std::time::Duration;

use fleet::epoch::{Begins, Epoch};
use fleet::loss::Link;
use fleet::replica::{Refusal, Replica};
use fleet::terms::Terms;
use model::bucket::{Bucket, Quota};
use model::hash::SubjectHash;
use model::memory::{ATTEMPTS_MAX, Mark, MemoryKey, SharedMemory};
use model::name::EventId;
use model::state::{Effect, Scope, State};
use model::time::{Clock, MonotonicNanos, UnixMicros};

use super::cause::Cause;
use super::decision::{Decision, Denial};
use super::evaluate::{About, Evaluation, Known, zero_denial};
use super::plan::FleetPlan;
use super::{Context, Gate};
use crate::config::Limit;
use crate::fleet::memo::{self, Look as Reminder};
use crate::slab::RETENTION;
use crate::slab::replicas::{self, BucketKey, NoRoom};

/// One bucket of the fleet, and what was found when its slab was read.
pub(super) struct FleetLook<'a> {
    plan: FleetPlan<'a>,
    terms: Terms,
    mark: Mark,
    pub(super) evaluation: Evaluation,
    /// When the worker has to look at it once it is written.
    due_at: Option<(MonotonicNanos, bool)>,
}

/// What a bucket has begun anew with, how, and how long ago.
type Beginning = ((Epoch, Begins), Duration);

impl Gate {
    /// Looks at one bucket of the fleet, and takes nothing yet.
    pub(super) fn look_fleet<'a>(
        &self,
        plan: FleetPlan<'a>,
        about: About<'_>,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) -> FleetLook<'a> {
        let (slab, mark) = context.shared.read(self.fleet_slab(plan.subject));
        let changed = about.state.and_then(|state| state.rate_for(&plan.limit.name, about.wall));
        let rate = changed.unwrap_or(plan.limit.rate);
        let terms = Terms { rate, debt: plan.fleet.debt };
        let evaluation = Evaluation::default();
        let mut look = FleetLook { plan, terms, mark, evaluation, due_at: None };
        self.evaluate_fleet(&mut look, slab.unwrap_or_default(), about, context);
        look
    }

    fn fleet_slab(&self, subject: SubjectHash) -> MemoryKey {
        MemoryKey::FleetSlab(subject.slab(self.config.storage.slabs))
    }

    fn evaluate_fleet(
        &self,
        look: &mut FleetLook<'_>,
        slab: Vec<u8>,
        about: About<'_>,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) {
        let FleetPlan { index, limit, fleet, subject } = look.plan;
        let (terms, policy) = (&look.terms, &self.config.fail_policy);
        let found = &mut look.evaluation;
        *found = Evaluation::default();
        // Read after the slab, as for other buckets.
        let now = context.clock.monotonic();
        let key = BucketKey { subject, limit: limit.id, rate: terms.rate.tag() };
        let Ok((place, mut replica)) = replicas::find(&slab, &key) else {
            return found.fail_unreadable(policy);
        };
        replica.forget(now);
        let felt = self.begin(&mut replica, terms, about, now);
        let before = replica.unreported();
        let link = context.worker.fleet.link(fleet.on_loss, now);
        if link != Link::Up {
            context.worker.fleet.count_cut_off();
        }
        match replica.take(1, terms, link, now) {
            Ok(quota) => found.quotas.push((index, quota)),
            Err(refusal) => {
                let denial = denial(refusal, index, terms, felt, now);
                return found.reject(denial, limit.shadow);
            }
        }
        let room = self.config.storage.slab_bytes_max;
        match replicas::put(slab, place, (&key, &replica), room, now) {
            Ok(slab) => found.write = Some(slab),
            Err(NoRoom) => return self.fail_fleet_room(limit, found),
        }
        look.due_at = memo::due_at(&replica, before, terms, now);
    }

    /// Answers for a limit without room for one more bucket.
    fn fail_fleet_room(&self, limit: &Limit, found: &mut Evaluation) {
        found.quotas.clear();
        self.fail_rooms(std::iter::once(limit), found);
    }

    /// Begins a bucket anew if an event has; says what a zero has left of it, if one did.
    fn begin<'a>(
        &self,
        replica: &mut Replica,
        terms: &Terms,
        about: About<'a>,
        now: MonotonicNanos,
    ) -> Option<(Bucket, (SubjectHash, &'a EventId))> {
        let About { hash, state, groups, wall } = about;
        let state = state.filter(|_| !self.config.blocks_shadow)?;
        if let Some((beginning, ago)) = beginning(state, wall, replica) {
            replica.begin(beginning, ago, terms, now);
        }
        let known = Known { hash, state, groups, wall };
        let zeroed = self.zeroed(known, &terms.rate, now)?;
        let is_for_some = state.zeros(wall).any(|(zero, _)| zero.scope != Scope::All);
        if is_for_some {
            // It has begun nothing anew. This node feels it, and reports what it takes.
            replica.raise_to(zeroed.0.full_at);
        }
        Some(zeroed)
    }

    /// Takes the tokens that were looked at.
    pub(super) fn take_fleet(
        &self,
        mut look: FleetLook<'_>,
        about: About<'_>,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        decision: &mut Decision,
    ) -> Result<Evaluation, Denial> {
        let at = self.fleet_slab(look.plan.subject);
        let mut attempts = ATTEMPTS_MAX;
        while let Some(slab) = look.evaluation.write.take() {
            if context.shared.write(at, &slab, look.mark).is_ok() {
                if let Some((at, is_first_sight)) = look.due_at {
                    let FleetPlan { subject, index: limit, .. } = look.plan;
                    let rate = look.terms.rate;
                    let reminder = Reminder { at, subject, limit, rate, is_first_sight };
                    context.worker.fleet.note(reminder);
                }
                break;
            }
            attempts = attempts.saturating_sub(1);
            if attempts == 0 {
                let policy = &self.config.fail_policy;
                decision.fail(Cause::Contention, policy.contention, policy.shadow)?;
                break;
            }
            let (slab, mark) = context.shared.read(at);
            look.mark = mark;
            self.evaluate_fleet(&mut look, slab.unwrap_or_default(), about, context);
            if let Some(denial) = look.evaluation.denial {
                return Err(denial);
            }
        }
        Ok(look.evaluation)
    }
}

fn denial(
    refusal: Refusal,
    index: usize,
    terms: &Terms,
    felt: Option<(Bucket, (SubjectHash, &EventId))>,
    now: MonotonicNanos,
) -> Denial {
    let limit = |quota: Quota| Denial {
        retry_after: Some(quota.reset),
        rate: Some(quota.rate),
        ..Denial::of(Cause::Limit { index })
    };
    match refusal {
        Refusal::CutOff => Denial::of(Cause::FleetLost),
        Refusal::Empty(quota) => match felt {
            Some((emptied, id)) if emptied.take(&terms.rate, now).is_err() => {
                zero_denial(index, id, quota)
            }
            _ => limit(quota),
        },
    }
}

/// The event that the fleet's buckets of a subject have begun anew with: the zero that holds for all requests, or
/// what has lifted everything since.
fn beginning(state: &State, wall: UnixMicros, replica: &Replica) -> Option<Beginning> {
    let mut zeros = state.zeros(wall);
    if let Some((zero, version)) = zeros.find(|(zero, _)| zero.scope == Scope::All) {
        return Some(((Epoch::of(version), Begins::Emptied), wall.since(zero.at)));
    }
    let lifts = state.registers().iter().filter_map(|register| match &register.effect {
        Effect::Lift { reason: None } => Some(&register.version),
        _ => None,
    });
    let last = lifts.max_by_key(|version| version.at)?;
    let (lifted, begun) = (Epoch::of(last), replica.epoch());
    if begun == Epoch::default() && wall.since(last.at) > RETENTION {
        // Other nodes may have forgotten it. Then the bucket that they know has not begun with it.
        return None;
    }
    // A publisher's own count may put the lift after a zero that was heard later. Then it is the next beginning.
    let at = match replica.begins() {
        Begins::Emptied if !lifted.is_after(begun) => UnixMicros(begun.at.0.saturating_add(1)),
        _ => lifted.at,
    };
    Some(((Epoch { at, ..lifted }, Begins::Full), Duration::ZERO))
}
