//! What one worker remembers for itself, beside shared memory.

use signing::key::KeyId;

use super::keys::KeyCache;
use super::load::Load;
use crate::config::Config;
use crate::fleet::memo::FleetMemo;

/// What one worker remembers for itself.
#[derive(Debug, Default)]
pub struct WorkerMemo {
    /// The keys of signed requests.
    pub keys: KeyCache,
    /// What it holds, and hashes in vain.
    pub load: Load,
    /// The fleet's buckets that it has taken from.
    pub fleet: FleetMemo,
    /// By the integration's index, the key that has verified last, where requests do not name theirs.
    preferred: Vec<Option<KeyId>>,
}

impl WorkerMemo {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let preferred = vec![None; config.integrations.len()];
        let (keys, load) = (KeyCache::new(config), Load::new(config));
        Self { keys, load, fleet: FleetMemo::default(), preferred }
    }

    pub(super) fn preferred(&self, integration: usize) -> Option<&KeyId> {
        self.preferred.get(integration)?.as_ref()
    }

    pub(super) fn prefer(&mut self, integration: usize, key: &KeyId) {
        if let Some(known) = self.preferred.get_mut(integration)
            && known.as_ref() != Some(key)
        {
            *known = Some(key.clone());
        }
    }
}
