//! The decision on one request.
//!
//! Order of checks: freshness of what is known, identity, blocks, zeros; of an integration the
//! address, the content's type and announced length, and everything about the signature that the
//! headers show; limits. Only then is a body awaited where one has to be: its size, its signature,
//! the limits per partner, since an unverified request must not drain a partner's bucket, and last
//! whether it was used before, since the memory of that is there for all partners. Freshness, blocks and
//! zeros come once more before all of these, as a body can take as long as its sender likes.
//!
//! The first rule that rejects decides. A request that is rejected before its body takes no token
//! from any bucket (unless another worker empties the bucket of a second subject after the first
//! one's token is taken: too little is allowed then, never too much). Rules in shadow are decided
//! and reported the same way, and reject nothing.
//!
//! This module reads and writes shared memory and asks the request what it needs; what a rejection
//! looks like is in [`crate::response`], and how states are kept fresh in [`crate::node`].

mod context;
mod decision;
mod evaluate;
mod integration;
mod kept;
mod keys;
mod load;
mod pending;
mod recheck;
mod take;
mod worker;

pub use context::Context;
pub use decision::{Cause, Decision, Denial, Note, Verdict, Why};
pub use keys::KeyCache;
pub use load::Load;
pub use pending::{HeadersDecision, Pending, Progress};
pub use worker::Worker;

use std::borrow::Cow;

use model::hash::{HashKey, SubjectHash};
use model::memory::Shared;
use model::subject::{Kind, SubjectRef};
use model::time::Clock;

use crate::config::{Answer, Config, Groups, Limit, LimitMatch, Source};
use crate::path::Canonical;
use crate::request::{Fault, Found, Identified, Request, identify, in_limit_header};
use recheck::Recheck;

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

/// The subjects of a request, each once, and what has to be looked at for each. They are few.
#[derive(Default)]
struct Plans<'a>(Vec<Plan<'a>>);

