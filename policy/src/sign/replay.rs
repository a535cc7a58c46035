//! Which signed requests were used, in shared memory.
//!
//! A fixed number of slabs each hold what hashes to them, and nothing is forgotten before its time:
//! a slab that is full of what must be remembered takes no more, and the request is rejected.
//!
//! Layout, little-endian: the version byte, then entries of `hash [16] | expires u64`, the last in
//! microseconds since the Unix epoch, inclusive.

use super::Failure;
use super::verify::Verified;
use crate::config::ReplayStorage;
use crate::gate::Clock;
use crate::hash::{HashKey, SubjectHash};
use crate::shared::{Key, Shared, Step, update};
use crate::time::UnixMicros;

/// The first byte of every slab. A slab of another version is not touched.
pub const VERSION: u8 = 1;

/// The least room that a slab can have, in bytes.
pub const SLAB_BYTES_MIN: u32 = 256;

const ENTRY_BYTES: usize = SubjectHash::BYTES + 8;

/// Uses a verified request up, if it was not used before.
///
/// The clock is read after the slab, and the time of signing checked by it once more: neither a body
/// that comes slowly nor another worker that has just forgotten the request makes it usable again.
///
/// # Errors
/// [`Failure::Replay`], [`Failure::Stale`], or [`Failure::ReplayFull`] if it cannot be remembered.
pub fn admit(
    shared: &mut impl Shared,
    verified: &Verified,
    hash_key: &HashKey,
    storage: ReplayStorage,
    clock: &impl Clock,
) -> Result<(), Failure> {
    let hash = hash_key.nonce(verified.nonce.as_bytes());
    let admitted = update(shared, Key::Replay(hash.slab(storage.slabs)), |slab| {
        let now = clock.wall();
        if verified.valid_until.is_some_and(|end| end < now) {
            return Step::Keep(Err(Failure::Stale));
        }
        let expires = now.saturating_add(verified.remember_for);
        match insert(slab, hash, expires, now, storage.slab_bytes_max) {
            Ok(slab) => Step::Write(slab, Ok(())),
            Err(failure) => Step::Keep(Err(failure)),
        }
    });
    admitted.unwrap_or(Err(Failure::ReplayFull))
}

/// The slab with one more entry, and without those that are over.
///
/// # Errors
/// [`Failure::Replay`] if it is there already, [`Failure::ReplayFull`] if it has no room, or if the
/// bytes are no slab of this version.
pub fn insert(
    slab: Option<&[u8]>,
    hash: SubjectHash,
    expires: UnixMicros,
    now: UnixMicros,
    slab_bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let entries = match slab {
        None | Some([]) => &[][..],
        Some([VERSION, entries @ ..]) => entries,
        Some(_) => return Err(Failure::ReplayFull),
    };
    let (whole, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(Failure::ReplayFull);
    }
    let mut out = Vec::with_capacity(1 + entries.len() + ENTRY_BYTES);
    out.push(VERSION);
    for entry in whole {
        let (known, end) = split(entry).ok_or(Failure::ReplayFull)?;
        if end < now {
            continue;
        }
        if *known == hash.0 {
            return Err(Failure::Replay);
        }
        out.extend_from_slice(entry);
    }
    out.extend_from_slice(&hash.0);
    out.extend_from_slice(&expires.0.to_le_bytes());
    if out.len() > slab_bytes_max { Err(Failure::ReplayFull) } else { Ok(out) }
}

fn split(entry: &[u8; ENTRY_BYTES]) -> Option<(&[u8; SubjectHash::BYTES], UnixMicros)> {
    let (hash, rest) = entry.split_first_chunk()?;
    let (end, _) = rest.split_first_chunk()?;
    Some((hash, UnixMicros(u64::from_le_bytes(*end))))
}
