//! The nodes that poll: where each stands, when it was last heard of, what it could not store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::name::Name;
use model::push::{
    FIRST_REJECTIONS_MAX, NODE_NAME_BYTES_MAX, NODE_NAME_RULE, PROTOCOL, Poll, REFUSALS_MAX,
    freshness, is_node_name, unsure,
};
use model::state::PACKED_FORM;
use thiserror::Error;

use super::answer::{Position, millis};
use super::does::Does;
use super::node::{Asked, Node, Standing};
use super::report::NodeStatus;
use super::sharing::{FleetProgress, Sharing};

/// How long a node that no longer polls is remembered.
pub const NODE_EXPIRES_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long after a node was turned away publishers are told so: its next poll is due before.
const TURNED_AWAY_FOR: Duration = Duration::from_secs(60);
/// Longest cursor, in bytes: a subject and its framing.
const CURSOR_BYTES_MAX: usize = 512;
/// Most route groups, and most limits, that a node may name.
const NODE_NAMES_MAX: usize = 1_024;
/// End of the versions of keys that a node may have, so that there is always a newer one.
const KEYS_VERSION_END: u64 = 1 << 63;

/// What a node may say that it does while it cannot know.
const UNSURE_RULE: &str = "must be allow, deny or by-route";

/// Why a poll is not answered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PollError {
    /// It breaks a rule of the protocol.
    #[error("{field}: {rule}")]
    Malformed {
        /// The field, as the `.proto` file spells it.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// As many nodes as configured are connected.
    #[error("limits.nodes_max: no room for another node")]
    TooManyNodes,
}

/// One Envoy process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey {
    /// The node's name.
    pub node: Box<str>,
    /// The life of the node's memory.
    pub boot_id: Box<str>,
}

/// One poll, while it is being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Who polls.
    pub key: NodeKey,
    pub(super) position: Position,
    /// The version of the keys that the node has.
    pub(super) keys_version: u64,
    /// Whether the node reads packed states.
    pub(super) takes_packed: bool,
    /// Greater than that of every poll before.
    generation: u64,
}

/// At most a given number of nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: BTreeMap<NodeKey, Node>,
    nodes_max: usize,
    connected_for: Duration,
    generation: u64,
    /// When there was no room for a node last.
    turned_away_at: Option<Duration>,
}

impl Nodes {
    pub(super) fn new(nodes_max: usize, connected_for: Duration) -> Self {
        Self {
            nodes: BTreeMap::new(),
            nodes_max,
            connected_for,
            generation: 0,
            turned_away_at: None,
        }
    }

    /// Notes that a node polls; says whether a poll of its was still held, which is superseded now.
    pub(super) fn arrive(
        &mut self,
        poll: &Poll,
        position: Position,
        now: Duration,
    ) -> Result<(Ticket, bool), PollError> {
        check(poll)?;
        let key = key_of(poll);
        if !self.nodes.contains_key(&key) {
            self.make_room(now).inspect_err(|_| self.turned_away_at = Some(now))?;
        }
        self.generation = self.generation.saturating_add(1);
        let generation = self.generation;
        let node = self.nodes.entry(key.clone()).or_insert_with(|| Node::new(now));
        node.polled_at = now;
        let superseded = std::mem::replace(&mut node.held, false);
        node.reported_gone = false;
        node.hung_up = false;
        node.generation = generation;
        // Unchanged on nearly every poll: no need to copy them again.
        if node.route_groups != poll.route_groups {
            node.route_groups.clone_from(&poll.route_groups);
        }
        if node.limits != poll.limits {
            node.limits.clone_from(&poll.limits);
        }
        if node.idle != poll.idle {
            node.idle.clone_from(&poll.idle);
        }
        let words = [
            (&mut node.freshness, &poll.freshness),
            (&mut node.when_stale, &poll.when_stale),
            (&mut node.when_never_synced, &poll.when_never_synced),
        ];
        for (known, said) in words {
            if **known != **said {
                *known = said.as_str().into();
            }
        }
        node.keys_version = poll.keys_version;
        node.sharing.hear(poll.fleet.as_ref());
        node.takes_extras = poll.takes_extras;
        let takes_packed = poll.packed_form >= PACKED_FORM;
        node.begins_with = node.begins_with.filter(|first| poll.batch < *first);
        let keys_version = poll.keys_version;
        Ok((Ticket { key, position, keys_version, takes_packed, generation }, superseded))
    }

    /// Forgets the node that has been gone for longest if there are too many.
    fn make_room(&mut self, now: Duration) -> Result<(), PollError> {
        if self.nodes.len() < self.nodes_max {
            return Ok(());
        }
        let gone = self.nodes.iter().filter(|(_, node)| !self.is_connected(node, now));
        let longest = gone.min_by_key(|(_, node)| node.polled_at).map(|(key, _)| key.clone());
        let longest = longest.ok_or(PollError::TooManyNodes)?;
        self.nodes.remove(&longest);
        Ok(())
    }

