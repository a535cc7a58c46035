//! For tests only: what must never happen in a node, at the worst moment, once per Envoy process.

use proxy_wasm::hostcalls;

/// Traps the VM.
const TRAP: &str = "test-trap";

/// Forgets all slabs, as if memory had been damaged.
const FORGET: &str = "test-forget";

/// The number of slabs in this memory, four bytes with the lowest first.
const GEOMETRY: &str = "portcullis/geometry";

/// Does what the answer to a poll asks for by the reason of a block, unless a VM has done so before.
pub(crate) fn on_answer(body: &[u8]) {
    if is_asked_first(body, TRAP) {
        std::process::abort();
    }
    if is_asked_first(body, FORGET) {
        for index in 0..slabs() {
            let _ = hostcalls::set_shared_data(&format!("portcullis/slab/{index:x}"), None, None);
        }
    }
}

fn slabs() -> u32 {
    let value = hostcalls::get_shared_data(GEOMETRY).ok().and_then(|(value, _)| value);
    value.and_then(|value| value.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn is_asked_first(body: &[u8], what: &str) -> bool {
    let is_marked = body.windows(what.len()).any(|window| window == what.as_bytes());
    let done = format!("portcullis/{what}");
    is_marked && hostcalls::set_shared_data(&done, Some(b"1"), Some(u32::MAX)).is_ok()
}
