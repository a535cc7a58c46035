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

mod cause;
mod context;
mod decision;
mod evaluate;
mod fleet;
mod integration;
mod kept;
mod keys;
mod load;
mod pending;
mod plan;
mod recheck;
mod take;
mod watched;
mod worker;

pub use cause::Cause;
pub use context::Context;
pub use decision::{Decision, Denial, Note, Verdict, Why};
pub use keys::KeyCache;
pub use load::Load;
pub use pending::{BodyProgress, BodyReader, HeadersDecision, Pending};
pub use watched::Watched;
pub use worker::WorkerMemo;

use model::hash::HashKey;
use model::memory::SharedMemory;
use model::subject::Kind;
use model::time::Clock;

use crate::config::{Config, Groups, Limit, LimitMatch};
use crate::path::Canonical;
use crate::request::Request;
use plan::Plans;
use recheck::Recheck;
use take::Look;

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
    has_fleet_limits: bool,
}

impl Gate {
    /// A gate for this configuration.
    #[must_use]
    pub fn new(config: Config, hash_key: HashKey) -> Self {
        let by_match = config.limits.iter().any(|limit| !limit.matchers.is_empty());
        let is_routed = !config.route_groups.is_empty() || !config.integrations.is_empty();
        let reads_route = by_match || is_routed;
        let has_fleet_limits = config.has_fleet_limits();
        Self { config, hash_key, reads_route, has_fleet_limits }
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
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
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
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
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
        let fleet_key = self.fleet_key(context);
        let mut plans = self.plans(request, limits, &fleet_key, decision)?;
        // Where a signature names the partner, no other source is believed.
        let is_believed = !is_signed || integration.is_some_and(|(_, one)| one.shadow);
        let mut claimed = Vec::new();
        if is_believed && !of_signers.is_empty() {
            let sources = &self.config.identity.partner;
            claimed = self.identify(request, &Kind::Partner, sources, decision)?;
        }
        if !is_signed {
            self.plan_signers(&mut plans, (&Kind::Partner, &claimed), &of_signers, &fleet_key);
        }
        let mut looks = self.look(plans, groups, context);
        // Who is rejected has nothing open.
        let is_rejected = looks.iter().flat_map(Look::denials).next().is_some();
        if !is_rejected && self.config.open_streams.ends(groups) {
            let with_status = looks.iter().filter(|look| look.plan.has_status);
            decision.watched =
                Watched::new(with_status.map(|look| look.plan.hash).collect(), groups);
        }
        let Some(integration) = integration else {
            return self.take_all(looks, groups, context, decision).map(|()| None);
        };
        let denials = || looks.iter().flat_map(Look::denials);
        if denials().any(Denial::is_status) {
            return self.take_all(looks, groups, context, decision).map(|()| None);
        }
        let checked = self.check_integration(integration, (request, groups), context, decision);
        if checked.is_err() {
            let notes = looks.drain(..).flat_map(|look| look.evaluation.notes);
            decision.notes.extend(notes.filter(|note| note.denial.is_status()));
        }
        let held = checked?;
        let is_verified = held.as_ref().is_some_and(|(awaited, _)| awaited.verifier.is_some());
        if is_signed && !is_verified {
            let mut plans = Plans::default();
            self.plan_signers(&mut plans, (&Kind::Partner, &claimed), &of_signers, &fleet_key);
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

    /// The key that subjects have at the limits of the fleet: the node's own as long as it knows no other.
    fn fleet_key(&self, context: &mut Context<'_, impl SharedMemory, impl Clock>) -> HashKey {
        if !self.has_fleet_limits {
            return self.hash_key;
        }
        context.worker.fleet.get(context.shared);
        context.worker.fleet.hash_key().copied().unwrap_or(self.hash_key)
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
}

#[cfg(test)]
mod tests;