    fn does(&self, node: &Node, now: Duration) -> Does {
        let Node { freshness, when_stale, when_never_synced, .. } = node;
        match self.is_connected(node, now) {
            true => Does::of(freshness, when_stale, when_never_synced),
            false => Does::Gone,
        }
    }

    fn is_connected(&self, node: &Node, now: Duration) -> bool {
        node.held || now.saturating_sub(node.polled_at) < self.connected_for
    }

    pub(super) fn connected(&self, now: Duration) -> impl Iterator<Item = (&NodeKey, &Node)> {
        self.nodes.iter().filter(move |(_, node)| self.is_connected(node, now))
    }

    /// Each connected node, to change what is noted of it.
    pub(super) fn connected_mut(
        &mut self,
        now: Duration,
    ) -> impl Iterator<Item = (&NodeKey, &mut Node)> {
        let connected_for = self.connected_for;
        self.nodes.iter_mut().filter(move |(_, node)| {
            node.held || now.saturating_sub(node.polled_at) < connected_for
        })
    }

    pub(super) fn get(&self, key: &NodeKey) -> Option<&Node> {
        self.nodes.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(key)
    }

    /// See [`Node::start_over`].
    pub(super) fn start_over(&mut self, key: &NodeKey, ahead: u64, first_batch: u64) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.start_over(ahead, first_batch);
        }
    }

    /// Whether it is time to try again what this node could not store, and only a snapshot has all
    /// of that.
    pub(super) fn needs_snapshot(&self, poll: &Poll, now: Duration) -> bool {
        let node = self.nodes.get(&key_of(poll));
        node.is_some_and(|node| node.is_to_retry(now) && node.needs_snapshot())
    }

    /// Whether this node was to begin with a snapshot, and got none of it.
    pub(super) fn has_not_begun(&self, poll: &Poll) -> bool {
        let begins_with = self.nodes.get(&key_of(poll)).and_then(|node| node.begins_with);
        begins_with.is_some_and(|first| poll.batch < first)
    }

    /// Whether no newer poll of the same node has arrived.
    pub(super) fn is_current(&self, ticket: &Ticket) -> bool {
        self.nodes.get(&ticket.key).is_some_and(|node| node.generation == ticket.generation)
    }

    pub(super) fn set_held(&mut self, ticket: &Ticket, held: bool) {
        let node = self.nodes.get_mut(&ticket.key);
        if let Some(node) = node.filter(|node| node.generation == ticket.generation) {
            node.held = held;
        }
    }

    /// Notes that the connection of a node's last poll was closed.
    pub(super) fn set_hung_up(&mut self, ticket: &Ticket) {
        let node = self.nodes.get_mut(&ticket.key);
        if let Some(node) = node.filter(|node| node.generation == ticket.generation) {
            node.hung_up = true;
        }
    }

    pub(super) fn any_connected(&self, now: Duration) -> bool {
        self.connected(now).next().is_some()
    }

    pub(super) fn knows_route_group(&self, name: &str, now: Duration) -> bool {
        self.connected(now).any(|(_, node)| node.route_groups.iter().any(|group| group == name))
    }

    pub(super) fn knows_limit(&self, name: &str, now: Duration) -> bool {
        self.connected(now).any(|(_, node)| node.limits.iter().any(|limit| limit == name))
    }

    /// Each connected node, and how it stands to a subject's change; see [`Node::standing`].
    pub(super) fn standings(
        &self,
        asked: Asked<'_>,
        now: Duration,
    ) -> impl Iterator<Item = (&NodeKey, Standing<'_>)> {
        self.connected(now).map(move |(key, node)| (key, node.standing(asked)))
    }

    /// Each connected node, and whether it enforces a subject's change.
    pub(super) fn enforcing(&self, asked: Asked<'_>, now: Duration) -> Vec<(NodeKey, bool)> {
        let standings = self.standings(asked, now);
        standings.map(|(key, standing)| (key.clone(), standing == Standing::Stored)).collect()
    }

    /// Each node that is known, and whether it polls.
    pub(super) fn all(&self, now: Duration) -> impl Iterator<Item = (&NodeKey, &Node, bool)> {
        self.nodes.iter().map(move |(key, node)| (key, node, self.is_connected(node, now)))
    }

    /// The version of the keys that a node said it has, when it last polled.
    pub(super) fn keys_version(&self, poll: &Poll) -> u64 {
        self.nodes.get(&key_of(poll)).map_or(0, |node| node.keys_version)
    }

    /// What a poll says of limits that hold for the whole fleet and the node's last one did not.
    pub(super) fn fleet_progress(&self, poll: &Poll) -> FleetProgress {
        let before = self.nodes.get(&key_of(poll)).map(|node| &node.sharing);
        Sharing::progress(before, poll.fleet.as_ref())
    }

    /// The version of the keys that a node was last sent.
    pub(super) fn keys_sent(&self, key: &NodeKey) -> u64 {
        self.nodes.get(key).map_or(0, |node| node.keys_sent)
    }

    pub(super) fn is_synced(&self, key: &NodeKey) -> bool {
        self.nodes.get(key).is_some_and(|node| node.synced)
    }

    /// The names of nodes that have stopped polling, and of which no other process polls.
    pub(super) fn gone(&self, now: Duration) -> impl Iterator<Item = &str> {
        let polls = move |name: &str| self.connected(now).any(|(key, _)| *key.node == *name);
        let names: BTreeSet<&str> = self.nodes.keys().map(|key| &*key.node).collect();
        names.into_iter().filter(move |name| !polls(name))
    }

    /// Whether there was no room for a node within the last minute.
    pub(super) fn has_turned_away(&self, now: Duration) -> bool {
        self.turned_away_at.is_some_and(|at| now.saturating_sub(at) < TURNED_AWAY_FOR)
    }

    /// Forgets nodes that have been gone for [`NODE_EXPIRES_AFTER`]; answers with those that have
    /// gone since the last call.
    pub(super) fn sweep(&mut self, now: Duration) -> Vec<NodeKey> {
        self.nodes
            .retain(|_, node| node.held || now.saturating_sub(node.polled_at) < NODE_EXPIRES_AFTER);
        let connected_for = self.connected_for;
        let mut gone = Vec::new();
        for (key, node) in &mut self.nodes {
            let quiet = now.saturating_sub(node.polled_at) >= connected_for;
            if quiet && !node.held && !node.reported_gone {
                node.reported_gone = true;
                node.next_chunk = None;
                gone.push(key.clone());
            }
        }
        gone
    }

    /// The sequence that every node has applied which is known, connected or not; none without nodes.
    pub(super) fn all_have(&self) -> Option<u64> {
        self.nodes.values().map(|node| if node.synced { node.applied } else { 0 }).min()
    }

    pub(super) fn status(&self, last: u64, now: Duration) -> Vec<NodeStatus> {
        let status = |(key, node): (&NodeKey, &Node)| NodeStatus {
            node: key.node.to_string(),
            boot_id: key.boot_id.to_string(),
            applied: node.applied,
            lag: last.saturating_sub(node.applied),
            synced: node.synced,
            staleness_ms: millis(now.saturating_sub(node.polled_at)),
            connected: self.is_connected(node, now),
            hung_up: node.hung_up,
            refused: node.unstored(),
            repaired: node.repaired.unwrap_or(0),
            route_groups: node.route_groups.clone(),
            idle: node.idle.clone(),
            does: self.does(node, now),
            keys_version: node.keys_version,
            fleet_limits: node.sharing.status(now.saturating_sub(node.polled_at)),
        };
        self.nodes.iter().map(status).collect()
    }
}

