//! What the C ABI declares, as far as it is used: types, and the functions that Envoy exports.

use std::ffi::c_void;
use std::ptr;

/// Bytes, of the module or of Envoy.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Text {
    pub(crate) bytes: *const u8,
    pub(crate) length: usize,
}

impl Text {
    pub(super) const NONE: Self = Self { bytes: ptr::null(), length: 0 };

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes, which may be looked at as long as the contract of whoever gave them says.
    ///
    /// # Safety
    /// Pointer and length are those of bytes that outlive `'a`, or there are none.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.bytes.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.bytes, self.length) }
    }
}

/// One header line.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Line {
    pub(crate) name: Text,
    pub(crate) value: Text,
}

/// Which headers of a stream. The numbers are Envoy's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) enum HeaderKind {
    Request = 0,
    RequestTrailer = 1,
    Response = 2,
}

/// Bodies of a stream. The numbers are Envoy's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) enum BodyKind {
    /// What has come with this callback.
    Received = 0,
    /// What was held back before.
    Buffered = 1,
}

/// Attributes of a stream. The numbers are Envoy's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) enum Attribute {
    RequestTotalSize = 14,
    SourceAddress = 24,
}

/// What metrics and callouts answer if all is well.
pub(super) const SUCCESS: u32 = 0;

// Each is called as the types below say: they are the only callers.
unsafe extern "C" {
    pub(super) fn envoy_dynamic_module_callback_log(level: u32, message: Text);
    pub(super) fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    pub(super) fn envoy_dynamic_module_callback_get_concurrency() -> u32;
    pub(super) fn envoy_dynamic_module_callback_is_validation_mode() -> bool;

    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: *mut c_void,
        name: Text,
        labels: *const Text,
        labels_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: *mut c_void,
        name: Text,
        labels: *const Text,
        labels_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: *mut c_void,
        id: usize,
        labels: *const Text,
        labels_count: usize,
        by: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: *mut c_void,
        id: usize,
        labels: *const Text,
        labels_count: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        config: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(
        scheduler: *mut c_void,
    );
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        config: *mut c_void,
        id: *mut u64,
        cluster: Text,
        headers: *const Line,
        headers_count: usize,
        body: Text,
        timeout_ms: u64,
    ) -> u32;

    pub(super) fn envoy_dynamic_module_callback_http_get_header(
        filter: *mut c_void,
        kind: HeaderKind,
        name: Text,
        value: *mut Text,
        index: usize,
        count: *mut usize,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_headers_size(
        filter: *mut c_void,
        kind: HeaderKind,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_headers(
        filter: *mut c_void,
        kind: HeaderKind,
        lines: *mut Line,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_add_header(
        filter: *mut c_void,
        kind: HeaderKind,
        name: Text,
        value: Text,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_header(
        filter: *mut c_void,
        kind: HeaderKind,
        name: Text,
        value: Text,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_clear_route_cache(filter: *mut c_void);
    pub(super) fn envoy_dynamic_module_callback_http_send_response(
        filter: *mut c_void,
        status: u32,
        headers: *const Line,
        headers_count: usize,
        body: Text,
        details: Text,
    );
    pub(super) fn envoy_dynamic_module_callback_http_get_body_size(
        filter: *mut c_void,
        kind: BodyKind,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_body_chunks_size(
        filter: *mut c_void,
        kind: BodyKind,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_body_chunks(
        filter: *mut c_void,
        kind: BodyKind,
        chunks: *mut Text,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_received_buffered_request_body(
        filter: *mut c_void,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: *mut c_void,
        key: Text,
        value: Text,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        filter: *mut c_void,
        key: Text,
        value: *mut Text,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: *mut c_void,
        attribute: Attribute,
        value: *mut Text,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        filter: *mut c_void,
        attribute: Attribute,
        value: *mut u64,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: *mut c_void);
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_worker_index(
        filter: *mut c_void,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_get_most_specific_route_config(
        filter: *mut c_void,
    ) -> *const c_void;
    pub(super) fn envoy_dynamic_module_callback_http_filter_scheduler_new(
        filter: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn envoy_dynamic_module_callback_http_filter_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    pub(super) fn envoy_dynamic_module_callback_http_filter_scheduler_delete(
        scheduler: *mut c_void,
    );
}

impl Line {
    pub(super) fn of(name: &str, value: &str) -> Self {
        Self { name: Text::of(name.as_bytes()), value: Text::of(value.as_bytes()) }
    }
}
