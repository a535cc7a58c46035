//! How replicas of the fleet's buckets stand in shared memory: apart from everything else, so that who has no limit
//! for the fleet reads and writes nothing of it.
//!
//! A fixed number of slabs each hold the buckets of the subjects that hash there, as those of [`super`] do. Layout,
//! little-endian: the version byte, then entries of `subject [16] | limit u32 | rate u32 | length u8 | replica`, a
//! replica as the crate `fleet` packs it. The subject is a hash under the fleet's key, or under the node's own until it
//! knows that.
//!
//! A replica is dropped when room is needed, once it is idle, or has been full for so long that nobody has its report in
//! mind any more. Each limit has room of its own, of which news
//! about subjects that this node has not seen take no more than half: so nobody who is many subjects elsewhere can keep
//! those of this node out.

use std::ops::Range;

use fleet::replica::Replica;
use model::bucket::RateTag;
use model::hash::SubjectHash;
use model::time::MonotonicNanos;

/// The first byte of every such slab. A slab of another version is not touched.
pub const VERSION: u8 = 1;

const HEAD_BYTES: usize = SubjectHash::BYTES + 4 + 4 + 1;

/// The bytes that one bucket takes of its limit's room, most of the time.
pub const BUCKET_BYTES: usize = HEAD_BYTES + Replica::PACKED_BYTES_MIN;

/// Which bucket, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketKey {
    /// Whose it is.
    pub subject: SubjectHash,
    /// Fingerprint of the limit's name.
    pub limit: u32,
    /// Under which rate.
    pub rate: RateTag,
}

/// The bytes are no slab of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// There is no room for one more bucket of this limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Where a replica stands in its slab.
pub type Place = Range<usize>;

/// One entry: where it begins, whose it is, and where its replica is.
struct Entry {
    start: usize,
    limit: u32,
    replica: Place,
}

/// The entries from a place on, until one that is not whole.
fn next(slab: &[u8], start: usize) -> Option<(&[u8], Entry)> {
    let rest = slab.get(start..)?;
    let head = rest.get(..HEAD_BYTES)?;
    let (length, name) = head.split_last()?;
    let limit = name.get(SubjectHash::BYTES..)?.first_chunk()?;
    let begin = start.saturating_add(HEAD_BYTES);
    let end = begin.saturating_add(usize::from(*length));
    slab.get(begin..end)?;
    Some((name, Entry { start, limit: u32::from_le_bytes(*limit), replica: begin..end }))
}

/// Calls with each entry until it says that it has seen enough.
///
/// # Errors
/// [`Unreadable`].
fn walk(slab: &[u8], mut see: impl FnMut(&[u8], &Entry) -> bool) -> Result<(), Unreadable> {
    let mut start = match slab.first() {
        None => return Ok(()),
        Some(&VERSION) => 1,
        Some(_) => return Err(Unreadable),
    };
    while start < slab.len() {
        let (name, entry) = next(slab, start).ok_or(Unreadable)?;
        if see(name, &entry) {
            return Ok(());
        }
        start = entry.replica.end;
    }
    Ok(())
}

/// The replica of a bucket, and where it stands; one that does not stand there is a full one, as far as the node
/// knows.
///
/// # Errors
/// [`Unreadable`].
pub fn find(slab: &[u8], key: &BucketKey) -> Result<(Option<Place>, Replica), Unreadable> {
    let wanted = name(key);
    let mut place = None;
    walk(slab, |name, entry| {
        let is_it = name == wanted;
        if is_it {
            place = Some(entry.replica.clone());
        }
        is_it
    })?;
    let Some(place) = place else { return Ok((None, Replica::default())) };
    let replica = slab.get(place.clone()).and_then(Replica::unpack).ok_or(Unreadable)?;
    Ok((Some(place), replica))
}

/// The slab with a replica at its place, or with one more if it has none yet and the limit's buckets take no
/// more than `limit_bytes_max` then. `place` is what [`find`] has said of this slab.
///
/// # Errors
/// [`NoRoom`]; one that has a place always keeps it.
pub fn put(
    mut slab: Vec<u8>,
    place: Option<Place>,
    (key, replica): (&BucketKey, &Replica),
    limit_bytes_max: usize,
    now: MonotonicNanos,
) -> Result<Vec<u8>, NoRoom> {
    let mut packed = Vec::with_capacity(HEAD_BYTES + Replica::PACKED_BYTES_MAX);
    packed.extend_from_slice(&name(key));
    packed.push(0);
    replica.pack(&mut packed);
    let length = packed.len().saturating_sub(HEAD_BYTES);
    if let Some(byte) = packed.get_mut(HEAD_BYTES - 1) {
        *byte = u8::try_from(length).map_err(|_| NoRoom)?;
    }
    if let Some(place) = place {
        let start = place.start.saturating_sub(HEAD_BYTES);
        if let Some(there) = slab.get_mut(start..place.end).filter(|it| it.len() == packed.len()) {
            there.copy_from_slice(&packed);
        } else if place.end <= slab.len() {
            slab.splice(start..place.end, packed);
        }
        return Ok(slab);
    }
    let mut kept = Vec::with_capacity(slab.len().saturating_add(packed.len()).max(1));
    kept.push(VERSION);
    let mut of_limit = packed.len();
    let walked = walk(&slab, |_, entry| {
        let is_droppable = |bytes| Replica::is_droppable_packed(bytes, now);
        if slab.get(entry.replica.clone()).is_some_and(is_droppable) {
            return false;
        }
        let bytes = slab.get(entry.start..entry.replica.end).unwrap_or_default();
        if entry.limit == key.limit {
            of_limit = of_limit.saturating_add(bytes.len());
        }
        kept.extend_from_slice(bytes);
        false
    });
    if walked.is_err() || of_limit > limit_bytes_max {
        return Err(NoRoom);
    }
    kept.extend_from_slice(&packed);
    Ok(kept)
}

fn name(key: &BucketKey) -> [u8; HEAD_BYTES - 1] {
    let mut name = [0; HEAD_BYTES - 1];
    let parts =
        key.subject.0.into_iter().chain(key.limit.to_le_bytes()).chain(key.rate.0.to_le_bytes());
    for (place, byte) in name.iter_mut().zip(parts) {
        *place = byte;
    }
    name
}

#[cfg(test)]
mod tests;
