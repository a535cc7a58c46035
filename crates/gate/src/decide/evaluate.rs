//! One subject of one request: its status, then its buckets, against what stands in its slab.

use model::bucket::{Bucket, Quota, Rate};
use model::hash::SubjectHash;
use model::name::{EventId, Name};
use model::state::State;
use model::time::{Clock, MonotonicNanos, UnixMicros};

use super::Gate;
use super::cause::Cause;
use super::decision::{Denial, Note, Why};
use super::kept::{Kept, forget_full};
use super::plan::Plan;
use crate::config::{Answer, FailPolicy, Groups, Limit};
use crate::slab::{self, BucketRecord, SlabError, SubjectEntry, Written};

/// What a look at one subject found.
#[derive(Default)]
pub(super) struct Evaluation {
    pub(super) denial: Option<Denial>,
    pub(super) notes: Vec<Note>,
    pub(super) quotas: Vec<(usize, Quota)>,
    /// The slab to write: with the tokens taken if nothing rejects, or with the buckets that are empty
    /// under a new rate. Else these would be made again of what the old rate lacks, for as long as
    /// that is more, and the wait that a raised limit ends would go on.
    pub(super) write: Option<Vec<u8>>,
    /// What is known of the subject, where the limits of the fleet ask.
    pub(super) state: Option<State>,
    /// When ends were judged.
    pub(super) wall: UnixMicros,
}

impl Evaluation {
    pub(super) fn reject(&mut self, denial: Denial, shadow: bool) {
        if shadow {
            self.notes.push(Note { denial, why: Why::Shadow });
        } else if self.denial.as_ref().is_none_or(|known| denial.rank() < known.rank()) {
            self.denial = Some(denial);
        }
    }

    /// What the limits of the fleet have to know of the subject.
    pub(super) fn about(&self, hash: SubjectHash, groups: Groups) -> About<'_> {
        About { hash, state: self.state.as_ref(), groups, wall: self.wall }
    }

    fn knowing(mut self, plan: &Plan<'_>, state: Option<State>, wall: UnixMicros) -> Self {
        if !plan.fleet.is_empty() {
            (self.state, self.wall) = (state, wall);
        }
        self
    }

    /// Whether it is rejected because a limit has no room.
    fn denies_for_room(&self) -> bool {
        self.denial.as_ref().is_some_and(|denial| denial.cause == Cause::SlabFull)
    }

    /// The slab cannot be read.
    pub(super) fn fail_unreadable(&mut self, policy: &FailPolicy) {
        self.fail(Cause::SlabUnreadable, policy.slab_full, policy);
    }

    /// The slab cannot be written, or not be read.
    fn fail(&mut self, cause: Cause, answer: Answer, policy: &FailPolicy) {
        let denial = Denial::of(cause);
        match answer {
            Answer::Deny => self.reject(denial, policy.shadow),
            Answer::Allow => self.notes.push(Note { denial, why: Why::FailOpen }),
        }
    }
}

/// A bucket before and after this request.
struct Touched {
    kept: Kept,
    taken: Option<Bucket>,
}

/// A subject's status, as far as one request is concerned.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) hash: SubjectHash,
    pub(super) state: &'a State,
    /// The route groups of the request.
    pub(super) groups: Groups,
    /// When ends are judged.
    pub(super) wall: UnixMicros,
}

/// What there is about a subject beside its buckets: what is known of it, and when ends are judged.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) hash: SubjectHash,
    pub(super) state: Option<&'a State>,
    pub(super) groups: Groups,
    pub(super) wall: UnixMicros,
}

/// What was read of a subject whose tokens are taken.
struct Read<'a> {
    entry: Option<SubjectEntry<'a>>,
    known: Option<Known<'a>>,
    now: MonotonicNanos,
}

