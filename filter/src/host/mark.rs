//! The mark that a gate leaves on a stream, by which another gate in the same chain of filters knows of it.
//!
//! It stands in the stream's filter state, which no client can write, and goes with the chain: a request
//! that Envoy sends through the chain once more (an internal redirect) is a new one. It is declared to be
//! written once, so that leaving it and finding it are one call.

use edge::host::Marked;
use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

use super::wire::property;

/// Its name; Envoy puts `wasm.` before it.
const NAME: &str = "portcullis_gate";

/// Tells the proxy that the mark is written once for each chain. False if it cannot be told.
pub(super) fn declare() -> bool {
    let declared = hostcalls::call_foreign_function("declare_property", Some(&declaration()));
    // A bad argument: this plugin has declared it before.
    matches!(declared, Ok(_) | Err(Status::BadArgument))
}

/// A `DeclarePropertyArguments` of Envoy: `string name = 1`, `bool readonly = 2`; the defaults of the others are
/// that it is bytes, and lasts as long as the chain of filters.
fn declaration() -> Vec<u8> {
    const { assert!(NAME.len() < 0x80) };
    let length = u8::try_from(NAME.len()).unwrap_or_default();
    [&[0x0a, length], NAME.as_bytes(), &[0x10, 1]].concat()
}

/// Leaves the mark of a gate with this configuration on the current stream.
pub(super) fn leave(configuration: u32) -> Marked {
    #[allow(unsafe_code)]
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
    }
    let value = configuration.to_le_bytes();
    // SAFETY: pointers and lengths are those of live values, which the proxy copies. The SDK's own call
    // panics where the proxy says that it was written before.
    #[allow(unsafe_code)]
    let status =
        unsafe { proxy_set_property(NAME.as_ptr(), NAME.len(), value.as_ptr(), value.len()) };
    if status == Status::Ok as u32 {
        return Marked::First;
    }
    let found = property(&[NAME]).and_then(|value| value.try_into().ok());
    Marked::Again(found.map(u32::from_le_bytes))
}
