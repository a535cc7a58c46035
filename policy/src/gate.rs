//! The decision on one request.
//!
//! Order of checks: freshness of what is known, identity, blocks, zeros, limits. The first rule
//! that rejects decides, and a rejected request takes no token from any bucket (unless another
//! worker empties the bucket of a second subject after the first one's token is taken: too little
//! is allowed then, never too much). Rules in shadow are decided and reported the same way, and
//! reject nothing.
//!
//! This module reads and writes shared memory and asks the request what it needs; what a rejection
//! looks like is in [`crate::response`], and how states are kept fresh in [`crate::node`].

mod decision;
mod evaluate;

pub use decision::{Cause, Decision, Denial, Note, Verdict, Why};

use std::collections::BTreeMap;

use crate::config::{Answer, Config, Groups, Limit, LimitMatch, Source};
use crate::hash::{HashKey, SubjectHash};
use crate::request::{Found, Request, client_ip, identify};
use crate::shared::{ATTEMPTS_MAX, Key, Shared};
use crate::subject::{Kind, SubjectRef};
use crate::time::{MonotonicNanos, UnixMicros};

/// Two clocks, each read only when its time is needed.
pub trait Clock {
    /// Time for buckets.
    fn monotonic(&self) -> MonotonicNanos;
    /// Time for expiries.
    fn wall(&self) -> UnixMicros;
}

/// How much this node knows about blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The invalidator was heard recently, or there is none.
    Fresh,
    /// The invalidator has not been heard for too long.
    Stale,
    /// The invalidator has never been heard since Envoy started.
    NeverSynced,
}

/// Decides on requests.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    hash_key: HashKey,
    reads_route: bool,
}

/// The subjects of a request, and what has to be looked at for each.
type Plans<'a> = BTreeMap<SubjectHash, Plan<'a>>;

#[derive(Default)]
struct Plan<'a> {
    /// Whether events can name it.
    has_status: bool,
    limits: Vec<(usize, &'a Limit)>,
}

impl Gate {
    /// A gate for this configuration.
    #[must_use]
    pub fn new(config: Config, hash_key: HashKey) -> Self {
        let by_match = config.limits.iter().any(|limit| !limit.matchers.is_empty());
        let reads_route = by_match || !config.route_groups.is_empty();
        Self { config, hash_key, reads_route }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The key of subject hashes.
    #[must_use]
    pub fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }

    /// Decides on one request, and takes its tokens if it is allowed.
    pub fn decide(
        &self,
        request: &impl Request,
        shared: &mut impl Shared,
        clock: &impl Clock,
        freshness: Freshness,
    ) -> Decision {
        let mut decision = Decision::default();
        if let Err(denial) = self.check(request, shared, clock, freshness, &mut decision) {
            decision.verdict = Verdict::Deny(denial);
        }
        decision
    }

    fn check(
        &self,
        request: &impl Request,
        shared: &mut impl Shared,
        clock: &impl Clock,
        freshness: Freshness,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        let (mut method, mut path) = (Vec::new(), Vec::new());
        if self.reads_route {
            method = request.header(":method").unwrap_or_default();
            path = request.header(":path").unwrap_or_default();
        }
        let groups = self.config.groups(&method, &path);
        self.check_freshness(freshness, groups, decision)?;
        let plans = self.plans(request, groups, &method, &path, decision)?;
        self.check_plans(&plans, groups, shared, clock, decision)
    }

    fn check_freshness(
        &self,
        freshness: Freshness,
        groups: Groups,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        let policy = &self.config.fail_policy;
        let (cause, answer) = match freshness {
            Freshness::Fresh => return Ok(()),
            Freshness::Stale => (Cause::Stale, policy.stale.answer(groups)),
            Freshness::NeverSynced => (Cause::NeverSynced, policy.never_synced.answer(groups)),
        };
        let shadow = self.config.invalidator.as_ref().is_none_or(|i| i.shadow);
        decision.fail(cause, answer, shadow)
    }

