//! What is shown of the signing keys of partners.

use engine::Status;
use signing::Validity;

use super::{Metrics, NodeLabels, StateLabel};

impl Metrics {
    pub(super) fn register_keys(&mut self) {
        let r = &mut self.registry;
        let help = "Times that a changed keys file was read";
        r.register("keys_reloads", help, self.keys_reloads.clone());
        let help = "Times that a changed keys file could not be used";
        r.register("keys_reload_failures", help, self.keys_reload_failures.clone());
        let help = "1 while the keys file as it is now is not in force";
        r.register("keys_file_broken", help, self.keys_file_broken.clone());
        let help = "Keys that compete with more others than nodes try by default";
        r.register("keys_crowded", help, self.keys_crowded.clone());
        r.register("keys", "Signing keys by validity", self.keys.clone());
        let help = "1 if a node has the keys in force";
        r.register("node_keys_current", help, self.node_keys_current.clone());
    }

    /// Counts a changed keys file that was read.
    pub fn keys_reloaded(&self) {
        self.keys_reloads.inc();
    }

    /// Sets how many keys compete with more others than nodes try by default.
    pub fn keys_crowded(&self, count: usize) {
        self.keys_crowded.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a changed keys file that could not be used.
    pub fn keys_reload_failed(&self) {
        self.keys_reload_failures.inc();
    }

    pub(super) fn set_keys_gauges(&self, status: &Status) {
        self.node_keys_current.clear();
        let Some(keys) = &status.keys else { return };
        self.keys_file_broken.set(keys.failure.is_some().into());
        for state in Validity::ALL.map(Validity::as_str) {
            let count = keys.keys.iter().filter(|key| key.state == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.keys.get_or_create(&StateLabel { state }).set(count);
        }
        for node in status.nodes.iter().filter(|node| node.connected) {
            let labels = NodeLabels { node: node.node.clone(), boot_id: node.boot_id.clone() };
            let current = (node.keys_version == keys.version).into();
            self.node_keys_current.get_or_create(&labels).set(current);
        }
    }
}
