//! Keys of which nodes will not try all.
//!
//! A request in some profiles does not say which key has signed it, so nodes try those that could have.
//! Each costs a hash of the whole body, so they try two unless their configuration wants more. How many
//! that is, and which keys compete, only nodes know for sure (they log and count it too); what can be seen
//! from the file alone is said here.

use std::collections::BTreeSet;

use model::time::UnixMicros;
use signing::key::{Key, KeySet};
use signing::rules::CANDIDATES_DEFAULT;

/// The ids of keys that compete with too many others of the same partner and profile at some time from
/// now on.
#[must_use]
pub fn crowded(keys: &KeySet, now: UnixMicros) -> BTreeSet<String> {
    let mut crowded = BTreeSet::new();
    for key in keys.iter() {
        // More begin to be valid at no other time.
        let at = key.not_before.map_or(now, |begin| begin.max(now));
        let competing: Vec<_> =
            keys.iter().filter(|other| compete(key, other) && other.is_valid_at(at)).collect();
        if key.is_valid_at(at) && competing.len() > CANDIDATES_DEFAULT {
            crowded.extend(competing.iter().map(|other| other.id.to_string()));
        }
    }
    crowded
}

/// Whether a request could have been signed by either, as far as the file says. A key is its own rival.
fn compete(key: &Key, other: &Key) -> bool {
    let is_nameless = key.profile.is_some_and(|profile| !profile.names_key());
    let share = || key.integrations.iter().any(|name| other.integrations.contains(name));
    is_nameless
        && key.profile == other.profile
        && key.partner == other.partner
        && (key.integrations.is_empty() || other.integrations.is_empty() || share())
}
