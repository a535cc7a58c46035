//! The signing keys that nodes are to have: one set, replaced as a whole, under a version that
//! only goes up.

use model::push;
use model::time::UnixMicros;
use signing::Validity;
use signing::key::KeySet;

use super::report::{KeyStatus, KeysStatus};

/// The set in force. Version 0 is that of a daemon without a keys file, and has no keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    set: KeySet,
    version: u64,
    /// When the set was loaded; nothing without a keys file.
    loaded_at: Option<UnixMicros>,
    /// Why the file as it is now is not in force.
    failure: Option<String>,
}

impl Keys {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Puts a set in force; says whether it is another one than before.
    pub(super) fn replace(&mut self, set: KeySet, now: UnixMicros) -> bool {
        self.failure = None;
        if self.loaded_at.is_some() && self.set.to_wire(0) == set.to_wire(0) {
            return false;
        }
        self.set = set;
        self.version = now.0.max(self.version.saturating_add(1));
        self.loaded_at = Some(now);
        true
    }

    /// A node has keys of an earlier run whose clock was ahead, and would not take older ones.
    pub(super) fn outrank(&mut self, version: u64) {
        if version > self.version {
            self.version = version.saturating_add(1);
        }
    }

    pub(super) fn fail(&mut self, cause: String) {
        self.failure = Some(cause);
    }

    /// The set for a node.
    pub(super) fn to_wire(&self) -> push::KeySet {
        self.set.to_wire(self.version)
    }

    /// Everything but the secrets.
    pub(super) fn status(&self, now: UnixMicros) -> Option<KeysStatus> {
        let loaded_at = self.loaded_at?.to_string();
        let keys = self.set.iter().map(|key| KeyStatus {
            id: key.id.to_string(),
            partner: key.partner.to_string(),
            state: Validity::at(key.not_before, key.not_after, now).as_str(),
            not_before: key.not_before.map(|at| at.to_string()),
            not_after: key.not_after.map(|at| at.to_string()),
            integrations: key.integrations.iter().map(ToString::to_string).collect(),
            profile: key.profile.map(|profile| profile.as_str()),
        });
        Some(KeysStatus {
            version: self.version,
            loaded_at,
            failure: self.failure.clone(),
            keys: keys.collect(),
        })
    }
}
