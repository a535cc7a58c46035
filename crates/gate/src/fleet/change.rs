//! One replica in shared memory, changed by compare-and-swap.

use fleet::epoch::Epoch;
use fleet::replica::Replica;
use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::push::FleetEpoch;
use model::time::{MonotonicNanos, UnixMicros};

use crate::config::Config;
use crate::slab::replicas::{self, BucketKey, NoRoom};

/// Changes a replica, if `step` says that it has; none if it cannot be read, there is no room for it, or too many
/// others write.
pub(super) fn change_at<T>(
    shared: &mut impl SharedMemory,
    config: &Config,
    (key, room): (&BucketKey, usize),
    now: MonotonicNanos,
    mut step: impl FnMut(&mut Replica) -> (T, bool),
) -> Option<T> {
    let at = MemoryKey::FleetSlab(key.subject.slab(config.storage.slabs));
    let changed = update(shared, at, |present| {
        let present = present.unwrap_or_default();
        let Ok((place, mut replica)) = replicas::find(present, key) else {
            return Step::Keep(None);
        };
        let (answer, has_changed) = step(&mut replica);
        if !has_changed {
            return Step::Keep(Some(answer));
        }
        match replicas::put(present.to_vec(), place, (key, &replica), room, now) {
            Ok(slab) => Step::Write(slab, Some(answer)),
            Err(NoRoom) => Step::Keep(None),
        }
    });
    changed.ok().flatten()
}

/// The beginning that a message names.
pub(super) fn epoch(epoch: Option<&FleetEpoch>) -> Epoch {
    epoch.map_or_else(Epoch::default, |epoch| Epoch { at: UnixMicros(epoch.at), id: epoch.id })
}
