//! The proxy's shared data, as shared memory.

use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};
use proxy_wasm::hostcalls;

/// The compare-and-swap number of an absent key: the proxy creates such a key whatever the number,
/// and refuses this one for a key that is there. Zero would overwrite.
const CREATE: u32 = u32::MAX;

/// The proxy's shared data.
pub(crate) struct SharedData;

impl SharedMemory for SharedData {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        match hostcalls::get_shared_data(&name_of(key)) {
            Ok((value, Some(cas))) => (Some(value.unwrap_or_default()), Mark::Present(cas)),
            _ => (None, Mark::Absent),
        }
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        let cas = match mark {
            Mark::Present(cas) if cas != 0 => cas,
            _ => CREATE,
        };
        hostcalls::set_shared_data(&name_of(key), Some(value), Some(cas)).map_err(|_| Mismatch)
    }
}

fn name_of(key: MemoryKey) -> String {
    match key {
        MemoryKey::Slab(index) => numbered("portcullis/slab/", index),
        MemoryKey::HashKey => "portcullis/hash_key".to_owned(),
        MemoryKey::Geometry => "portcullis/geometry".to_owned(),
        MemoryKey::Progress => "portcullis/progress".to_owned(),
        MemoryKey::Lease => "portcullis/lease".to_owned(),
        MemoryKey::Keys => "portcullis/keys".to_owned(),
        MemoryKey::Replay(index) => format!("portcullis/replay/{index:x}"),
        MemoryKey::ReplayGeometry => "portcullis/replay_geometry".to_owned(),
        MemoryKey::ReplayHorizon => "portcullis/replay_horizon".to_owned(),
        MemoryKey::Known => "portcullis/known".to_owned(),
        MemoryKey::FleetSlab(index) => numbered("portcullis/fleet/", index),
        MemoryKey::FleetLink => "portcullis/fleet_link".to_owned(),
        MemoryKey::Awaited(index) => numbered("portcullis/awaited/", index),
        MemoryKey::FirstRejections => "portcullis/first_rejections".to_owned(),
        MemoryKey::Changed(index) => numbered("portcullis/changed/", index),
        MemoryKey::ChangedEnd => "portcullis/changed_end".to_owned(),
    }
}

/// A name with a number after it, in hexadecimal: twice or more for every request, so not by `format!`.
fn numbered(prefix: &str, number: u32) -> String {
    let mut name = String::with_capacity(prefix.len().saturating_add(8));
    name.push_str(prefix);
    let digits = (u32::BITS - number.leading_zeros()).div_ceil(4).max(1);
    let digit = |at: u32| char::from_digit((number >> (4 * at)) & 0xf, 16);
    name.extend((0..digits).rev().filter_map(digit));
    name
}
