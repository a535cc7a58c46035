//! Whose requests share what: the subjects of one request, and what has to be looked at for each.

use std::borrow::Cow;

use model::hash::{HashKey, SubjectHash};
use model::subject::{Kind, Subject, SubjectRef};
use signing::verify::Verified;

use super::Gate;
use super::cause::Cause;
use super::decision::{Decision, Denial};
use crate::config::{Answer, FleetLimit, IdSource, Limit};
use crate::request::{Fault, Found, Identified, Request, identify, in_limit_header};

/// The subjects of a request, each once, and what has to be looked at for each. They are few.
#[derive(Default)]
pub(super) struct Plans<'a>(pub(super) Vec<Plan<'a>>);

impl<'a> Plans<'a> {
    fn extend(&mut self, hash: SubjectHash, extend: impl FnOnce(&mut Plan<'a>)) {
        if let Some(plan) = self.0.iter_mut().find(|plan| plan.hash == hash) {
            return extend(plan);
        }
        let mut plan = Plan { hash, has_status: false, limits: Vec::new(), fleet: Vec::new() };
        extend(&mut plan);
        self.0.push(plan);
    }
}

/// One subject of a request.
pub(super) struct Plan<'a> {
    pub(super) hash: SubjectHash,
    /// Whether events can name it.
    pub(super) has_status: bool,
    pub(super) limits: Vec<(usize, &'a Limit)>,
    pub(super) fleet: Vec<FleetPlan<'a>>,
}

/// A limit for the whole fleet that a request is subject to.
#[derive(Clone, Copy)]
pub(super) struct FleetPlan<'a> {
    /// The limit's index.
    pub(super) index: usize,
    pub(super) limit: &'a Limit,
    pub(super) fleet: FleetLimit,
    /// Whose bucket: a hash under the fleet's key, or under the node's own until it knows that.
    pub(super) subject: SubjectHash,
}

impl<'a> Plan<'a> {
    /// Adds a limit; the fleet knows the subject by a hash under this key.
    fn add(&mut self, (index, limit): (usize, &'a Limit), found: &Found, key: &HashKey) {
        match limit.fleet {
            None => self.limits.push((index, limit)),
            Some(fleet) => {
                let subject = hash(key, found);
                self.fleet.push(FleetPlan { index, limit, fleet, subject });
            }
        }
    }
}

impl Gate {
    /// The subjects of a request that anything depends on, each once; `key` is that of the fleet. Partners come later.
    pub(super) fn plans<'a>(
        &self,
        request: &impl Request,
        limits: Vec<(usize, &'a Limit)>,
        key: &HashKey,
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
                    Cow::Owned(self.identify(request, kind, &[IdSource::ClientIp], decision)?)
                }
                kind @ Kind::Header(name) => {
                    Cow::Owned(self.seen(in_limit_header(request, kind, name), decision)?)
                }
            };
            for found in found.iter() {
                plans.extend(self.hash(found), |plan| plan.add((index, limit), found, key));
            }
        }
        Ok(plans)
    }

    /// Whom the sources name.
    pub(super) fn identify(
        &self,
        request: &impl Request,
        kind: &Kind,
        sources: &[IdSource],
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
    pub(super) fn plan_signers<'a>(
        &self,
        plans: &mut Plans<'a>,
        (kind, signers): (&Kind, &[Found]),
        limits: &[(usize, &'a Limit)],
        key: &HashKey,
    ) {
        for limit in limits.iter().filter(|(_, limit)| limit.key == *kind) {
            for signer in signers {
                plans.extend(self.hash(signer), |plan| plan.add(*limit, signer, key));
            }
        }
    }

    /// Whom of those that events can name a request is from, by the hash that stands for them. The request is asked
    /// again, so that those which are let through pay nothing for it.
    #[must_use]
    pub fn find_subject(&self, request: &impl Request, hash: SubjectHash) -> Option<Subject> {
        let rules = &self.config.identity;
        let find = |kind: &Kind, sources| {
            let found = identify(request, kind, sources, rules).found.into_iter();
            let id = found.into_iter().find(|found| self.hash(found) == hash)?.id;
            String::from_utf8(id).ok()
        };
        let user = find(&Kind::User, &rules.user).and_then(|id| Subject::user(&id));
        let session = || find(&Kind::Session, &rules.session).and_then(|id| Subject::session(&id));
        user.or_else(session)
    }

    fn hash(&self, found: &Found) -> SubjectHash {
        hash(&self.hash_key, found)
    }
}

fn hash(key: &HashKey, found: &Found) -> SubjectHash {
    key.subject(SubjectRef { kind: &found.kind, id: &found.id })
}

/// What a verified signature says of its signer, as far as that is of this kind.
pub(super) fn signer(kind: &Kind, verified: &Verified) -> Option<Found> {
    let id = match kind {
        Kind::Partner => verified.partner.as_str(),
        Kind::KeyId => verified.key_id.as_str(),
        Kind::User | Kind::Session | Kind::ClientIp | Kind::Header(_) => return None,
    };
    Some(Found { kind: kind.clone(), id: id.into() })
}
