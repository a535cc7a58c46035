//! What all configurations with one `filter_name` share for as long as the process lives: the memory, and who follows
//! the invalidator. The `filter_name` plays the part of `vm_id` with proxy-wasm.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use edge::Follower;

use crate::abi::Guarded;
use crate::memory::Memory;

/// Names that a process can have: each keeps its memory for good.
const HOMES_MAX: usize = 64;

/// What configurations with one name share.
pub(crate) struct Home {
    pub(crate) memory: Memory,
    /// Follows the invalidator on the main thread, whichever configuration is the newest. None until one of them
    /// names an invalidator.
    pub(crate) follower: Guarded<Option<Follower>>,
}

static HOMES: Mutex<BTreeMap<String, &'static Home>> = Mutex::new(BTreeMap::new());

impl Home {
    /// The one of this name; none if there are too many.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        let mut homes = HOMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = homes.get(name) {
            return Some(known);
        }
        if homes.len() >= HOMES_MAX {
            return None;
        }
        let home = Self { memory: Memory::default(), follower: Guarded::new(None) };
        let home: &'static Self = Box::leak(Box::new(home));
        homes.insert(name.to_owned(), home);
        Some(home)
    }

    /// How many there are.
    pub(crate) fn count() -> usize {
        HOMES.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Each of them.
    pub(crate) fn all() -> Vec<&'static Self> {
        HOMES.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }
}
