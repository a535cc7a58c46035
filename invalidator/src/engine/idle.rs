//! Nodes that store an event and do nothing about it, since their configuration is such: nobody may be
//! told that they enforce it.

use policy::push::idle;
use policy::state::Effect;
use policy::subject::Subject;

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
        now: std::time::Duration,
    ) -> Vec<(NodeKey, &'static str)> {
        let causes = self.connected(now).map(|(key, node)| (key, node.idles(subject, effect)));
        causes.filter_map(|(key, cause)| Some((key.clone(), cause?))).collect()
    }
}

impl Engine {
    /// Why a node does nothing about a change that it has acknowledged, if so.
    #[must_use]
    pub fn idles(&self, key: &NodeKey, change: &Change) -> Option<&'static str> {
        let node = self.nodes.get(key)?;
        let (state, _) = self.subjects.get(&change.subject)?;
        let mut registers = state.registers().iter();
        let register = registers.find(|one| one.version.event_id == change.event_id)?;
        node.idles(&change.subject, &register.effect)
    }

    /// Those of these nodes that enforce a subject's state which do nothing about a part of it.
    pub(super) fn without_idle(
        &self,
        subject: &Subject,
        mut nodes: Vec<(NodeKey, bool)>,
        now: Now,
    ) -> Vec<(NodeKey, bool)> {
        let Some((state, _)) = self.subjects.get(subject) else { return nodes };
        for (key, enforces) in &mut nodes {
            let Some(node) = self.nodes.get(key).filter(|node| !node.idle.is_empty()) else {
                continue;
            };
            let mut held = state.in_effect(now.wall);
            *enforces &= !held.any(|register| node.idles(subject, &register.effect).is_some());
        }
        nodes
    }
}
