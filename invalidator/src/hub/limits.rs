//! Limits across the fleet: the key of a file, and what nodes say.

use audit::entry::{Fact, KeysFact};
use engine::{FleetProgress, NodeKey};
use model::violation::Violation;
use tracing::{error, info, warn};

use super::Hub;
use crate::relay::HashKey;

/// The file that is read.
const FILE: &str = "fleet.key_file";

impl Hub {
    /// Puts the key of a file in force as it was read, or leaves the one before it.
    pub fn fleet_key_read(&self, key: Result<HashKey, Violation>) {
        let (result, changed) = match key {
            Ok(key) => {
                let version = key.version();
                let changed = self.relay.configure(key);
                info!(version, changed, "the fleet's key read");
                self.note_fleet_key(changed);
                ("loaded", Some(changed))
            }
            Err(cause) => {
                error!(%cause, "{FILE} cannot be used: the key before it stays in force");
                ("failed", None)
            }
        };
        let count = changed.map(|_| 1);
        self.audit.note(None, Fact::Keys(KeysFact { file: FILE, result, count, changed }));
    }

    /// Puts the key in force that all daemons have found, unless there is one of a file.
    pub fn fleet_key_agreed(&self, key: HashKey) {
        let version = key.version();
        let changed = self.relay.agree(key);
        if changed {
            info!(version, "the fleet has another key than was known here: nodes get it");
        }
        self.note_fleet_key(changed);
    }

    fn note_fleet_key(&self, changed: bool) {
        if changed {
            self.metrics.fleet.key_changed();
            // Nodes that have another one are told at once.
            self.ring_changed();
        }
    }

    /// Counts and logs how a node stands to limits of the fleet now.
    pub fn note_fleet_progress(&self, node: &NodeKey, progress: &FleetProgress) {
        let FleetProgress { is_cut_off, behind, given_up } = *progress;
        let NodeKey { node, boot_id } = node;
        self.metrics.fleet.node_said(behind, given_up);
        let admit = |name| self.throttles.fleet_limits.admit(name, self.now().mono);
        if let Some(left_out) = (behind > 0).then(|| admit("behind")).flatten() {
            let what = "Redis had less of buckets than a node knew";
            warn!(%node, %boot_id, behind, left_out, "{what}");
        }
        if let Some(left_out) = (given_up > 0).then(|| admit("given_up")).flatten() {
            warn!(%node, %boot_id, tokens = given_up, left_out, "a node has given up reports");
        }
        match is_cut_off {
            Some(true) => {
                warn!(%node, %boot_id, "node is cut off from the fleet's buckets: on_loss holds");
            }
            Some(false) => info!(%node, %boot_id, "node reaches the fleet's buckets again"),
            None => {}
        }
    }
}
