//! Bodies of requests.

use super::*;

fn chunks(filter: *mut c_void, kind: u32) -> &'static [Vec<u8>] {
    let stream: &'static Exchange = stream(filter);
    if kind == 0 { &stream.received } else { &stream.buffered }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_size(
    filter: *mut c_void,
    kind: u32,
) -> usize {
    chunks(filter, kind).iter().map(Vec::len).sum()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks_size(
    filter: *mut c_void,
    kind: u32,
) -> usize {
    chunks(filter, kind).len()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks(
    filter: *mut c_void,
    kind: u32,
    room: *mut Text,
) -> bool {
    for (place, chunk) in chunks(filter, kind).iter().enumerate() {
        unsafe { room.add(place).write(of(chunk)) };
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_received_buffered_request_body(
    filter: *mut c_void,
) -> bool {
    stream(filter).is_same
}
