//! Questions to all daemons, as anybody may write them to Redis: one that is read is within its bounds, and reads the same
//! again.
#![no_main]

use fuzz::fence::{ASKS_MAX, Fence, LASTS_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(fence) = Fence::read(data) else { return };
    assert!((1..=ASKS_MAX).contains(&fence.asks.len()) && fence.lasts() <= LASTS_MAX);
    assert!(fence.asks.iter().all(|ask| ask.names().is_some()));
    // It becomes part of a key's name.
    assert!(!fence.to.contains([':', '{', '}', '*']) && !fence.to.is_empty());
    let again = serde_json::to_vec(&fence).expect("it is plain data");
    assert_eq!(Fence::read(&again), Some(fence));
});