impl Gate {
    pub(super) fn evaluate(
        &self,
        plan: &Plan<'_>,
        slab: Option<&[u8]>,
        groups: Groups,
        clock: &impl Clock,
    ) -> Evaluation {
        // Read after the slab: a bucket that another worker has dropped as full by now is full at
        // this time too.
        let now = clock.monotonic();
        let policy = &self.config.fail_policy;
        let mut found = Evaluation::default();
        let entry = slab::find(slab, plan.hash).map_err(|_| ());
        let parts = entry.and_then(|entry: Option<SubjectEntry<'_>>| {
            Ok((entry, status(entry.filter(|_| plan.has_status))?))
        });
        let Ok((entry, status)) = parts else {
            found.fail_unreadable(policy);
            return found;
        };
        // The clock of expiries is read only for the few who have a status.
        let wall = status.as_ref().map_or(UnixMicros(0), |_| clock.wall());
        let known = status.as_ref().map(|state| Known { hash: plan.hash, state, groups, wall });
        if let Some(known) = known {
            self.check_status(known, &mut found);
        }
        if found.denial.is_some() || plan.limits.is_empty() {
            return found.knowing(plan, status, wall);
        }
        let read = Read { entry, known, now };
        let limits = plan.limits.iter();
        let touched: Vec<_> = limits.map(|limit| self.take(*limit, &read, &mut found)).collect();
        let is_taken = found.denial.is_none();
        let is_new_and_empty = |one: &Touched| one.kept.is_new && one.taken.is_none();
        if is_taken || touched.iter().any(is_new_and_empty) {
            let records = merge_records(read.entry.as_ref(), touched, is_taken, now);
            let room = self.config.storage.slab_bytes_max;
            let written = slab::with_buckets(slab, plan.hash, &records, now, room);
            self.write(plan, &records, written, &mut found);
        }
        found.knowing(plan, status, wall)
    }

    /// Prepares what is to be written, unless a limit that must not pass without a bucket has no room.
    fn write(
        &self,
        plan: &Plan<'_>,
        records: &[BucketRecord],
        written: Result<Written, SlabError>,
        found: &mut Evaluation,
    ) {
        let policy = &self.config.fail_policy;
        let written = match written {
            Ok(written) => written,
            Err(SlabError::Full) => return found.fail(Cause::SlabFull, policy.slab_full, policy),
            Err(SlabError::Unreadable) => return found.fail_unreadable(policy),
        };
        if !written.without_room.is_empty() {
            self.fail_without_room(plan, &written.without_room, found);
            // Where nothing found room there is nothing to write: a flood must not be in others' way.
            let has_none = |record: &BucketRecord| written.without_room.contains(&record.limit);
            if found.denies_for_room() || records.iter().all(has_none) {
                return;
            }
        }
        found.write = Some(written.slab);
    }

    fn fail_without_room(&self, plan: &Plan<'_>, without_room: &[u32], found: &mut Evaluation) {
        let limits = plan.limits.iter().map(|(_, limit)| *limit);
        self.fail_rooms(limits.filter(|limit| without_room.contains(&limit.id)), found);
    }

    /// Answers for limits without room for one more bucket. One that is only counted rejects nobody.
    pub(super) fn fail_rooms<'a>(
        &self,
        full: impl Iterator<Item = &'a Limit>,
        found: &mut Evaluation,
    ) {
        let policy = &self.config.fail_policy;
        let mut answers = Vec::new();
        for limit in full {
            match limit.slab_full.unwrap_or(policy.slab_full) {
                Answer::Deny if limit.shadow => {
                    found.reject(Denial::of(Cause::SlabFull), true);
                }
                answer => answers.push(answer),
            }
        }
        let denies = answers.contains(&Answer::Deny);
        if !answers.is_empty() {
            let answer = if denies { Answer::Deny } else { Answer::Allow };
            found.fail(Cause::SlabFull, answer, policy);
        }
    }

    pub(super) fn check_status(&self, known: Known<'_>, found: &mut Evaluation) {
        let Known { hash, state, groups, wall } = known;
        let shadow = self.config.blocks_shadow;
        for (block, version) in state.blocks(wall) {
            if block.scope.covers(|name| self.is_in(groups, name)) {
                let denial = Denial {
                    cause: Cause::Block {
                        reason: block.reason.clone(),
                        disclose: block.disclose,
                        until: block.until,
                    },
                    event: Some(version.event_id.clone()),
                    subject: Some(hash),
                    retry_after: None,
                    rate: None,
                };
                found.reject(denial, shadow);
            }
        }
        for (zero, version) in state.zeros(wall) {
            let held = zero.until.filter(|until| wall < *until);
            if let Some(until) = held.filter(|_| zero.scope.covers(|n| self.is_in(groups, n))) {
                let denial = Denial {
                    cause: Cause::Zero { limit: None },
                    event: Some(version.event_id.clone()),
                    subject: Some(hash),
                    retry_after: Some(until.since(wall)),
                    rate: None,
                };
                found.reject(denial, shadow);
            }
        }
    }

    fn is_in(&self, groups: Groups, name: &Name) -> bool {
        let position = self.config.route_groups.iter().position(|group| group.name == *name);
        position.is_some_and(|index| groups.contains(index))
    }

    /// Tries to take one token of one limit.
    fn take(
        &self,
        (index, limit): (usize, &Limit),
        read: &Read<'_>,
        found: &mut Evaluation,
    ) -> Touched {
        let now = read.now;
        let changed = read.known.and_then(|known| known.state.rate_for(&limit.name, known.wall));
        let rate = changed.unwrap_or(limit.rate);
        let kept = Kept::find(read.entry.as_ref(), limit.id, &rate, now);
        let bucket = kept.bucket;
        let zeroed = read.known.and_then(|known| {
            self.zeroed(known, &rate, now).filter(|(emptied, _)| *emptied > bucket)
        });
        let shadow = self.config.blocks_shadow;
        if let (Some((emptied, id)), true) = (zeroed, shadow)
            && let Err(quota) = emptied.take(&rate, now)
        {
            found.reject(zero_denial(index, id, quota), true);
        }
        let felt = zeroed.filter(|_| !shadow);
        let effective = felt.map_or(bucket, |(emptied, _)| emptied);

        let taken = match effective.take(&rate, now) {
            Ok((taken, quota)) => {
                found.quotas.push((index, quota));
                Some(taken)
            }
            Err(quota) => {
                let denial = match felt {
                    Some((_, id)) => zero_denial(index, id, quota),
                    None => Denial {
                        retry_after: Some(quota.reset),
                        rate: Some(quota.rate),
                        ..Denial::of(Cause::Limit { index })
                    },
                };
                found.reject(denial, limit.shadow);
                None
            }
        };
        Touched { kept, taken }
    }

    /// What zeros in scope have left of a bucket, and the event; those that still hold every
    /// request have had their say.
    pub(super) fn zeroed<'a>(
        &self,
        known: Known<'a>,
        rate: &Rate,
        now: MonotonicNanos,
    ) -> Option<(Bucket, (SubjectHash, &'a EventId))> {
        let Known { hash, state, groups, wall } = known;
        let over = state.zeros(wall).filter(|(zero, _)| zero.until.is_none_or(|end| end <= wall));
        let in_scope = over.filter(|(zero, _)| zero.scope.covers(|name| self.is_in(groups, name)));
        let emptied = in_scope.map(|(zero, version)| {
            (Bucket::emptied(wall.since(zero.at), rate, now), (hash, &version.event_id))
        });
        emptied.max()
    }
}