fn key_of(poll: &Poll) -> NodeKey {
    NodeKey { node: poll.node.as_str().into(), boot_id: poll.boot_id.as_str().into() }
}

/// Checks everything that is kept of a poll.
fn check(poll: &Poll) -> Result<(), PollError> {
    let names = |names: &[String]| {
        names.len() <= NODE_NAMES_MAX && names.iter().all(|name| Name::parse(name).is_some())
    };
    // Older nodes do not say it.
    let said = |word: &str, words: &[&str]| word.is_empty() || words.contains(&word);
    let causes = poll.refused.iter().all(|refusal| refusal.cause.len() <= NODE_NAME_BYTES_MAX);
    let rules = [
        ("protocol", "must be 1", poll.protocol == PROTOCOL),
        ("node", NODE_NAME_RULE, is_node_name(&poll.node)),
        ("boot_id", NODE_NAME_RULE, is_node_name(&poll.boot_id)),
        ("epoch", "must be at most 128 bytes", poll.epoch.len() <= NODE_NAME_BYTES_MAX),
        ("cursor", "must be at most 512 bytes", poll.cursor.len() <= CURSOR_BYTES_MAX),
        ("refused", "must be at most 1024", poll.refused.len() <= REFUSALS_MAX),
        (
            "first_rejections",
            "must be at most 64",
            poll.first_rejections.len() <= FIRST_REJECTIONS_MAX,
        ),
        ("refused.cause", "must be at most 128 bytes", causes),
        ("route_groups", "must be at most 1024 names", names(&poll.route_groups)),
        ("limits", "must be at most 1024 names", names(&poll.limits)),
        ("idle", "must be at most 1024 names", names(&poll.idle)),
        (
            "freshness",
            "must be fresh, stale or never-synced",
            said(&poll.freshness, &freshness::ALL),
        ),
        ("when_stale", UNSURE_RULE, said(&poll.when_stale, &unsure::ALL)),
        ("when_never_synced", UNSURE_RULE, said(&poll.when_never_synced, &unsure::ALL)),
        ("keys_version", "must be below 2^63", poll.keys_version < KEYS_VERSION_END),
    ];
    match rules.iter().find(|(_, _, holds)| !holds) {
        Some(&(field, rule, _)) => Err(PollError::Malformed { field, rule }),
        None => Ok(()),
    }
}
