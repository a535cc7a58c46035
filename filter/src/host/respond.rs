//! The answer to a request that does not go on.

use gate::response::Response;
use signing::headers::Headers;

/// Answers the request instead of the upstream. At most once per stream. The access log finds the
/// details, which may not have spaces, in `%RESPONSE_CODE_DETAILS%`.
///
/// The SDK's own call has no details. To leave them in the filter state would be a second call, and
/// dearer than this one.
pub(super) fn respond(response: &Response, details: &str) {
    #[allow(unsafe_code)]
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
    }
    // The one that belongs to the HTTP status, where the request is a gRPC call.
    const GRPC_STATUS_OF_HTTP: i32 = -1;
    let Response { status, headers, body } = response;
    let headers: Headers = headers.iter().map(|(name, value)| (name, value)).collect();
    let headers = headers.as_map();
    // SAFETY: pointers and lengths are those of live values, which the proxy copies.
    #[allow(unsafe_code)]
    unsafe {
        proxy_send_local_response(
            *status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            GRPC_STATUS_OF_HTTP,
        );
    }
}
