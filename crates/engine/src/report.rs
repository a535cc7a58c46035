//! What the engine tells people: plain values in the words of the API.

use serde::{Deserialize, Serialize};

use super::does::Does;
use super::{Digest, FleetLimits, NodeKey};

/// Who has applied one change, as far as is known when the waiting ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whether every connected node enforces it, and there is one.
    pub enforced: bool,
    /// From taking the event in to the last acknowledgement, in milliseconds.
    pub elapsed_ms: f64,
    /// The nodes that have applied it.
    pub nodes: Vec<Acknowledged>,
    /// Names of nodes that have not acknowledged it yet.
    pub pending: Vec<String>,
    /// Nodes that could not store it, or do nothing about it.
    pub refused: Vec<Refused>,
}

impl Receipt {
    /// Takes nodes that do nothing about the change out of those that enforce it.
    pub fn leave_out(&mut self, idle: &[(NodeKey, &'static str)]) {
        for (key, cause) in idle {
            let is_it = |one: &Acknowledged| *one.node == *key.node && *one.boot_id == *key.boot_id;
            if let Some(at) = self.nodes.iter().position(is_it) {
                let node = self.nodes.remove(at).node;
                self.refused.push(Refused { node, cause: (*cause).to_owned() });
                self.enforced = false;
            }
        }
    }
}

/// A node that has applied a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The node's name.
    pub node: String,
    /// The life of the node's memory.
    pub boot_id: String,
    /// From taking the event in to this node's acknowledgement, in milliseconds.
    pub ms: f64,
}

/// A node that could not store a change, or does nothing about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The node's name.
    pub node: String,
    /// Why, in the node's words.
    pub cause: String,
}

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Random name of this run: sequences belong to it.
    pub epoch: String,
    /// The sequence of the newest change.
    pub sequence: u64,
    /// Seconds since the daemon's start.
    pub uptime_s: u64,
    /// Where events come from.
    pub sources: Vec<SourceStatus>,
    /// Who polls, or did until recently.
    pub nodes: Vec<NodeStatus>,
    /// Users and sessions with a state.
    pub subjects: usize,
    /// Those of them for whom something holds, such as a block: at most `limits.subjects_max`.
    pub subjects_holding: usize,
    /// Whether there is no room for a block of another one.
    pub is_full: bool,
    /// Of the events that these states consist of: daemons that know the same have the same.
    pub digest: Digest,
    /// The signing keys; nothing without a keys file.
    pub keys: Option<KeysStatus>,
}

/// The set of keys in force, without a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeysStatus {
    /// Its version: nodes that have it say so.
    pub version: u64,
    /// When it was loaded.
    pub loaded_at: String,
    /// Why the file as it is now is not in force, if it is not.
    pub failure: Option<String>,
    /// The keys, by id.
    pub keys: Vec<KeyStatus>,
}

/// One key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Its id.
    pub id: String,
    /// Who signs with it.
    pub partner: String,
    /// `pending`, `active` or `expired`.
    pub state: &'static str,
    /// Valid from then on; nothing: always has been.
    pub not_before: Option<String>,
    /// Valid until then; nothing: without end.
    pub not_after: Option<String>,
    /// What it may be used for; none means everything.
    pub integrations: Vec<String>,
    /// The profile that it signs in; nothing: each node finds out from its integrations.
    pub profile: Option<&'static str>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: &'static str,
    /// `connected`, `disconnected`, or `connecting` before the first success.
    pub state: &'static str,
    /// Milliseconds since it was last known to work; nothing if it never was.
    pub age_ms: Option<u64>,
    /// What is wrong with it although it is connected, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<&'static str>,
}

/// One node: an Envoy process that polls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: String,
    /// The life of its memory.
    pub boot_id: String,
    /// The sequence it has applied.
    pub applied: u64,
    /// How many changes it is behind.
    pub lag: u64,
    /// Whether it has had a whole snapshot in this epoch.
    pub synced: bool,
    /// Milliseconds since its last poll arrived.
    pub staleness_ms: u64,
    /// Whether it polls.
    pub connected: bool,
    /// Whether the connection of its last poll was closed, and it has not polled since: most likely its process has
    /// ended.
    #[serde(skip_serializing_if = "is_false")]
    pub hung_up: bool,
    /// How many changes it could not store and so does not enforce.
    pub refused: usize,
    /// How many states checks found missing in its memory, since the start of it.
    pub repaired: u64,
    /// The names it knows for scopes.
    pub route_groups: Vec<String>,
    /// What it stores and does nothing about, by its configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<String>,
    /// What it does now, as far as is known here.
    pub does: Does,
    /// The version of the keys it has; 0 for none.
    pub keys_version: u64,
    /// How it stands to limits that hold for the whole fleet; nothing if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_limits: Option<FleetLimits>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde asks")]
fn is_false(flag: &bool) -> bool {
    !flag
}
