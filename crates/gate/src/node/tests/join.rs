//! What plugins of one process agree on.

use model::time::UnixMicros;
use signing::replay::{Horizon, distrust_before};

use super::*;
use crate::config::Storage;

const STORAGE: Storage = Storage { slabs: 16, slab_bytes_max: 1_024 };

fn boot_id(memory: &mut Memory) -> String {
    read_progress(memory).boot_id
}

#[test]
fn the_first_lays_down_what_all_others_use() {
    let mut memory = Memory::default();
    let first = join(&mut memory, STORAGE, None, [1; 32]).unwrap();
    let boot = boot_id(&mut memory);
    assert_eq!(boot, "01".repeat(16));
    let second = join(&mut memory, STORAGE, None, [2; 32]).unwrap();
    assert!(first == second && boot == boot_id(&mut memory));
    let other_room = Storage { slab_bytes_max: 64, ..STORAGE };
    assert!(join(&mut memory, other_room, None, [3; 32]).is_ok(), "room is a matter of its own");
    let mut another = Memory::default();
    assert!(join(&mut another, STORAGE, None, [2; 32]).unwrap() != first);
}

#[test]
fn another_geometry_is_refused() {
    let mut memory = Memory::default();
    join(&mut memory, STORAGE, None, [1; 32]).unwrap();
    let error = join(&mut memory, Storage { slabs: 32, ..STORAGE }, None, [1; 32]).unwrap_err();
    assert_eq!(error, JoinError::Geometry { field: "storage.slabs", in_use: 16, configured: 32 });
    let text = error.to_string();
    assert!(text.starts_with("storage.slabs: must be 16") && text.contains("not 32"), "{text}");
}

#[test]
fn whoever_is_faster_decides() {
    let intruder: Intruder = Box::new(|values| {
        values.insert(MemoryKey::Geometry, (32u32.to_le_bytes().to_vec(), 1));
    });
    let mut memory = Memory { intruder: Some(intruder), ..Memory::default() };
    let error = join(&mut memory, STORAGE, None, [1; 32]).unwrap_err();
    assert_eq!(error, JoinError::Geometry { field: "storage.slabs", in_use: 32, configured: 16 });
}

#[test]
fn what_cannot_be_read_is_refused() {
    for key in [MemoryKey::Geometry, MemoryKey::HashKey] {
        let mut memory = Memory::default();
        memory.values.insert(key, (vec![1, 2, 3], 1));
        assert_eq!(join(&mut memory, STORAGE, None, [1; 32]), Err(JoinError::Unreadable));
    }
}

#[test]
fn too_many_at_once_is_an_error() {
    let mut memory = Memory { lose_next: u32::MAX, ..Memory::default() };
    assert_eq!(join(&mut memory, STORAGE, None, [1; 32]), Err(JoinError::Contention));
}

#[test]
fn plugins_that_remember_used_requests_agree_on_where() {
    let tolerance = Duration::from_secs(300);
    let replay = |slabs| Some(ReplayStorage { slabs, slab_bytes_max: 256, tolerance });
    let mut memory = Memory::default();
    join(&mut memory, STORAGE, replay(64), [1; 32]).unwrap();
    join(&mut memory, STORAGE, None, [1; 32]).unwrap();
    let error = join(&mut memory, STORAGE, replay(32), [1; 32]).unwrap_err();
    assert!(error.to_string().starts_with("replay.slabs: must be 64, as in the other"), "{error}");
}

#[test]
fn the_longest_tolerance_counts_for_all_and_a_new_memory_begins_late() {
    let replay = |seconds| {
        let tolerance = Duration::from_secs(seconds);
        Some(ReplayStorage { slabs: 64, slab_bytes_max: 256, tolerance })
    };
    let mut memory = Memory::default();
    let horizon =
        |memory: &mut Memory| Horizon::decode(memory.read(MemoryKey::ReplayHorizon).0.as_deref());
    for (seconds, expected) in [(10, 10), (300, 300), (10, 300)] {
        join(&mut memory, STORAGE, replay(seconds), [1; 32]).unwrap();
        assert_eq!(horizon(&mut memory).tolerance, Duration::from_secs(expected));
    }
    assert_eq!(horizon(&mut memory).begun, UnixMicros(0), "the first knows of all that was used");
    for begun in [7, 5] {
        distrust_before(&mut memory, UnixMicros(begun)).unwrap();
        assert_eq!(horizon(&mut memory).begun, UnixMicros(7));
    }
}
