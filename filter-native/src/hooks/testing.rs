//! The hooks, as tests call them: with what is alive.

#![allow(unreachable_pub, reason = "only tests use it")]

use super::*;

fn text(bytes: &[u8]) -> Text {
    Text { bytes: bytes.as_ptr(), length: bytes.len() }
}

pub(crate) fn program_init() -> Option<&'static CStr> {
    let name = envoy_dynamic_module_on_program_init();
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })
}

pub(crate) fn config_new(config: Config, name: &str, json: &str) -> *const Base {
    let (name, json) = (text(name.as_bytes()), text(json.as_bytes()));
    unsafe { envoy_dynamic_module_on_http_filter_config_new(config.0.as_ptr(), name, json) }
}

pub(crate) fn config_destroy(base: *const Base) {
    unsafe { envoy_dynamic_module_on_http_filter_config_destroy(base) };
}

pub(crate) fn route_new(name: &str, json: &str) -> *const Route {
    let (name, json) = (text(name.as_bytes()), text(json.as_bytes()));
    unsafe { envoy_dynamic_module_on_http_filter_per_route_config_new(name, json) }
}

pub(crate) fn route_destroy(route: *const Route) {
    unsafe { envoy_dynamic_module_on_http_filter_per_route_config_destroy(route) };
}

pub(crate) fn config_scheduled() {
    envoy_dynamic_module_on_http_filter_config_scheduled(ptr::null_mut(), ptr::null(), 0);
}

/// An answer with this status and this body, in chunks of three bytes; none at all with status 0.
pub(crate) fn callout_done(config: Config, id: u64, status: u32, body: &[u8]) {
    let status = status.to_string();
    let line = Line { name: text(b":status"), value: text(status.as_bytes()) };
    let chunks: Vec<_> = body.chunks(3).map(text).collect();
    let result = u32::from(status == "0");
    unsafe {
        envoy_dynamic_module_on_http_filter_config_http_callout_done(
            config.0.as_ptr(),
            ptr::null(),
            id,
            result,
            &raw const line,
            1,
            chunks.as_ptr(),
            chunks.len(),
        );
    }
}

pub(crate) fn filter_new(base: *const Base, filter: *mut c_void) -> *mut Stream {
    unsafe { envoy_dynamic_module_on_http_filter_new(base, filter) }
}

pub(crate) fn filter_destroy(stream: *mut Stream) {
    unsafe { envoy_dynamic_module_on_http_filter_destroy(stream) };
}

pub(crate) fn request_headers(filter: *mut c_void, stream: *mut Stream, end: bool) -> u32 {
    unsafe { envoy_dynamic_module_on_http_filter_request_headers(filter, stream, end) }
}

pub(crate) fn request_body(filter: *mut c_void, stream: *mut Stream, end: bool) -> u32 {
    unsafe { envoy_dynamic_module_on_http_filter_request_body(filter, stream, end) }
}

pub(crate) fn request_trailers(filter: *mut c_void, stream: *mut Stream) -> u32 {
    unsafe { envoy_dynamic_module_on_http_filter_request_trailers(filter, stream) }
}

pub(crate) fn response_headers(filter: *mut c_void, stream: *mut Stream) -> u32 {
    unsafe { envoy_dynamic_module_on_http_filter_response_headers(filter, stream, false) }
}

pub(crate) fn scheduled(filter: *mut c_void, stream: *mut Stream) {
    unsafe { envoy_dynamic_module_on_http_filter_scheduled(filter, stream, 0) };
}
