//! Which VM polls: the holder of a lease in shared memory.

use std::time::Duration;

use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::push::Message;
use model::time::MonotonicNanos;

use super::messages::Lease;

/// How long a lease lasts when it is not renewed: a VM that traps is replaced within this and one
/// tick.
pub const LEASE: Duration = Duration::from_millis(500);

/// How well a VM is placed to poll: one of a higher rank takes the lease at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It serves requests, and polls only when its worker gets to it.
    Worker = 1,
    /// It has not seen a request: perhaps on the main thread, which no flood of requests delays.
    Idle = 2,
    /// The singleton service, on the main thread.
    Singleton = 3,
}

/// Takes or renews the lease if nobody better has it; says whether this VM has it now.
pub(super) fn hold(
    shared: &mut impl SharedMemory,
    holder: u64,
    rank: Rank,
    now: MonotonicNanos,
) -> bool {
    let duration = u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX);
    let rank = rank as u32;
    let mine = Lease { holder, rank, expires_at: now.saturating_add(duration) };
    let held = update(shared, MemoryKey::Lease, |present| {
        let current = present.and_then(|value| Lease::decode(value).ok()).unwrap_or_default();
        let is_free = current.holder == holder || current.expires_at <= now || current.rank < rank;
        if is_free { Step::Write(mine.encode_to_vec(), true) } else { Step::Keep(false) }
    });
    held.unwrap_or(false)
}
