//! Shared memory, as decisions see it: keys, values, and compare-and-swap.
//!
//! The filter implements [`SharedMemory`] with the proxy's shared data; tests implement it with a map.
//! All writes are compare-and-swap: there is no way to overwrite what another worker just wrote.

/// What stands in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryKey {
    /// Buckets and status of the subjects that hash here.
    Slab(u32),
    /// The random key of subject hashes.
    HashKey,
    /// How many slabs there are: the same for everything that shares the memory.
    Geometry,
    /// How far this node has followed the invalidator.
    Progress,
    /// Which VM polls the invalidator.
    Lease,
    /// The keys of signed requests that the invalidator handed out.
    Keys,
    /// What signed requests may not use again, of those that hash here.
    Replay(u32),
    /// How many slabs of those there are.
    ReplayGeometry,
    /// How far back the memory of those reaches, and has to.
    ReplayHorizon,
    /// The limits that have had buckets here, and what the operator was told of them.
    Known,
    /// Replicas of the fleet's buckets, of the subjects that hash here.
    FleetSlab(u32),
    /// How this node stands to the fleet: its key, and for how long reports have had no answer.
    FleetLink,
    /// The events of which no request was rejected yet, of those that hash here.
    Awaited(u32),
    /// The first requests that were rejected because of events, until the invalidator knows of them.
    FirstRejections,
    /// A part of the list of subjects that may have something open which has to end.
    Changed(u32),
    /// How many subjects were ever put into that list.
    ChangedEnd,
}

/// The mark of one value of one key; another value has another mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The key has never been written.
    Absent,
    /// The store's own number for this value.
    Present(u32),
}

/// The value has changed since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch;

/// Memory shared by all workers of a node.
pub trait SharedMemory {
    /// The value, if there is one, and its mark.
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark);

    /// Replaces the value that has this mark.
    ///
    /// # Errors
    /// The value has another mark by now, and stays as it is.
    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch>;

    /// Gives back a value that was read or written on a request's path: the memory that it lies in can be used again.
    fn give_back(&mut self, _value: Vec<u8>) {}
}

/// How often a write is tried before giving up. Each failure means that another worker succeeded,
/// so losing this often in a row takes far more workers than there are cores.
pub const ATTEMPTS_MAX: u32 = 128;

/// Every one of [`ATTEMPTS_MAX`] attempts met another writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contention;

/// What to do with the value that was read.
pub enum Step<T> {
    /// Leave it.
    Keep(T),
    /// Replace it.
    Write(Vec<u8>, T),
}

/// Reads a value, lets `step` decide on it, writes what it says, and starts again if another
/// worker was faster.
///
/// # Errors
/// [`Contention`].
pub fn update<T>(
    shared: &mut impl SharedMemory,
    key: MemoryKey,
    mut step: impl FnMut(Option<&[u8]>) -> Step<T>,
) -> Result<T, Contention> {
    for _ in 0..ATTEMPTS_MAX {
        let (value, mark) = shared.read(key);
        match step(value.as_deref()) {
            Step::Keep(answer) => return Ok(answer),
            Step::Write(new, answer) => {
                if shared.write(key, &new, mark).is_ok() {
                    return Ok(answer);
                }
            }
        }
    }
    Err(Contention)
}
