//! Calls that the SDK makes at a cost, or not as the proxy answers them.

use std::ptr;

use proxy_wasm::types::{MapType, Status};
use signing::headers::Headers;

/// The SDK's own call copies every name and value; most are never looked at.
pub(super) fn header_map(map: MapType) -> Headers {
    #[allow(unsafe_code)]
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_get_header_map_pairs(map: u32, bytes: *mut *mut u8, size: *mut usize) -> u32;
    }
    const OK: u32 = Status::Ok as u32;
    let (mut bytes, mut size) = (ptr::null_mut(), 0);
    // SAFETY: both places are live. What the proxy returns it has put into memory that it got from
    // the SDK's allocator, which gives vectors of this capacity away.
    #[allow(unsafe_code)]
    let map = unsafe {
        match proxy_get_header_map_pairs(map as u32, &raw mut bytes, &raw mut size) {
            OK if !bytes.is_null() => Vec::from_raw_parts(bytes, size, size),
            _ => Vec::new(),
        }
    };
    Headers::from_map(map)
}

/// What the proxy answers about a property.
pub(super) enum Property {
    /// It is not there.
    Absent,
    /// Its bytes, of which there may be none.
    Value(Vec<u8>),
    /// It is there, but of a type that has no bytes, such as null.
    Unreadable,
}

pub(super) fn property(path: &[&str]) -> Option<Vec<u8>> {
    match read_property(path) {
        Property::Value(bytes) => Some(bytes),
        Property::Absent | Property::Unreadable => None,
    }
}

/// The SDK's own call takes an empty text for nothing, and panics where the proxy answers what it does
/// not expect.
pub(super) fn read_property(path: &[&str]) -> Property {
    #[allow(unsafe_code)]
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            bytes: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
    }
    const OK: u32 = Status::Ok as u32;
    const NOT_FOUND: u32 = Status::NotFound as u32;
    let path = path.join("\0");
    let (mut bytes, mut size) = (ptr::null_mut(), 0);
    // SAFETY: pointer and length are those of a live text, and both places are live. What the proxy
    // returns it has put into memory that it got from the SDK's allocator, which gives vectors of
    // this capacity away.
    #[allow(unsafe_code)]
    unsafe {
        match proxy_get_property(path.as_ptr(), path.len(), &raw mut bytes, &raw mut size) {
            OK if bytes.is_null() => Property::Value(Vec::new()),
            OK => Property::Value(Vec::from_raw_parts(bytes, size, size)),
            NOT_FOUND => Property::Absent,
            _ => Property::Unreadable,
        }
    }
}