pub(super) fn zero_denial(
    index: usize,
    (subject, event): (SubjectHash, &EventId),
    quota: Quota,
) -> Denial {
    Denial {
        cause: Cause::Zero { limit: Some(index) },
        event: Some(event.clone()),
        subject: Some(subject),
        retry_after: Some(quota.reset),
        rate: Some(quota.rate),
    }
}

/// What is known of a subject, if anything is.
pub(super) fn status(entry: Option<SubjectEntry<'_>>) -> Result<Option<State>, ()> {
    let bytes = entry.map_or(&[][..], |entry| entry.status);
    if bytes.is_empty() {
        return Ok(None);
    }
    State::unpack(bytes).map(Some).ok_or(())
}

/// All of a subject's buckets after this request; full ones need not be kept.
fn merge_records(
    entry: Option<&SubjectEntry<'_>>,
    touched: Vec<Touched>,
    is_taken: bool,
    now: MonotonicNanos,
) -> Vec<BucketRecord> {
    let untouched = |record: &BucketRecord| touched.iter().all(|one| !one.kept.is_of(record));
    let mut records: Vec<_> =
        entry.into_iter().flat_map(SubjectEntry::buckets).filter(untouched).collect();
    for Touched { kept, taken } in touched {
        records.extend(kept.after(taken.filter(|_| is_taken), now));
    }
    forget_full(&mut records, now);
    records
}
