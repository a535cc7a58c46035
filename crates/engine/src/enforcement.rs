//! Whether each node enforces one event, for whoever asks about it by its id.

use model::name::EventId;
use model::subject::Subject;

use super::node::{Asked, Node, Standing};
use super::{Engine, NodeKey, Now};

/// How one node stands to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforces {
    /// It has acknowledged it, and does what it says.
    Yes,
    /// It polls, and has not acknowledged it yet.
    Behind,
    /// It polls, and has not had all that its daemon knows since it or the daemon started.
    NeverSynced,
    /// It does not poll any more.
    Gone,
    /// It could not store it, or does nothing about it, for this cause.
    Refused(String),
}

/// How the nodes of this daemon stand to one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    /// Whether what the event says is so, by all that is known here.
    pub in_effect: bool,
    /// Every node that is known: those that poll, and those that did within the last
    /// [`super::NODE_EXPIRES_AFTER`]. One is left out: whose connection was closed after its last poll, as happens when
    /// its process ends, and whose name another one polls under. Whoever falls silent without that may serve on, whoever
    /// else has its name.
    pub nodes: Vec<(NodeKey, Enforces)>,
    /// Whether a node was turned away lately, for want of room: it enforces nothing new.
    pub turned_away: bool,
}

impl Engine {
    /// How every node stands to an event; nothing while the event is not known here. An event that is known
    /// and no longer part of its subject's state is not in effect.
    #[must_use]
    pub fn enforcement(
        &self,
        subject: &Subject,
        event_id: &EventId,
        now: Now,
    ) -> Option<Enforcement> {
        let held = self.held(subject, event_id);
        if held.is_none() && self.seen.get(subject, event_id).is_none() {
            return None;
        }
        let in_effect =
            held.as_ref().is_some_and(|held| self.standing(subject, held, now).in_effect);
        let current = self.subjects.sequence_of(subject).unwrap_or_default();
        let is_urgent = self.log.is_urgent(current);
        let asked = Asked { subject, sequence: current, current, is_urgent };
        let idle = match &held {
            Some(held) => self.nodes.idle(subject, &held.effect, now.mono),
            None => Vec::new(),
        };
        let gone: Vec<&str> = self.nodes.gone(now.mono).collect();
        let has_successor = |key: &NodeKey| !gone.contains(&&*key.node);
        let stands = |(key, node, connected): (&NodeKey, &Node, bool)| {
            let idles = idle.iter().find(|(idle, _)| idle == key);
            let enforces = match (node.standing(asked), idles) {
                _ if !connected => Enforces::Gone,
                (Standing::Pending, _) if node.synced => Enforces::Behind,
                (Standing::Pending, _) => Enforces::NeverSynced,
                (Standing::Unstored(cause), _) => Enforces::Refused(cause.to_owned()),
                (Standing::Stored, Some((_, cause))) => Enforces::Refused((*cause).to_owned()),
                (Standing::Stored, None) => Enforces::Yes,
            };
            (key.clone(), enforces)
        };
        let all = self.nodes.all(now.mono);
        let counts =
            all.filter(|(key, node, polls)| *polls || !(node.hung_up && has_successor(key)));
        Some(Enforcement {
            in_effect,
            nodes: counts.map(stands).collect(),
            turned_away: self.nodes.has_turned_away(now.mono),
        })
    }

    /// The sequence that every node which polls has applied; none if none polls, or one has not had all yet.
    #[must_use]
    pub fn applied_by_all(&self, now: Now) -> Option<u64> {
        let connected = self.nodes.connected(now.mono);
        connected.map(|(_, node)| node.synced.then_some(node.applied)).min().flatten()
    }
}