impl<'a> Plans<'a> {
    fn extend(&mut self, hash: SubjectHash, extend: impl FnOnce(&mut Plan<'a>)) {
        if let Some(plan) = self.0.iter_mut().find(|plan| plan.hash == hash) {
            return extend(plan);
        }
        let mut plan = Plan { hash, has_status: false, limits: Vec::new() };
        extend(&mut plan);
        self.0.push(plan);
    }
}

/// One subject of a request.
struct Plan<'a> {
    hash: SubjectHash,
    /// Whether events can name it.
    has_status: bool,
    limits: Vec<(usize, &'a Limit)>,
}

impl Gate {
    /// A gate for this configuration.
    #[must_use]
    pub fn new(config: Config, hash_key: HashKey) -> Self {
        let by_match = config.limits.iter().any(|limit| !limit.matchers.is_empty());
        let is_routed = !config.route_groups.is_empty() || !config.integrations.is_empty();
        let reads_route = by_match || is_routed;
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

    /// Decides on a request as far as its headers allow. Tokens are taken if they allow it, except
    /// from the limits per partner where the body is awaited.
    pub fn decide_headers(
        &self,
        request: &impl Request,
        freshness: Freshness,
        context: &mut Context<'_, impl Shared, impl Clock>,
    ) -> HeadersDecision {
        let mut decision = Decision::default();
        match self.check(request, freshness, context, &mut decision) {
            Ok(None) => HeadersDecision::Done(decision),
            Ok(Some(pending)) => HeadersDecision::NeedBody(Box::new(pending.after(decision))),
            Err(denial) => {
                decision.verdict = Verdict::Deny(denial);
                HeadersDecision::Done(decision)
            }
        }
    }

    /// The decision on a request that another gate, with another configuration, has let through before.
    #[must_use]
    pub fn second_gate(&self) -> Decision {
        let mut decision = Decision::default();
        if let Err(denial) = decision.rule(Cause::SecondGate, self.config.shadow) {
            decision.verdict = Verdict::Deny(denial);
        }
        decision
    }

    fn check(
        &self,
        request: &impl Request,
        freshness: Freshness,
        context: &mut Context<'_, impl Shared, impl Clock>,
        decision: &mut Decision,
    ) -> Result<Option<Pending>, Denial> {
        let (mut method, mut path) = (&[][..], Canonical::default());
        if self.reads_route {
            let pseudo = |name| request.headers().all(name).next().unwrap_or_default();
            method = pseudo(":method");
            path = self.config.paths.canonical(pseudo(":path"));
            // What is asked for inside of a tunnel nobody sees.
            let is_tunnel = path.path.is_empty() && method.eq_ignore_ascii_case(b"CONNECT");
            path.is_ambiguous |= is_tunnel && !self.config.paths.allows_tunnels;
        }
        if path.is_ambiguous {
            decision.rule(Cause::AmbiguousPath, self.config.paths.shadow)?;
        }
        let path = &*path.path;
        if self.config.regex_bytes_max.is_some_and(|max| path.len() > max) {
            decision.rule(Cause::PathTooLong, self.config.paths.shadow)?;
        }
        let groups = self.config.groups(method, path);
        self.check_freshness(freshness, groups, decision)?;
        let integration = self.config.integration(groups, method, path);
        let is_signed = integration.is_some_and(|(_, one)| one.signature.is_some());
        let limits = self.limits_about(groups, method, path);
        let (of_signers, limits): (Vec<_>, Vec<_>) =
            limits.partition(|(_, limit)| limit.key.is_of_signer());
        let mut plans = self.plans(request, limits, decision)?;
        // Where a signature names the partner, no other source is believed.
        let is_believed = !is_signed || integration.is_some_and(|(_, one)| one.shadow);
        let mut claimed = Vec::new();
        if is_believed && !of_signers.is_empty() {
            let sources = &self.config.identity.partner;
            claimed = self.identify(request, &Kind::Partner, sources, decision)?;
        }
        if !is_signed {
            self.plan_signers(&mut plans, &Kind::Partner, &claimed, &of_signers);
        }
        let mut looks = self.look(plans, groups, context);
        let Some(integration) = integration else {
            return self.take_all(looks, groups, context, decision).map(|()| None);
        };
        let denials = || looks.iter().filter_map(|look| look.evaluation.denial.as_ref());
        if denials().any(Denial::is_status) {
            return self.take_all(looks, groups, context, decision).map(|()| None);
        }
        let checked = self.check_integration(integration, request, context, decision);
        if checked.is_err() {
            let notes = looks.drain(..).flat_map(|look| look.evaluation.notes);
            decision.notes.extend(notes.filter(|note| note.denial.is_status()));
        }
        let held = checked?;
        let is_verified = held.as_ref().is_some_and(|(awaited, _)| awaited.verifier.is_some());
        if is_signed && !is_verified {
            let mut plans = Plans::default();
            self.plan_signers(&mut plans, &Kind::Partner, &claimed, &of_signers);
            looks.extend(self.look(plans, groups, context));
        }
        let recheck = held.is_some().then(|| Recheck::new(&looks, groups, freshness));
        self.take_all(looks, groups, context, decision)?;
        let deferred = of_signers.into_iter().map(|(index, _)| index);
        let deferred = deferred.filter(|_| is_verified).collect();
        Ok(held.zip(recheck).map(|(held, recheck)| Pending::new(held, recheck, deferred, claimed)))
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

    /// The limits that a request is subject to, by their index.
    fn limits_about(
        &self,
        groups: Groups,
        method: &[u8],
        path: &[u8],
    ) -> impl Iterator<Item = (usize, &Limit)> {
        let numbered = self.config.limits.iter().enumerate();
        numbered.filter(move |(_, limit)| {
            let matchers = &limit.matchers;
            matchers.is_empty() || LimitMatch::any(matchers, groups, method, path)
        })
    }

    /// The subjects of a request that anything depends on, each once. Partners come later.
    fn plans<'a>(
        &self,
        request: &impl Request,
        limits: Vec<(usize, &'a Limit)>,
        decision: &mut Decision,
    ) -> Result<Plans<'a>, Denial> {
        let identity = &self.config.identity;
        let mut plans = Plans::default();
        let users = self.identify(request, &Kind::User, &identity.user, decision)?;
        if users.is_empty() && identity.missing_user == Answer::Deny {
            decision.rule(Cause::MissingIdentity, identity.shadow)?;
        }
        let sessions = self.identify(request, &Kind::Session, &identity.session, decision)?;
        if self.config.invalidator.is_some() {
            for found in users.iter().chain(&sessions) {
                plans.extend(self.hash(found), |plan| plan.has_status = true);
            }
        }
        for (index, limit) in limits {
            let found = match &limit.key {
                Kind::User => Cow::Borrowed(&users),
                Kind::Session => Cow::Borrowed(&sessions),
                Kind::Partner | Kind::KeyId => continue,
                kind @ Kind::ClientIp => {
                    Cow::Owned(self.identify(request, kind, &[Source::ClientIp], decision)?)
                }
                kind @ Kind::Header(name) => {
                    Cow::Owned(self.seen(in_limit_header(request, kind, name), decision)?)
                }
            };
            for found in found.iter() {
                plans.extend(self.hash(found), |plan| plan.limits.push((index, limit)));
            }
        }
        Ok(plans)
    }

    /// Whom the sources name.
    fn identify(
        &self,
        request: &impl Request,
        kind: &Kind,
        sources: &[Source],
        decision: &mut Decision,
    ) -> Result<Vec<Found>, Denial> {
        self.seen(identify(request, kind, sources, &self.config.identity), decision)
    }

    /// Everybody who was found, if nothing is wrong with how. In shadow also if something is: what
    /// is said elsewhere of those who can be seen holds all the same.
    fn seen(&self, identified: Identified, decision: &mut Decision) -> Result<Vec<Found>, Denial> {
        let Identified { found, fault } = identified;
        let shadow = self.config.identity.shadow;
        match fault {
            None => {}
            Some(Fault::TooMany) => decision.rule(Cause::TooManyIdentities, shadow)?,
            // Who was not seen may be blocked: only where everything is in shadow may they pass.
            Some(Fault::Crowd) => {
                decision.rule(Cause::TooManyIdentities, self.config.shadow)?;
            }
            Some(Fault::Ambiguous) => decision.rule(Cause::AmbiguousIdentity, shadow)?,
            Some(Fault::UnusableClaim) => decision.rule(Cause::UnusableClaim, shadow)?,
        }
        Ok(found)
    }

    /// Adds the limits of this kind to the plans of these signers.
    fn plan_signers<'a>(
        &self,
        plans: &mut Plans<'a>,
        kind: &Kind,
        signers: &[Found],
        limits: &[(usize, &'a Limit)],
    ) {
        for limit in limits.iter().filter(|(_, limit)| limit.key == *kind) {
            for signer in signers {
                plans.extend(self.hash(signer), |plan| plan.limits.push(*limit));
            }
        }
    }

    fn hash(&self, found: &Found) -> SubjectHash {
        self.hash_key.subject(SubjectRef { kind: &found.kind, id: &found.id })
    }
}

#[cfg(test)]
mod tests;
