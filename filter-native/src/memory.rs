//! The memory that all workers share: values in this process, by the same keys and in the same form as with
//! proxy-wasm.
//!
//! Values lie in shards, each behind a lock that is held only while a value is copied or compared. Nothing waits for
//! anything else while it holds one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};

use crate::spare;

/// So many that workers hardly ever meet at one. A power of two.
const SHARDS: usize = 256;

/// A value, and the number of its version.
struct Cell {
    version: u32,
    value: Box<[u8]>,
}

/// A line of the processor's cache for each, so that none slows its neighbour down.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<HashMap<MemoryKey, Cell, BuildHasherDefault<KeyHasher>>>);

/// One memory. `&Memory` is the [`SharedMemory`].
pub(crate) struct Memory(Box<[Shard]>);

impl Default for Memory {
    fn default() -> Self {
        Self(std::iter::repeat_with(Shard::default).take(SHARDS).collect())
    }
}

impl Memory {
    fn shard(
        &self,
        key: MemoryKey,
    ) -> Option<MutexGuard<'_, HashMap<MemoryKey, Cell, BuildHasherDefault<KeyHasher>>>> {
        let mut hasher = KeyHasher::default();
        key.hash(&mut hasher);
        // The hash map goes by the other bits.
        let place = (hasher.finish() >> 32) as usize % SHARDS;
        // Whoever panicked with a lock has left a whole value: they are replaced at once.
        Some(self.0.get(place)?.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Empties a value, as if it had been damaged.
    #[cfg(feature = "trap")]
    pub(crate) fn forget(&self, key: MemoryKey) {
        if let Some(mut shard) = self.shard(key)
            && let Some(cell) = shard.get_mut(&key)
        {
            cell.version = cell.version.wrapping_add(1);
            cell.value = Box::default();
        }
    }
}

impl SharedMemory for &Memory {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        let mut value = spare::vector();
        let Some(shard) = self.shard(key) else { return (None, Mark::Absent) };
        match shard.get(&key) {
            Some(cell) => {
                value.extend_from_slice(&cell.value);
                (Some(value), Mark::Present(cell.version))
            }
            None => (None, Mark::Absent),
        }
    }

    fn give_back(&mut self, value: Vec<u8>) {
        spare::keep_vector(value);
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        let Some(mut shard) = self.shard(key) else { return Err(Mismatch) };
        match (shard.get_mut(&key), mark) {
            (Some(cell), Mark::Present(version)) if cell.version == version => {
                cell.version = version.wrapping_add(1);
                if cell.value.len() == value.len() {
                    cell.value.copy_from_slice(value);
                } else {
                    cell.value = value.into();
                }
                Ok(())
            }
            (None, Mark::Absent) => {
                shard.insert(key, Cell { version: 0, value: value.into() });
                Ok(())
            }
            _ => Err(Mismatch),
        }
    }
}

/// Mixes the few bytes of a key. Keys cannot be chosen from outside: those of subjects are keyed hashes already.
#[derive(Default)]
struct KeyHasher(u64);

impl KeyHasher {
    fn mix(&mut self, value: u64) {
        // An odd number with as many ones as zeros, whose multiples differ in their upper bits.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(SPREAD);
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        // The upper bits are those that depend on all of the key.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.unsigned_abs() as u64);
    }
}

#[cfg(test)]
mod tests;
