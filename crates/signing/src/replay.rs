//! Which signed requests were used, in shared memory.
//!
//! A fixed number of slabs each hold what hashes to them, and nothing is forgotten before its time: a
//! partner whose share of a slab is full of what must be remembered gets no more in, and the request is
//! rejected. Each partner has a share of its own, so that none fills the memory of another.
//!
//! An entry says when its request was signed, and not until when it counts: how long that is depends on the
//! tolerance by which the request would be checked *now*, which may have been raised since. What is
//! forgotten leaves a trace: the latest time of signing among all that was, below which nobody can tell
//! whether a request was used. So neither a raised tolerance nor a clock that was wrong for a while makes
//! a request usable again; what was signed before that time is too old.
//!
//! Layout, little-endian: the version byte, that time as u64, then entries of
//! `hash [16] | owner u32 | since u64`. Times are in microseconds since the Unix epoch; the two bits at the top of
//! `since` say what it is (see [`Since`]). Older modules wrote `hash [16] | expires u64` after the version
//! 1; these count until then, and nobody's share.

use std::time::Duration;

use model::hash::{HashKey, SubjectHash};
use model::memory::{Contention, MemoryKey, SharedMemory, Step, update};
use model::subject::{Kind, SubjectRef};
use model::time::{Clock, UnixMicros};

use super::verify::Verified;
use super::{Failure, Profile};

/// The first byte of every slab. A slab of a version that is not known is not touched.
pub const VERSION: u8 = 2;

/// The version before.
const VERSION_1: u8 = 1;

/// The least room that a partner can have in a slab, in bytes.
pub const SLAB_BYTES_MIN: u32 = 256;

/// What one request takes of its partner's share.
pub const ENTRY_BYTES: usize = SubjectHash::BYTES + 4 + 8;

const ENTRY_BYTES_1: usize = SubjectHash::BYTES + 8;

/// The owner of what an older module has written.
const NOBODY: u32 = 0;

const TIME_BITS: u32 = 62;

/// How the memory of used requests is laid out. Everything that shares a `vm_id` must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayStorage {
    /// Number of slabs, a power of two.
    pub slabs: u32,
    /// The most bytes that the requests of one partner may take in one slab.
    pub slab_bytes_max: usize,
    /// The longest tolerance of any integration: how long after its signing a request is accepted.
    pub tolerance: Duration,
}

/// How long a request must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Until this instant, inclusive, whatever the configuration.
    Until(UnixMicros),
    /// It was signed at this instant: for twice the tolerance.
    Signed(UnixMicros),
    /// Its sender says so, and can say another time: it may have been used a tolerance later, and counts for
    /// twice the tolerance from then.
    Claimed(UnixMicros),
}

/// A request that is being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// What stands for it.
    pub hash: SubjectHash,
    /// Whose share it takes.
    pub owner: u32,
    /// How long it counts.
    pub since: Since,
}

impl Since {
    /// Whether it counts no longer, where requests are accepted for so long after they were signed.
    fn is_over(self, now: UnixMicros, tolerance: Duration) -> bool {
        match self {
            Self::Until(end) => end < now,
            Self::Signed(at) => at.saturating_add(tolerance.saturating_mul(2)) < now,
            Self::Claimed(at) => at.saturating_add(tolerance.saturating_mul(3)) < now,
        }
    }

    /// The time of signing; none of a request that has none.
    fn signed(self) -> Option<UnixMicros> {
        match self {
            Self::Until(_) => None,
            Self::Signed(at) | Self::Claimed(at) => Some(at),
        }
    }

    fn pack(self) -> u64 {
        let (sort, at) = match self {
            Self::Until(at) => (0, at),
            Self::Signed(at) => (1, at),
            Self::Claimed(at) => (2, at),
        };
        sort << TIME_BITS | at.0.min((1 << TIME_BITS) - 1)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let at = UnixMicros(packed & ((1 << TIME_BITS) - 1));
        match packed >> TIME_BITS {
            0 => Some(Self::Until(at)),
            1 => Some(Self::Signed(at)),
            2 => Some(Self::Claimed(at)),
            _ => None,
        }
    }
}

