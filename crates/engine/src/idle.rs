//! Nodes that store an event and do nothing about it, since their configuration is such: nobody may be
//! told that they enforce it.

use std::time::Duration;

use model::name::Name;
use model::push::idle;
use model::state::{Effect, Scope};
use model::subject::Subject;

use super::node::Node;
use super::nodes::Nodes;
use super::{Change, Engine, NodeKey, Now};

impl Node {
    /// Why it does nothing about an event that it stores, if so.
    fn idles(&self, subject: &Subject, effect: &Effect) -> Option<&'static str> {
        if self.idle.is_empty() || matches!(effect, Effect::Lift { .. }) {
            return None;
        }
        let is_idle = |what: &str| self.idle.iter().any(|idle| idle == what);
        let (sources, source_cause, buckets, bucket_cause) = match subject {
            Subject::User(_) => (
                idle::USERS,
                "identity.user: no source names users",
                idle::USER_BUCKETS,
                "limits: none that counts has the key user",
            ),
            Subject::Session(_) => (
                idle::SESSIONS,
                "identity.session: no source names sessions",
                idle::SESSION_BUCKETS,
                "limits: none that counts has the key session",
            ),
        };
        let empties = matches!(effect, Effect::Zero(zero) if zero.until.is_none());
        match effect {
            _ if is_idle(sources) => Some(source_cause),
            Effect::Block(_) | Effect::Zero(_) if is_idle(idle::BLOCKS) => {
                Some("blocks.shadow: blocks and zeros are only counted")
            }
            _ if empties && is_idle(buckets) => Some(bucket_cause),
            _ => None,
        }
    }
}

impl Nodes {
    /// Each connected node that does nothing about this, and why.
    pub(super) fn idle(
        &self,
        subject: &Subject,
        effect: &Effect,
        now: Duration,
    ) -> Vec<(NodeKey, &'static str)> {
        let unknown = self.why_unknown(effect, now);
        let cause = |node: &Node| unknown.or_else(|| node.idles(subject, effect));
        let causes = self.connected(now).map(|(key, node)| (key, cause(node)));
        causes.filter_map(|(key, cause)| Some((key.clone(), cause?))).collect()
    }

    /// Why no node does anything about this, if all that it is about are names that none has. Nodes differ
    /// in their names, and which of them one should have cannot be told; but a name that none has is wrong.
    fn why_unknown(&self, effect: &Effect, now: Duration) -> Option<&'static str> {
        let of_scope = |scope: &Scope| {
            let names = scope.names();
            let is_known = |name: &Name| self.knows_route_group(name.as_str(), now);
            let is_unknown = !names.is_empty() && !names.iter().any(is_known);
            is_unknown.then_some("payload.scope: no connected node has any of these route groups")
        };
        match effect {
            Effect::Block(block) => of_scope(&block.scope),
            Effect::Zero(zero) => of_scope(&zero.scope),
            Effect::Override(change) => (!self.knows_limit(change.limit.as_str(), now))
                .then_some("payload.limit.name: no connected node has this limit"),
            Effect::Lift { .. } => None,
        }
    }
}

impl Engine {
    /// Why a node does nothing about changes that it has acknowledged, in their order.
    pub fn idles<'a>(
        &self,
        key: &NodeKey,
        changes: impl Iterator<Item = &'a Change>,
        now: Now,
    ) -> Vec<Option<&'static str>> {
        changes.map(|change| self.idles_about(key, change, now)).collect()
    }

    fn idles_about(&self, key: &NodeKey, change: &Change, now: Now) -> Option<&'static str> {
        let node = self.nodes.get(key)?;
        let (state, _) = self.subjects.get(&change.subject)?;
        let mut registers = state.registers().iter();
        let register = registers.find(|one| one.version.event_id == change.event_id)?;
        let idles = node.idles(&change.subject, &register.effect);
        idles.or_else(|| self.nodes.why_unknown(&register.effect, now.mono))
    }

    /// Those of these nodes that enforce a subject's state which do nothing about a part of it.
    pub(super) fn without_idle(
        &self,
        subject: &Subject,
        mut nodes: Vec<(NodeKey, bool)>,
        now: Now,
    ) -> Vec<(NodeKey, bool)> {
        let Some((state, _)) = self.subjects.get(subject) else { return nodes };
        for register in state.in_effect(now.wall).filter(|register| register.holds()) {
            let idle = self.nodes.idle(subject, &register.effect, now.mono);
            for (key, enforces) in &mut nodes {
                *enforces &= !idle.iter().any(|(one, _)| one == key);
            }
        }
        nodes
    }
}
