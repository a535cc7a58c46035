//! Which keys are tried.

use std::sync::Arc;

use model::name::Name;
use model::time::UnixMicros;

use crate::key::{Key, KeySet};
use crate::presented::Claims;
use crate::rules::CANDIDATES_MAX;
use crate::{Failure, SignatureRules};

/// The keys that the request may be signed with; at least one.
pub(super) fn usable_keys(
    signature: &SignatureRules,
    integration: Option<&Name>,
    claims: &Claims,
    keys: &KeySet,
    now: UnixMicros,
) -> Result<Vec<Arc<Key>>, Failure> {
    let is_in_scope = |key: &Key| key.is_for(integration, signature);
    let is_readable = |key: &Key| key.secret.bytes_for(signature.profile).is_some();
    if let Some(id) = &claims.key_id {
        let key = keys.get(id).ok_or(Failure::UnknownKey)?;
        if !is_in_scope(key) {
            return Err(Failure::OutOfScope);
        }
        let usable = key.is_valid_at(now).then(|| vec![key.clone()]);
        return usable.ok_or(Failure::ExpiredKey);
    }
    let mut in_scope = keys.iter().filter(|key| is_in_scope(key) && is_readable(key)).peekable();
    let is_known = in_scope.peek().is_some();
    let usable = newest(&mut in_scope, now, signature.keys_max.min(CANDIDATES_MAX));
    match usable.is_empty() {
        false => Ok(usable),
        true if is_known => Err(Failure::ExpiredKey),
        true => Err(Failure::UnknownKey),
    }
}

/// Of those keys that are valid then, at most so many: those that last longest, since a key that was
/// replaced has an end; of those that last as long the ones that began last; and then the first by id,
/// which is the order they come in.
pub fn newest(
    keys: &mut dyn Iterator<Item = &Arc<Key>>,
    now: UnixMicros,
    max: usize,
) -> Vec<Arc<Key>> {
    // Few are kept, so each is put in its place: a sort would be as much code as the rest of this file.
    let mut newest: Vec<Arc<Key>> = Vec::new();
    let rank = |key: &Key| (key.not_after.is_none(), key.not_after, key.not_before);
    for key in keys.filter(|key| key.is_valid_at(now)) {
        let place = newest.partition_point(|known| rank(known) >= rank(key));
        newest.insert(place, Arc::clone(key));
        newest.truncate(max);
    }
    newest
}