impl Use {
    fn of(verified: &Verified, hash_key: &HashKey, now: UnixMicros) -> Self {
        let since = match (verified.signed_at, verified.profile) {
            (None, _) => Since::Until(now.saturating_add(verified.remember_for)),
            (Some(at), Profile::Body) => Since::Claimed(at),
            (
                Some(at),
                Profile::Portcullis
                | Profile::StandardWebhooks
                | Profile::Stripe
                | Profile::Github
                | Profile::Rfc9421,
            ) => Since::Signed(at),
        };
        let id = verified.partner.as_str().as_bytes();
        let partner = hash_key.subject(SubjectRef { kind: &Kind::Partner, id });
        let [a, b, c, d, ..] = partner.0;
        let owner = u32::from_le_bytes([a, b, c, d]).max(NOBODY + 1);
        Self { hash: hash_key.nonce(verified.nonce.as_bytes()), owner, since }
    }
}

/// Uses a verified request up, if it was not used before.
///
/// The clock is read after the slab, and the time of signing checked by it once more: neither a body
/// that comes slowly nor another worker that has just forgotten the request makes it usable again.
///
/// # Errors
/// [`Failure::Replay`], [`Failure::Stale`], or [`Failure::ReplayFull`] if it cannot be remembered.
pub fn admit(
    shared: &mut impl SharedMemory,
    verified: &Verified,
    hash_key: &HashKey,
    storage: ReplayStorage,
    clock: &impl Clock,
) -> Result<(), Failure> {
    let Horizon { tolerance, begun } =
        Horizon::decode(shared.read(MemoryKey::ReplayHorizon).0.as_deref());
    let tolerance = tolerance.max(storage.tolerance);
    let slab = hash_key.nonce(verified.nonce.as_bytes()).slab(storage.slabs);
    let admitted = update(shared, MemoryKey::Replay(slab), |slab| {
        let now = clock.wall();
        if verified.valid_until.is_some_and(|end| end < now) {
            return Step::Keep(Err(Failure::Stale));
        }
        if verified.signed_at.is_some_and(|at| at <= begun) {
            return Step::Keep(Err(Failure::Stale));
        }
        let new = Use::of(verified, hash_key, now);
        match insert(slab, &new, now, tolerance, storage.slab_bytes_max) {
            Ok(slab) => Step::Write(slab, Ok(())),
            Err(failure) => Step::Keep(Err(failure)),
        }
    });
    admitted.unwrap_or(Err(Failure::ReplayFull))
}

/// How far back the memory of used requests reaches, and how far it has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// The longest tolerance of any plugin that has used it: what one forgets, another must not need.
    pub tolerance: Duration,
    /// What was signed until then may have been used in another memory.
    pub begun: UnixMicros,
}

impl Horizon {
    /// As it stands in shared memory: both in microseconds, little-endian.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let tolerance = u64::try_from(self.tolerance.as_micros()).unwrap_or(u64::MAX);
        [tolerance.to_le_bytes(), self.begun.0.to_le_bytes()].concat()
    }

    /// What stands there; nothing stands for none.
    #[must_use]
    pub fn decode(bytes: Option<&[u8]>) -> Self {
        let (whole, _) = bytes.unwrap_or_default().as_chunks();
        let mut numbers = whole.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or_default();
        Self { tolerance: Duration::from_micros(next()), begun: UnixMicros(next()) }
    }
}

