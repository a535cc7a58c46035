//! The memory that all workers share: values in this process, by the same keys and in the same form as with
//! proxy-wasm.
//!
//! Each value is behind a lock of its own, which is held only while the value is copied or replaced, and nothing else is
//! waited for meanwhile. Numbered values stand beside each other, in pages that come with their first value: so a
//! request finds its slab without a search.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};

use crate::spare;

/// Values in a page.
const PAGE: usize = 1_024;

/// Pages of one kind: together they have room for as many slabs as a configuration may ask for.
const PAGES: usize = 1_024;

/// Values without a number.
const SINGLE: usize = 11;

/// A value, and the number of its version.
struct Value {
    version: u32,
    bytes: Box<[u8]>,
}

/// The place of a value, which may not be written yet.
type Place = Mutex<Option<Value>>;

/// All values of one kind that are numbered.
struct Pages(Box<[OnceLock<Box<[Place]>>]>);

impl Default for Pages {
    fn default() -> Self {
        Self(std::iter::repeat_with(OnceLock::new).take(PAGES).collect())
    }
}

impl Pages {
    fn place(&self, number: u32) -> Option<&Place> {
        let number = usize::try_from(number).ok()?;
        let page = self.0.get(number / PAGE)?.get_or_init(|| places(PAGE));
        page.get(number % PAGE)
    }
}

fn places(count: usize) -> Box<[Place]> {
    std::iter::repeat_with(Place::default).take(count).collect()
}

/// One memory. `&Memory` is the [`SharedMemory`].
pub(crate) struct Memory {
    slabs: Pages,
    replays: Pages,
    fleet: Pages,
    awaited: Pages,
    changed: Pages,
    single: Box<[Place]>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            slabs: Pages::default(),
            replays: Pages::default(),
            fleet: Pages::default(),
            awaited: Pages::default(),
            changed: Pages::default(),
            single: places(SINGLE),
        }
    }
}

impl Memory {
    /// The value of a key, for the one who has it locked.
    fn lock(&self, key: MemoryKey) -> Option<MutexGuard<'_, Option<Value>>> {
        let place = match key {
            MemoryKey::Slab(number) => self.slabs.place(number),
            MemoryKey::Replay(number) => self.replays.place(number),
            MemoryKey::FleetSlab(number) => self.fleet.place(number),
            MemoryKey::Awaited(number) => self.awaited.place(number),
            MemoryKey::Changed(number) => self.changed.place(number),
            MemoryKey::HashKey => self.single.first(),
            MemoryKey::Geometry => self.single.get(1),
            MemoryKey::Progress => self.single.get(2),
            MemoryKey::Lease => self.single.get(3),
            MemoryKey::Keys => self.single.get(4),
            MemoryKey::ReplayGeometry => self.single.get(5),
            MemoryKey::ReplayHorizon => self.single.get(6),
            MemoryKey::Known => self.single.get(7),
            MemoryKey::FleetLink => self.single.get(8),
            MemoryKey::FirstRejections => self.single.get(9),
            MemoryKey::ChangedEnd => self.single.get(10),
        };
        // Whoever panicked with a lock has left a whole value: values are replaced at once.
        Some(place?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Empties a value, as if it had been damaged.
    #[cfg(feature = "trap")]
    pub(crate) fn forget(&self, key: MemoryKey) {
        if let Some(mut place) = self.lock(key)
            && let Some(value) = &mut *place
        {
            value.version = value.version.wrapping_add(1);
            value.bytes = Box::default();
        }
    }
}

impl SharedMemory for &Memory {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        let mut copy = spare::vector();
        let Some(place) = self.lock(key) else { return (None, Mark::Absent) };
        match &*place {
            Some(value) => {
                copy.extend_from_slice(&value.bytes);
                (Some(copy), Mark::Present(value.version))
            }
            None => (None, Mark::Absent),
        }
    }

    fn write(&mut self, key: MemoryKey, bytes: &[u8], mark: Mark) -> Result<(), Mismatch> {
        let Some(mut place) = self.lock(key) else { return Err(Mismatch) };
        match (&mut *place, mark) {
            (Some(value), Mark::Present(version)) if value.version == version => {
                value.version = version.wrapping_add(1);
                if value.bytes.len() == bytes.len() {
                    value.bytes.copy_from_slice(bytes);
                } else {
                    value.bytes = bytes.into();
                }
                Ok(())
            }
            (absent @ None, Mark::Absent) => {
                *absent = Some(Value { version: 0, bytes: bytes.into() });
                Ok(())
            }
            _ => Err(Mismatch),
        }
    }

    fn give_back(&mut self, value: Vec<u8>) {
        spare::keep_vector(value);
    }
}

#[cfg(test)]
mod tests;
