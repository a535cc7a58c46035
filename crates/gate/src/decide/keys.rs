//! The keys of signed requests that hold now, as far as one worker remembers.

use model::memory::{Mark, MemoryKey, SharedMemory};
use model::push::{self, Message};
use signing::Profile;
use signing::key::{KeyId, KeySet};

use crate::config::{Config, Wanted};

/// The keys that hold now, as far as one VM remembers: those of the configuration and those in
/// shared memory, which are decoded only when they have changed.
#[derive(Debug, Default)]
pub struct KeyCache {
    configured: KeySet,
    pushed: Option<(Mark, KeySet)>,
    wanted: Wanted,
    unclear: Vec<KeyId>,
    follows: bool,
}

impl KeyCache {
    /// Knows the configured keys.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let follows = config.invalidator.is_some();
        let wanted = Wanted::by(&config.integrations);
        Self { configured: config.keys.clone(), pushed: None, wanted, unclear: Vec::new(), follows }
    }

    /// The keys that hold now. Of two with the same id, the pushed one.
    pub fn get(&mut self, shared: &mut impl SharedMemory) -> &KeySet {
        if !self.follows {
            return &self.configured;
        }
        let (value, mark) = shared.read(MemoryKey::Keys);
        if self.pushed.as_ref().is_none_or(|(known, _)| *known != mark) {
            // What cannot be read hands out no keys; the poller stores nothing of the kind.
            let pushed = value.as_deref().and_then(decode).unwrap_or_default();
            let (wanted, unclear) = (&self.wanted, &mut self.unclear);
            unclear.clear();
            let pushed = pushed.bound(|key| {
                wanted.profile_of(key).unwrap_or_else(|_| {
                    unclear.push(key.id.clone());
                    Some(Profile::Portcullis)
                })
            });
            self.pushed = Some((mark, self.configured.merged(&pushed)));
        }
        self.pushed.as_ref().map_or(&self.configured, |(_, keys)| keys)
    }

    /// The keys, of those that [`KeyCache::get`] had last, that say nothing of a profile, and could be for
    /// integrations of several: they sign in [`Profile::Portcullis`] only.
    #[must_use]
    pub fn unclear(&self) -> &[KeyId] {
        &self.unclear
    }
}

fn decode(value: &[u8]) -> Option<KeySet> {
    KeySet::try_from(push::KeySet::decode(value).ok()?).ok()
}