/// The slab with one more entry, and without those that are over by this tolerance.
///
/// # Errors
/// [`Failure::Replay`] if it is there already; [`Failure::Stale`] if others that were signed as late were
/// forgotten, so that it may have been there; [`Failure::ReplayFull`] if its owner would have more than
/// `owner_bytes_max`, or if the bytes are no slab of a version that is known.
pub fn insert(
    slab: Option<&[u8]>,
    new: &Use,
    now: UnixMicros,
    tolerance: Duration,
    owner_bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let (mut forgotten, entries) = read(slab)?;
    let mut out = Vec::with_capacity(slab.map_or(0, <[u8]>::len) + 1 + 8 + ENTRY_BYTES);
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut owned = ENTRY_BYTES;
    for entry in entries {
        let entry = entry?;
        if entry.since.is_over(now, tolerance) {
            forgotten = forgotten.max(entry.since.signed().unwrap_or_default());
            continue;
        }
        if entry.hash == new.hash {
            return Err(Failure::Replay);
        }
        if entry.owner == new.owner {
            owned = owned.saturating_add(ENTRY_BYTES);
        }
        push(&mut out, &entry);
    }
    if new.since.signed().is_some_and(|at| at <= forgotten) {
        return Err(Failure::Stale);
    }
    if owned > owner_bytes_max {
        return Err(Failure::ReplayFull);
    }
    push(&mut out, new);
    if let Some(place) = out.get_mut(1..9) {
        place.copy_from_slice(&forgotten.0.to_le_bytes());
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, entry: &Use) {
    out.extend_from_slice(&entry.hash.0);
    out.extend_from_slice(&entry.owner.to_le_bytes());
    out.extend_from_slice(&entry.since.pack().to_le_bytes());
}

/// The latest time of signing among what was forgotten, and the entries.
fn read(
    slab: Option<&[u8]>,
) -> Result<(UnixMicros, impl Iterator<Item = Result<Use, Failure>> + use<'_>), Failure> {
    let (forgotten, entries, size) = match slab {
        None | Some([]) => (0, &[][..], ENTRY_BYTES),
        Some([VERSION_1, entries @ ..]) => (0, entries, ENTRY_BYTES_1),
        Some([VERSION, rest @ ..]) => {
            let (forgotten, entries) = rest.split_first_chunk().ok_or(Failure::ReplayFull)?;
            (u64::from_le_bytes(*forgotten), entries, ENTRY_BYTES)
        }
        Some(_) => return Err(Failure::ReplayFull),
    };
    if entries.chunks_exact(size).remainder().is_empty() {
        let entries = entries.chunks_exact(size).map(|one| entry(one).ok_or(Failure::ReplayFull));
        return Ok((UnixMicros(forgotten), entries));
    }
    Err(Failure::ReplayFull)
}

fn entry(bytes: &[u8]) -> Option<Use> {
    let (hash, rest) = bytes.split_first_chunk()?;
    let hash = SubjectHash(*hash);
    if let Some((expires, [])) = rest.split_first_chunk() {
        let since = Since::Until(UnixMicros(u64::from_le_bytes(*expires)));
        return Some(Use { hash, owner: NOBODY, since });
    }
    let (owner, since) = rest.split_first_chunk()?;
    let since = Since::unpack(u64::from_le_bytes(since.try_into().ok()?))?;
    Some(Use { hash, owner: u32::from_le_bytes(*owner), since })
}

/// Lets nothing be used that was signed before this: it may have been used in another memory, of which
/// this one knows nothing.
///
/// # Errors
/// [`Contention`].
pub fn distrust_before(
    shared: &mut impl SharedMemory,
    begun: UnixMicros,
) -> Result<(), Contention> {
    change_horizon(shared, |horizon| horizon.begun = horizon.begun.max(begun))
}

/// Changes how far back the memory of used requests reaches, and has to.
///
/// # Errors
/// [`Contention`].
pub fn change_horizon(
    shared: &mut impl SharedMemory,
    change: impl Fn(&mut Horizon),
) -> Result<(), Contention> {
    update(shared, MemoryKey::ReplayHorizon, |present| {
        let known = Horizon::decode(present);
        let mut changed = known;
        change(&mut changed);
        if changed == known { Step::Keep(()) } else { Step::Write(changed.encode(), ()) }
    })
}
