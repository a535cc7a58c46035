//! How the VMs of one Envoy process work as one node: what they agree on at start, which of them
//! polls the invalidator, how what it hears is applied, and how fresh that makes the node.
//!
//! All of it lives in shared memory, so any VM can trap, or a worker take over, without a block
//! being lost. Sending and receiving is the filter's part.

mod apply;
pub mod changed;
mod firsts;
mod keys;
mod lease;
mod news;
mod poller;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/portcullis.node.v1.rs"));
}

use std::fmt;
use std::time::Duration;

use model::hash::HashKey;
use model::memory::{Contention, MemoryKey, SharedMemory, Step, update};
use model::push::Message;
use model::time::MonotonicNanos;
use signing::replay::{ReplayStorage, change_horizon};

use crate::config::Storage;
use crate::decide::Freshness;

#[cfg(test)]
pub(crate) use apply::{Applied, Applier};
pub use firsts::{Noted, Rejected, RejectionMemo, note_rejection};
pub use lease::{LEASE, Rank};
pub use news::news;
pub use poller::{PollFailure, Poller, Report, Vm};

use messages::Progress;

/// Why a plugin cannot become part of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// Another plugin with the same `vm_id` lays out memory differently.
    Geometry {
        /// The setting.
        field: &'static str,
        /// The number of slabs that the others use.
        in_use: u32,
        /// The number of slabs that this configuration asks for.
        configured: u32,
    },
    /// What stands in shared memory was written by another version.
    Unreadable,
    /// Too many VMs started at once.
    Contention,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry { field, in_use, configured } => write!(
                f,
                "{field}: must be {in_use}, as in the other plugins with this vm_id, and \
                 not {configured}; use another vm_id, or restart Envoy"
            ),
            Self::Unreadable => f.write_str("vm_id: must not be shared with another version"),
            Self::Contention => f.write_str("shared memory: too many VMs started at once"),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<Contention> for JoinError {
    fn from(_: Contention) -> Self {
        Self::Contention
    }
}

/// Makes this plugin part of the node: the first one lays down the hash key, the geometry and the
/// boot id, all others must agree. `random` is used only by the first; `replay` is none for a
/// plugin that has no use for it, and then need not agree with anything.
///
/// # Errors
/// [`JoinError`]; the configuration must then be refused.
pub fn join(
    shared: &mut impl SharedMemory,
    storage: Storage,
    replay: Option<ReplayStorage>,
    random: [u8; 32],
) -> Result<HashKey, JoinError> {
    agree_on_slabs(shared, MemoryKey::Geometry, "storage.slabs", storage.slabs)?;
    if let Some(replay) = replay {
        agree_on_slabs(shared, MemoryKey::ReplayGeometry, "replay.slabs", replay.slabs)?;
        raise_tolerance(shared, replay.tolerance)?;
    }
    let (key, boot) = random.split_at(HashKey::BYTES);
    let boot_id = base16ct::lower::encode_string(boot);
    let progress = Progress { boot_id, ..Progress::default() };
    agree(shared, MemoryKey::Progress, &progress.encode_to_vec())?;
    let key = agree(shared, MemoryKey::HashKey, key)?;
    key.as_slice().try_into().map(HashKey::new).map_err(|_| JoinError::Unreadable)
}

/// Nobody who shares the memory forgets a used request before it is too old for all of them.
fn raise_tolerance(shared: &mut impl SharedMemory, tolerance: Duration) -> Result<(), Contention> {
    change_horizon(shared, |horizon| horizon.tolerance = horizon.tolerance.max(tolerance))
}

fn agree_on_slabs(
    shared: &mut impl SharedMemory,
    key: MemoryKey,
    field: &'static str,
    configured: u32,
) -> Result<(), JoinError> {
    let in_use = agree(shared, key, &configured.to_le_bytes())?;
    let in_use = in_use.as_slice().try_into().map_err(|_| JoinError::Unreadable)?;
    let in_use = u32::from_le_bytes(in_use);
    if in_use == configured {
        return Ok(());
    }
    Err(JoinError::Geometry { field, in_use, configured })
}

/// What stands at the key, which is `first` if nothing did.
fn agree(
    shared: &mut impl SharedMemory,
    key: MemoryKey,
    first: &[u8],
) -> Result<Vec<u8>, Contention> {
    update(shared, key, |present| match present {
        Some(value) if !value.is_empty() => Step::Keep(value.to_vec()),
        _ => Step::Write(first.to_vec(), first.to_vec()),
    })
}

/// How fresh this node's knowledge is, as far as one VM remembers.
///
/// Reading shared memory on each request would cost more than the rest of the check, so a VM
/// remembers until when it is fresh, and looks again only once that has passed.
#[derive(Clone, Copy, Debug)]
pub struct FreshnessCache {
    stale_after_ns: u64,
    fresh_until: MonotonicNanos,
}

impl FreshnessCache {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(stale_after: Duration) -> Self {
        let stale_after_ns = u64::try_from(stale_after.as_nanos()).unwrap_or(u64::MAX);
        Self { stale_after_ns, fresh_until: 0 }
    }

    /// How fresh the node is now.
    pub fn get(&mut self, shared: &mut impl SharedMemory, now: MonotonicNanos) -> Freshness {
        if now < self.fresh_until {
            return Freshness::Fresh;
        }
        let progress = read_progress(shared);
        self.fresh_until = progress.fresh_at.saturating_add(self.stale_after_ns);
        match progress.synced {
            false => {
                self.fresh_until = 0;
                Freshness::NeverSynced
            }
            true if now < self.fresh_until => Freshness::Fresh,
            true => Freshness::Stale,
        }
    }
}

/// What this life of the node is called, if it has begun.
pub fn boot_id(shared: &mut impl SharedMemory) -> String {
    read_progress(shared).boot_id
}

/// Unreadable progress is no progress: the node then asks for a snapshot.
fn read_progress(shared: &mut impl SharedMemory) -> Progress {
    let (value, _) = shared.read(MemoryKey::Progress);
    value.and_then(|value| Progress::decode(value.as_slice()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
