//! Slabs: how subjects stand in shared memory.
//!
//! Shared data never frees a key, so there is no key per user. A fixed number of slabs each hold
//! the subjects that hash to them. One entry holds everything about its subject, buckets and status
//! both: a request reads once and writes once, and whoever takes a token cannot overwrite a block
//! that arrived meanwhile, because the compare-and-swap fails.
//!
//! Layout, little-endian: the version byte, then entries of
//! `hash [16] | buckets u8 | status length u16 | buckets | status`, where a bucket is
//! `limit u32 | rate u32 | full_at u64`.
//! The status is a packed `State`: see `state/packed.rs`. A limit has one bucket, or a few while its rate
//! changes: one for each rate, the one that was used last first.
//!
//! What may be dropped: an entry without status whose buckets are all full, since a new one would
//! be the same; and, when another status is written, a status of which the caller says that it is
//! over. Nothing else ever is. Statuses have a budget, and so has each limit for its buckets, whosoever they are:
//! a flood of one limit's subjects (of addresses, say, of which anybody has many) takes no room that another
//! limit or a block needs. What does not fit is refused to the caller; who has a bucket keeps it.

pub mod replicas;

use std::time::Duration;

use model::bucket::{Bucket, RateTag};
use model::hash::SubjectHash;
use model::time::MonotonicNanos;

/// The first byte of every slab. A slab of another version is not touched.
pub const VERSION: u8 = 1;

/// The most bytes that statuses may take in one slab, entries' heads included.
pub const STATUS_BYTES_MAX: usize = 48 * 1024;

/// How long a node remembers events without further effect, at least. The invalidator remembers for longer;
/// here it only has to outlast an answer that arrives late.
pub const RETENTION: Duration = Duration::from_secs(60 * 60);

const HEAD_BYTES: usize = SubjectHash::BYTES + 1 + 2;
const BUCKET_BYTES: usize = 4 + 4 + 8;

/// The bytes that one subject takes of the room of a limit that has a bucket for it.
pub const SUBJECT_BYTES: usize = HEAD_BYTES + BUCKET_BYTES;

/// One bucket of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRecord {
    /// Fingerprint of the limit's name.
    pub limit: u32,
    /// The rate that it is about.
    pub rate: RateTag,
    /// How full it is.
    pub bucket: Bucket,
}

/// One subject, as it stands in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectEntry<'a> {
    hash: SubjectHash,
    buckets: &'a [u8],
    /// The encoded status; empty if there is none.
    pub status: &'a [u8],
}

impl<'a> SubjectEntry<'a> {
    /// Its buckets.
    pub fn buckets(&self) -> impl Iterator<Item = BucketRecord> + use<'a> {
        self.buckets.chunks_exact(BUCKET_BYTES).filter_map(|chunk| {
            let (limit, rest) = chunk.split_first_chunk()?;
            let (rate, rest) = rest.split_first_chunk()?;
            let (full_at, _) = rest.split_first_chunk()?;
            Some(BucketRecord {
                limit: u32::from_le_bytes(*limit),
                rate: RateTag(u32::from_le_bytes(*rate)),
                bucket: Bucket { full_at: u64::from_le_bytes(*full_at) },
            })
        })
    }

    fn has_bucket_of(&self, limit: u32) -> bool {
        self.buckets().any(|record| record.limit == limit)
    }

    /// Whether it needs room for this limit: a full bucket does not, though it may stay for a while.
    fn counts_for(&self, limit: u32, now: MonotonicNanos) -> bool {
        self.buckets().any(|record| record.limit == limit && !record.bucket.is_full(now))
    }

    fn is_droppable(&self, now: MonotonicNanos) -> bool {
        self.status.is_empty() && self.buckets().all(|record| record.bucket.is_full(now))
    }
}

/// The bytes are no slab of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Why a slab could not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabError {
    /// There is no room that may be freed.
    Full,
    /// What is there is no slab of this version.
    Unreadable,
}

/// The entries of a slab; an absent slab has none.
///
/// # Errors
/// [`Unreadable`], from the iterator, at the first entry that is not whole.
pub fn entries(slab: Option<&[u8]>) -> impl Iterator<Item = Result<SubjectEntry<'_>, Unreadable>> {
    let (mut rest, mut broken) = match slab {
        None | Some([]) => (&[][..], false),
        Some([VERSION, rest @ ..]) => (rest, false),
        Some(_) => (&[][..], true),
    };
    std::iter::from_fn(move || {
        if broken {
            broken = false;
            return Some(Err(Unreadable));
        }
        if rest.is_empty() {
            return None;
        }
        let Some((entry, after)) = split_entry(rest) else {
            rest = &[];
            return Some(Err(Unreadable));
        };
        rest = after;
        Some(Ok(entry))
    })
}

