//! For tests only: a VM that traps at the worst moment, once per Envoy process.

use proxy_wasm::hostcalls;

const MARK: &[u8] = b"test-trap";
const DONE: &str = "portcullis/test/trapped";

/// Traps if the batch holds a block with the reason `test-trap` and no VM has trapped before.
pub(crate) fn on_batch(body: &[u8]) {
    let is_marked = body.windows(MARK.len()).any(|window| window == MARK);
    let is_first = || hostcalls::set_shared_data(DONE, Some(b"1"), Some(u32::MAX)).is_ok();
    if is_marked && is_first() {
        std::process::abort();
    }
}
