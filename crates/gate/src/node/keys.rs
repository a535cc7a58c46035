//! The keys of signed requests that the invalidator hands out, in shared memory.

use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::push::{self, Message};
use signing::key::{KEYS_BYTES_MAX, KeySet};

/// The version of the keys that this node has; 0 for none.
pub(super) fn version(shared: &mut impl SharedMemory) -> u64 {
    shared.read(MemoryKey::Keys).0.as_deref().map_or(0, version_of)
}

fn version_of(value: &[u8]) -> u64 {
    push::KeySet::decode(value).map_or(0, |keys| keys.version)
}

/// Replaces an earlier set by this one; says whether it did.
///
/// # Errors
/// Why the set cannot be used, in words for an operator.
pub(super) fn store(shared: &mut impl SharedMemory, keys: &push::KeySet) -> Result<bool, String> {
    KeySet::try_from(keys.clone()).map_err(|error| error.to_string())?;
    let encoded = keys.encode_to_vec();
    if encoded.len() > KEYS_BYTES_MAX {
        return Err("keys: must be at most 64 KiB".to_owned());
    }
    let stored = update(shared, MemoryKey::Keys, |present| match present {
        Some(value) if version_of(value) >= keys.version => Step::Keep(false),
        _ => Step::Write(encoded.clone(), true),
    });
    stored.map_err(|_| "too many writers at once".to_owned())
}