/// The entry of one subject.
///
/// # Errors
/// [`Unreadable`].
pub fn find(
    slab: Option<&[u8]>,
    hash: SubjectHash,
) -> Result<Option<SubjectEntry<'_>>, Unreadable> {
    for entry in entries(slab) {
        let entry = entry?;
        if entry.hash == hash {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// A slab with new buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The slab.
    pub slab: Vec<u8>,
    /// The limits for whose buckets there was no room, by their fingerprints: these are not in it.
    pub without_room: Vec<u32>,
}

/// The slab with new buckets for one subject, whose status stays. Those of a limit that has none for it
/// yet are left out if the limit's subjects would take more than `limit_bytes_max`, [`SUBJECT_BYTES`]
/// for each.
///
/// # Errors
/// The slab is unreadable, or the subject has more buckets than can be written.
pub fn with_buckets(
    slab: Option<&[u8]>,
    hash: SubjectHash,
    buckets: &[BucketRecord],
    now: MonotonicNanos,
    limit_bytes_max: usize,
) -> Result<Written, SlabError> {
    let known = find(slab, hash)?;
    let mut new: Vec<(u32, usize)> = Vec::new();
    for BucketRecord { limit, .. } in buckets {
        let has_one = known.is_some_and(|entry| entry.has_bucket_of(*limit));
        if !has_one && new.iter().all(|(known, _)| known != limit) {
            new.push((*limit, SUBJECT_BYTES));
        }
    }
    if !new.is_empty() {
        count_others(slab, hash, now, &mut new)?;
    }
    let full = new.into_iter().filter(|(_, bytes)| *bytes > limit_bytes_max);
    let without_room: Vec<u32> = full.map(|(limit, _)| limit).collect();
    let mut encoded = Vec::with_capacity(buckets.len().saturating_mul(BUCKET_BYTES));
    for record in buckets.iter().filter(|record| !without_room.contains(&record.limit)) {
        encoded.extend_from_slice(&record.limit.to_le_bytes());
        encoded.extend_from_slice(&record.rate.0.to_le_bytes());
        encoded.extend_from_slice(&record.bucket.full_at.to_le_bytes());
    }
    let status = known.map_or(&[][..], |entry| entry.status);
    let entry = SubjectEntry { hash, buckets: &encoded, status };
    let slab = rewrite(slab, entry, now, |_| false, usize::MAX)?;
    Ok(Written { slab, without_room })
}

/// Adds to each limit the bytes that other subjects take of its room.
fn count_others(
    slab: Option<&[u8]>,
    hash: SubjectHash,
    now: MonotonicNanos,
    limits: &mut [(u32, usize)],
) -> Result<(), Unreadable> {
    for entry in entries(slab) {
        let entry = entry?;
        for (limit, bytes) in limits.iter_mut() {
            if entry.hash != hash && entry.counts_for(*limit, now) {
                *bytes = bytes.saturating_add(SUBJECT_BYTES);
            }
        }
    }
    Ok(())
}

/// The slab with a new status for one subject, whose buckets stay. An empty status removes it, and
/// so is every other removed that `is_over`.
///
/// # Errors
/// Statuses would take more than [`STATUS_BYTES_MAX`], or the slab is unreadable.
pub fn with_status(
    slab: Option<&[u8]>,
    hash: SubjectHash,
    status: &[u8],
    now: MonotonicNanos,
    is_over: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, SlabError> {
    let buckets = find(slab, hash)?.map_or(&[][..], |entry| entry.buckets);
    let entry = SubjectEntry { hash, buckets, status };
    rewrite(slab, entry, now, is_over, STATUS_BYTES_MAX)
}

impl From<Unreadable> for SlabError {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// Copies everything that may not be dropped, with one entry replaced or added.
fn rewrite(
    slab: Option<&[u8]>,
    new: SubjectEntry<'_>,
    now: MonotonicNanos,
    is_over: impl Fn(&[u8]) -> bool,
    status_bytes_max: usize,
) -> Result<Vec<u8>, SlabError> {
    let grown = HEAD_BYTES + new.buckets.len() + new.status.len();
    let mut out = Vec::with_capacity(slab.map_or(1, <[u8]>::len).saturating_add(grown));
    out.push(VERSION);
    let mut status_bytes = 0_usize;
    for entry in entries(slab) {
        let mut entry = entry?;
        if entry.hash == new.hash {
            continue;
        }
        if is_over(entry.status) {
            entry.status = &[];
        }
        if !entry.is_droppable(now) {
            status_bytes = status_bytes.saturating_add(status_cost(&entry));
            push_entry(&mut out, &entry)?;
        }
    }
    if !new.is_droppable(now) {
        status_bytes = status_bytes.saturating_add(status_cost(&new));
        push_entry(&mut out, &new)?;
    }
    if status_bytes <= status_bytes_max { Ok(out) } else { Err(SlabError::Full) }
}

fn status_cost(entry: &SubjectEntry<'_>) -> usize {
    if entry.status.is_empty() { 0 } else { HEAD_BYTES + entry.status.len() }
}

fn push_entry(out: &mut Vec<u8>, entry: &SubjectEntry<'_>) -> Result<(), SlabError> {
    let count = u8::try_from(entry.buckets.len() / BUCKET_BYTES).map_err(|_| SlabError::Full)?;
    let status = u16::try_from(entry.status.len()).map_err(|_| SlabError::Full)?;
    out.extend_from_slice(&entry.hash.0);
    out.push(count);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(entry.buckets);
    out.extend_from_slice(entry.status);
    Ok(())
}

fn split_entry(bytes: &[u8]) -> Option<(SubjectEntry<'_>, &[u8])> {
    let (hash, rest) = bytes.split_first_chunk::<{ SubjectHash::BYTES }>()?;
    let (count, rest) = rest.split_first()?;
    let (status, rest) = rest.split_first_chunk::<2>()?;
    let (buckets, rest) = rest.split_at_checked(usize::from(*count) * BUCKET_BYTES)?;
    let (status, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*status)))?;
    Some((SubjectEntry { hash: SubjectHash(*hash), buckets, status }, rest))
}

#[cfg(test)]
mod tests;
