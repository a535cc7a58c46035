//! For tests only: what must never happen in a process, at the worst moment, once.

use std::sync::atomic::{AtomicBool, Ordering};

use model::memory::MemoryKey;
use signing::headers::Headers;

use crate::home::Home;

/// Panics where an answer to a poll is looked at.
const TRAP: &str = "test-trap";

/// Forgets all slabs, as if memory had been damaged.
const FORGET: &str = "test-forget";

/// The header of a request that is to meet a panic.
const REQUEST: &str = "x-test-panic";

/// More slabs than any test has.
const SLABS: u32 = 1 << 16;

static HAS_TRAPPED: AtomicBool = AtomicBool::new(false);
static HAS_FORGOTTEN: AtomicBool = AtomicBool::new(false);

/// Panics over a request that has this header.
#[allow(clippy::panic, reason = "what tests ask for")]
pub(crate) fn on_request(headers: &Headers) {
    if headers.all(REQUEST).next().is_some() {
        panic!("{REQUEST}");
    }
}

/// Does what the answer to a poll asks for by the reason of a block, unless it was done before.
#[allow(clippy::panic, reason = "what tests ask for")]
pub(crate) fn on_answer(body: &[u8]) {
    if asks_first(body, TRAP, &HAS_TRAPPED) {
        panic!("{TRAP}");
    }
    if asks_first(body, FORGET, &HAS_FORGOTTEN) {
        for home in Home::all() {
            (0..SLABS).for_each(|index| home.memory.forget(MemoryKey::Slab(index)));
        }
    }
}

fn asks_first(body: &[u8], what: &str, done: &AtomicBool) -> bool {
    body.windows(what.len()).any(|window| window == what.as_bytes())
        && !done.swap(true, Ordering::Relaxed)
}
