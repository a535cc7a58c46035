//! What to answer when there is no answer.

use model::push::unsure;

use super::Config;
use super::route::Groups;

/// Let a request through, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Forward it.
    Allow,
    /// Reject it.
    Deny,
}

/// An answer that may depend on the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerByRoute {
    /// For requests in no group that has an answer of its own.
    pub default: Answer,
    /// Groups whose requests are let through.
    pub allow: Groups,
    /// Groups whose requests are rejected.
    pub deny: Groups,
}

impl AnswerByRoute {
    /// The same answer for every route.
    #[must_use]
    pub fn everywhere(answer: Answer) -> Self {
        Self { default: answer, allow: Groups::default(), deny: Groups::default() }
    }

    /// The answer for a request in these groups. Where two of its groups disagree: deny.
    #[must_use]
    pub fn answer(&self, groups: Groups) -> Answer {
        if groups.intersects(self.deny) {
            Answer::Deny
        } else if groups.intersects(self.allow) {
            Answer::Allow
        } else {
            self.default
        }
    }
}

/// What to answer when there is no answer. Every one of these is the operator's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailPolicy {
    /// This node has not heard from its invalidator since Envoy started.
    pub never_synced: AnswerByRoute,
    /// This node has not heard from its invalidator for too long; known blocks still hold.
    pub stale: AnswerByRoute,
    /// There is no room for a new subject's bucket, or its slab is of another version.
    pub slab_full: Answer,
    /// Too many workers wrote to the same subject at once.
    pub contention: Answer,
    /// Whether the rejections of the last two are only counted.
    pub shadow: bool,
}

impl Config {
    /// What polls say becomes of requests while the node is stale. What is only counted lets them through.
    #[must_use]
    pub fn says_when_stale(&self) -> &'static str {
        self.says(&self.fail_policy.stale)
    }

    /// The same until the node is synchronized for the first time.
    #[must_use]
    pub fn says_when_never_synced(&self) -> &'static str {
        self.says(&self.fail_policy.never_synced)
    }

    fn says(&self, by_route: &AnswerByRoute) -> &'static str {
        let is_shadow = self.invalidator.as_ref().is_some_and(|invalidator| invalidator.shadow);
        let one = AnswerByRoute::everywhere(by_route.default);
        match by_route.default {
            _ if is_shadow => unsure::ALLOW,
            _ if *by_route != one => unsure::BY_ROUTE,
            Answer::Allow => unsure::ALLOW,
            Answer::Deny => unsure::DENY,
        }
    }
}