    /// The subjects of a request that anything depends on, each once.
    fn plans(
        &self,
        request: &impl Request,
        groups: Groups,
        method: &[u8],
        path: &[u8],
        decision: &mut Decision,
    ) -> Result<Plans<'_>, Denial> {
        let identity = &self.config.identity;
        let mut plans = Plans::new();
        let user = identify(request, &Kind::User, &identity.user);
        if user.is_none() && identity.missing_user == Answer::Deny {
            decision.rule(Cause::MissingIdentity, identity.shadow)?;
        }
        let session = identify(request, &Kind::Session, &identity.session);
        if self.config.invalidator.is_some() {
            for found in [&user, &session].into_iter().flatten() {
                plans.entry(self.hash(found)).or_default().has_status = true;
            }
        }
        for (index, limit) in self.config.limits.iter().enumerate() {
            if !limit.is_about(groups, method, path) {
                continue;
            }
            let found = match &limit.key {
                Kind::User => user.clone(),
                Kind::Session => session.clone(),
                Kind::Partner => identify(request, &Kind::Partner, &identity.partner),
                Kind::ClientIp => client_ip(request).map(|id| Found { kind: Kind::ClientIp, id }),
                kind @ Kind::Header(name) => {
                    identify(request, kind, &[Source::Header(name.to_string())])
                }
            };
            if let Some(found) = found {
                plans.entry(self.hash(&found)).or_default().limits.push((index, limit));
            }
        }
        Ok(plans)
    }

    fn hash(&self, found: &Found) -> SubjectHash {
        self.hash_key.subject(SubjectRef { kind: &found.kind, id: &found.id })
    }

    /// Looks at every subject before it takes anything from any.
    fn check_plans(
        &self,
        plans: &Plans<'_>,
        groups: Groups,
        shared: &mut impl Shared,
        clock: &impl Clock,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        let look = |hash: &SubjectHash, plan: &Plan<'_>, slab: Option<&[u8]>| {
            self.evaluate(*hash, plan, slab, groups, clock)
        };
        let mut looks = Vec::with_capacity(plans.len());
        for (hash, plan) in plans {
            let key = Key::Slab(hash.slab(self.config.storage.slabs));
            let (slab, mark) = shared.read(key);
            looks.push((hash, plan, key, mark, look(hash, plan, slab.as_deref())));
        }
        let denials = looks.iter().filter_map(|(.., evaluation)| evaluation.denial.as_ref());
        if let Some(denial) = denials.min_by_key(|denial| denial.rank()).cloned() {
            for (_, _, key, mark, evaluation) in looks {
                // If another worker is faster, the next request does this again.
                if let (Some(_), Some(slab)) = (evaluation.denial, evaluation.write) {
                    let _ = shared.write(key, &slab, mark);
                }
                decision.notes.extend(evaluation.notes);
            }
            return Err(denial);
        }
        for (hash, plan, key, mut mark, mut evaluation) in looks {
            let mut attempts = ATTEMPTS_MAX;
            while let Some(slab) = evaluation.write.take() {
                if shared.write(key, &slab, mark).is_ok() {
                    break;
                }
                attempts = attempts.saturating_sub(1);
                if attempts == 0 {
                    let policy = &self.config.fail_policy;
                    decision.fail(Cause::Contention, policy.contention, policy.shadow)?;
                    break;
                }
                let (slab, present) = shared.read(key);
                mark = present;
                evaluation = look(hash, plan, slab.as_deref());
                if let Some(denial) = evaluation.denial {
                    return Err(denial);
                }
            }
            decision.notes.extend(evaluation.notes);
            decision.quotas.extend(evaluation.quotas);
        }
        decision.quotas.sort_by_key(|(index, _)| *index);
        Ok(())
    }
}

impl Limit {
    fn is_about(&self, groups: Groups, method: &[u8], path: &[u8]) -> bool {
        let any = |m: &LimitMatch| match m {
            LimitMatch::RouteGroup(index) => groups.contains(*index),
            LimitMatch::Matcher(matcher) => matcher.matches(method, path),
        };
        self.matchers.is_empty() || self.matchers.iter().any(any)
    }
}

#[cfg(test)]
mod tests;
