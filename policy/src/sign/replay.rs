//! Which signed requests were used, in shared memory.

use super::Failure;
use super::verify::Verified;
use crate::config::ReplayStorage;
use crate::hash::HashKey;
use crate::shared::Shared;
use crate::time::UnixMicros;

/// The least room that a slab can have, in bytes.
pub const SLAB_BYTES_MIN: u32 = 256;

/// Uses a verified request up, if it was not used before.
///
/// # Errors
/// [`Failure::Replay`], or [`Failure::ReplayFull`] if it cannot be remembered.
pub fn admit(
    _shared: &mut impl Shared,
    _verified: &Verified,
    _hash_key: &HashKey,
    _storage: ReplayStorage,
    _now: UnixMicros,
) -> Result<(), Failure> {
    Err(Failure::ReplayFull)
}
