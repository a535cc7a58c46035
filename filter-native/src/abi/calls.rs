//! Calls from the module into Envoy.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use edge::host::{HttpCall, Level};
use signing::headers::Headers;

use super::system::find;

/// Bytes, of the module or of Envoy.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Text {
    pub(super) bytes: *const u8,
    pub(super) length: usize,
}

impl Text {
    const NONE: Self = Self { bytes: ptr::null(), length: 0 };

    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes, which may be looked at as long as the contract of whoever gave them says.
    ///
    /// # Safety
    /// Pointer and length are those of bytes that outlive `'a`, or there are none.
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
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
    pub(super) name: Text,
    pub(super) value: Text,
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
enum BodyKind {
    /// What has come with this callback.
    Received = 0,
    /// What was held back before.
    Buffered = 1,
}

#[repr(C)]
enum Attribute {
    RequestTotalSize = 14,
    SourceAddress = 24,
}

/// What metrics and callouts answer if all is well.
const SUCCESS: u32 = 0;

// Each is called as the types below say: they are the only callers.
unsafe extern "C" {
    fn envoy_dynamic_module_callback_log(level: u32, message: Text);
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    fn envoy_dynamic_module_callback_get_concurrency() -> u32;
    fn envoy_dynamic_module_callback_is_validation_mode() -> bool;

    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: *mut c_void,
        name: Text,
        labels: *const Text,
        labels_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: *mut c_void,
        name: Text,
        labels: *const Text,
        labels_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: *mut c_void,
        id: usize,
        labels: *const Text,
        labels_count: usize,
        by: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: *mut c_void,
        id: usize,
        labels: *const Text,
        labels_count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        config: *mut c_void,
    ) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        config: *mut c_void,
        id: *mut u64,
        cluster: Text,
        headers: *const Line,
        headers_count: usize,
        body: Text,
        timeout_ms: u64,
    ) -> u32;

    fn envoy_dynamic_module_callback_http_get_headers_size(
        filter: *mut c_void,
        kind: HeaderKind,
    ) -> usize;
    fn envoy_dynamic_module_callback_http_get_headers(
        filter: *mut c_void,
        kind: HeaderKind,
        lines: *mut Line,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_add_header(
        filter: *mut c_void,
        kind: HeaderKind,
        name: Text,
        value: Text,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_header(
        filter: *mut c_void,
        kind: HeaderKind,
        name: Text,
        value: Text,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_send_response(
        filter: *mut c_void,
        status: u32,
        headers: *const Line,
        headers_count: usize,
        body: Text,
        details: Text,
    );
    fn envoy_dynamic_module_callback_http_get_body_size(
        filter: *mut c_void,
        kind: BodyKind,
    ) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(
        filter: *mut c_void,
        kind: BodyKind,
    ) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks(
        filter: *mut c_void,
        kind: BodyKind,
        chunks: *mut Text,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_request_body(
        filter: *mut c_void,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: *mut c_void,
        key: Text,
        value: Text,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        filter: *mut c_void,
        key: Text,
        value: *mut Text,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: *mut c_void,
        attribute: Attribute,
        value: *mut Text,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        filter: *mut c_void,
        attribute: Attribute,
        value: *mut u64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_get_worker_index(filter: *mut c_void) -> u32;
    fn envoy_dynamic_module_callback_get_most_specific_route_config(
        filter: *mut c_void,
    ) -> *const c_void;
    fn envoy_dynamic_module_callback_http_filter_scheduler_new(filter: *mut c_void) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: *mut c_void);
}

/// Writes a line to Envoy's log. Any thread.
pub(crate) fn log(level: Level, text: &str) {
    let level = match level {
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    // SAFETY: numbers, and a text that lives until Envoy has copied it.
    unsafe {
        if envoy_dynamic_module_callback_log_enabled(level) {
            envoy_dynamic_module_callback_log(level, Text::of(text.as_bytes()));
        }
    }
}

/// How many workers Envoy has. Main thread, from the first configuration on.
pub(crate) fn concurrency() -> usize {
    // SAFETY: no arguments; hooks about configurations, the only callers, are called on the main thread.
    let workers = unsafe { envoy_dynamic_module_callback_get_concurrency() };
    usize::try_from(workers).unwrap_or(1).max(1)
}

/// Whether Envoy only looks whether its configuration is valid. Main thread.
pub(crate) fn is_validation() -> bool {
    // SAFETY: as above.
    unsafe { envoy_dynamic_module_callback_is_validation_mode() }
}

type IncrementByConfig =
    unsafe extern "C" fn(*mut c_void, usize, *const Text, usize, u64) -> u32;

/// What only newer Envoys have.
#[derive(Clone, Copy)]
pub(crate) struct Newer {
    /// Since 1.39: adds to a counter without a stream.
    increment_by_config: Option<IncrementByConfig>,
    /// Whether it is 1.40 or newer.
    pub(super) is_second: bool,
}

impl Newer {
    /// Looks once.
    pub(crate) fn get() -> Self {
        static FOUND: OnceLock<Newer> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let add = find(c"envoy_dynamic_module_callback_http_filter_config_increment_counter");
            let second = find(c"envoy_dynamic_module_callback_http_get_header_values");
            // SAFETY: this is its signature in every Envoy that has it.
            let increment_by_config =
                add.map(|found| unsafe { std::mem::transmute::<*mut c_void, IncrementByConfig>(found) });
            Self { increment_by_config, is_second: second.is_some() }
        })
    }
}

/// One filter configuration, on Envoy's side. Main thread, between `config_new` and `config_destroy`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config(pub(super) NonNull<c_void>);

// SAFETY: it is a number that is called with on the main thread alone; other threads only keep it.
unsafe impl Send for Config {}
// SAFETY: as above.
unsafe impl Sync for Config {}

impl Config {
    /// Defines a counter; with a label if one is given. During `config_new` alone: none after it.
    pub(crate) fn define_counter(self, name: &str, label: Option<&str>) -> Option<usize> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_counter,
            name,
            label,
        )
    }

    /// Defines a histogram; otherwise as above.
    pub(crate) fn define_histogram(self, name: &str, label: Option<&str>) -> Option<usize> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_histogram,
            name,
            label,
        )
    }

    fn define(
        self,
        define: unsafe extern "C" fn(*mut c_void, Text, *const Text, usize, *mut usize) -> u32,
        name: &str,
        label: Option<&str>,
    ) -> Option<usize> {
        let label = label.map(|label| Text::of(label.as_bytes()));
        let (labels, mut id) = (label.as_slice(), 0);
        let name = Text::of(name.as_bytes());
        // SAFETY: the configuration is alive (see the type); names and place live until the call returns.
        let result = unsafe {
            define(self.0.as_ptr(), name, labels.as_ptr(), labels.len(), &raw mut id)
        };
        (result == SUCCESS).then_some(id)
    }

    /// Adds to a counter without a stream. False if this Envoy cannot.
    pub(crate) fn increment(self, id: usize, label: Option<&str>, by: u64) -> bool {
        let Some(increment) = Newer::get().increment_by_config else { return false };
        let label = label.map(|label| Text::of(label.as_bytes()));
        let labels = label.as_slice();
        // SAFETY: as above.
        unsafe { increment(self.0.as_ptr(), id, labels.as_ptr(), labels.len(), by) };
        true
    }

    /// Sends an HTTP request; the number comes back with its answer. None if it could not be sent.
    pub(crate) fn call(self, call: &HttpCall<'_>) -> Option<u64> {
        let HttpCall { cluster, headers, body, timeout } = *call;
        let headers: Vec<_> = headers.iter().map(|(name, value)| Line::of(name, value)).collect();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let mut id = 0;
        // SAFETY: the configuration is alive; what it is handed lives until the call returns.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_http_callout(
                self.0.as_ptr(),
                &raw mut id,
                Text::of(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                Text::of(body),
                timeout_ms,
            )
        };
        (result == SUCCESS).then_some(id)
    }

    /// By which any thread can ask for a call on the main thread.
    pub(crate) fn ticket(self) -> Option<Ticket> {
        // SAFETY: the configuration is alive.
        let made = unsafe {
            envoy_dynamic_module_callback_http_filter_config_scheduler_new(self.0.as_ptr())
        };
        NonNull::new(made).map(Ticket)
    }
}

impl Line {
    fn of(name: &str, value: &str) -> Self {
        Self { name: Text::of(name.as_bytes()), value: Text::of(value.as_bytes()) }
    }
}

/// Asks for calls of `config_scheduled` on the main thread. Without effect once the configuration is gone.
pub(crate) struct Ticket(NonNull<c_void>);

// SAFETY: Envoy lets any thread commit and delete.
unsafe impl Send for Ticket {}
// SAFETY: as above; it is deleted by the last who has it.
unsafe impl Sync for Ticket {}

impl Ticket {
    pub(crate) fn commit(&self) {
        // SAFETY: it lives until it is dropped, and Envoy lets any thread commit.
        unsafe {
            envoy_dynamic_module_callback_http_filter_config_scheduler_commit(self.0.as_ptr(), 0);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // SAFETY: made by Envoy, and deleted once.
        unsafe {
            envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0.as_ptr());
        }
    }
}

/// Asks for a call of `filter_scheduled` about one stream, on its worker. Without effect once the stream is gone.
pub(crate) struct Wake(NonNull<c_void>);

// SAFETY: Envoy lets any thread commit and delete.
unsafe impl Send for Wake {}

impl Wake {
    /// Main thread: workers do not stop meanwhile.
    pub(crate) fn commit(&self) {
        // SAFETY: it lives until it is dropped, and Envoy lets any thread commit.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_commit(self.0.as_ptr(), 0) };
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: made by Envoy, and deleted once.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_delete(self.0.as_ptr()) };
    }
}

/// One stream's filter, on Envoy's side. Its worker's thread, between `filter_new` and `filter_destroy`.
#[derive(Clone, Copy)]
pub(crate) struct Filter(pub(super) NonNull<c_void>);

/// More lines or chunks than this are read by way of the heap.
const ON_STACK: usize = 48;

impl Filter {
    fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// The worker's number, from 0.
    pub(crate) fn worker(self) -> usize {
        // SAFETY: the filter is alive (see the type).
        let index = unsafe { envoy_dynamic_module_callback_http_filter_get_worker_index(self.as_ptr()) };
        usize::try_from(index).unwrap_or(0)
    }

    /// The module's part of the configuration of the route, if it has one.
    pub(super) fn route(self) -> *const c_void {
        // SAFETY: the filter is alive.
        unsafe { envoy_dynamic_module_callback_get_most_specific_route_config(self.as_ptr()) }
    }

    /// Every header line.
    pub(crate) fn headers(self, kind: HeaderKind) -> Headers {
        // SAFETY: the filter is alive.
        let count =
            unsafe { envoy_dynamic_module_callback_http_get_headers_size(self.as_ptr(), kind) };
        // SAFETY: there is room for as many as it says, and it writes all of them or says false. Names and values
        // stay until a header is changed, which nothing does while they are copied.
        with_room(count, |room: *mut Line| unsafe {
            let is_there = count > 0
                && envoy_dynamic_module_callback_http_get_headers(self.as_ptr(), kind, room);
            let lines = if is_there { std::slice::from_raw_parts(room, count) } else { &[] };
            Headers::copied(lines.iter().map(|line| (line.name.bytes(), line.value.bytes())))
        })
    }

    pub(crate) fn set_header(self, kind: HeaderKind, name: &str, value: &str) {
        let (name, value) = (Text::of(name.as_bytes()), Text::of(value.as_bytes()));
        // SAFETY: the filter is alive, and Envoy copies both.
        unsafe { envoy_dynamic_module_callback_http_set_header(self.as_ptr(), kind, name, value) };
    }

    pub(crate) fn remove_header(self, kind: HeaderKind, name: &str) {
        let name = Text::of(name.as_bytes());
        // SAFETY: as above; no value removes it.
        unsafe {
            envoy_dynamic_module_callback_http_set_header(self.as_ptr(), kind, name, Text::NONE);
        }
    }

    pub(crate) fn add_header(self, kind: HeaderKind, name: &str, value: &str) {
        let (name, value) = (Text::of(name.as_bytes()), Text::of(value.as_bytes()));
        // SAFETY: as above.
        unsafe { envoy_dynamic_module_callback_http_add_header(self.as_ptr(), kind, name, value) };
    }

    /// Answers the request. The module's part of the stream may be destroyed before this returns.
    pub(crate) fn respond(self, status: u32, headers: &[(&str, &str)], body: &str, details: &str) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| Line::of(name, value)).collect();
        // SAFETY: the filter is alive; what Envoy is handed lives until the call returns.
        unsafe {
            envoy_dynamic_module_callback_http_send_response(
                self.as_ptr(),
                status,
                headers.as_ptr(),
                headers.len(),
                Text::of(body.as_bytes()),
                Text::of(details.as_bytes()),
            );
        }
    }

    /// Lets a request go on that was paused. The module's part may be destroyed before this returns.
    pub(crate) fn resume(self) {
        // SAFETY: the filter is alive.
        unsafe { envoy_dynamic_module_callback_http_filter_continue_decoding(self.as_ptr()) };
    }

    /// How many bytes of the request's body Envoy holds, those of this callback included.
    pub(crate) fn body_bytes(self) -> usize {
        let bytes = |kind: BodyKind| {
            // SAFETY: the filter is alive.
            unsafe { envoy_dynamic_module_callback_http_get_body_size(self.as_ptr(), kind) }
        };
        let received = bytes(BodyKind::Received);
        if self.received_is_buffered() { received } else { received.saturating_add(bytes(BodyKind::Buffered)) }
    }

    /// Reads the request's body in the pieces in which Envoy holds it: so many bytes from a place on.
    pub(crate) fn read_body(self, start: usize, bytes: usize, mut read: impl FnMut(&[u8])) {
        let (mut skip, mut left) = (start, bytes);
        let mut read_piece = |piece: &[u8]| {
            let skipped = skip.min(piece.len());
            skip = skip.saturating_sub(skipped);
            let piece = piece.get(skipped..).unwrap_or_default();
            let piece = piece.get(..left).unwrap_or(piece);
            left = left.saturating_sub(piece.len());
            if !piece.is_empty() {
                read(piece);
            }
        };
        if !self.received_is_buffered() {
            self.read_chunks(BodyKind::Buffered, &mut read_piece);
        }
        self.read_chunks(BodyKind::Received, &mut read_piece);
    }

    /// Whether what has come with this callback is what a filter before this one had held back.
    fn received_is_buffered(self) -> bool {
        // SAFETY: the filter is alive.
        unsafe {
            envoy_dynamic_module_callback_http_received_buffered_request_body(self.as_ptr())
        }
    }

    fn read_chunks(self, kind: BodyKind, read: &mut impl FnMut(&[u8])) {
        // SAFETY: the filter is alive.
        let count = unsafe {
            envoy_dynamic_module_callback_http_get_body_chunks_size(self.as_ptr(), kind)
        };
        // SAFETY: as for headers. Chunks stay until the body is changed, which nothing does meanwhile.
        with_room(count, |room: *mut Text| unsafe {
            if count > 0
                && envoy_dynamic_module_callback_http_get_body_chunks(self.as_ptr(), kind, room)
            {
                let chunks = std::slice::from_raw_parts(room, count);
                chunks.iter().for_each(|chunk| read(chunk.bytes()));
            }
        });
    }

    /// Puts bytes into the stream's filter state, for as long as its chain of filters lasts. Once for each key.
    pub(crate) fn set_state(self, key: &str, value: &[u8]) -> bool {
        let (key, value) = (Text::of(key.as_bytes()), Text::of(value));
        // SAFETY: the filter is alive, and Envoy copies both.
        unsafe {
            envoy_dynamic_module_callback_http_set_filter_state_bytes(self.as_ptr(), key, value)
        }
    }

    /// What stands in the stream's filter state.
    pub(crate) fn state(self, key: &str) -> Option<Vec<u8>> {
        let (key, mut value) = (Text::of(key.as_bytes()), Text::NONE);
        // SAFETY: the filter is alive, and the place is; the value stays until it is changed.
        unsafe {
            envoy_dynamic_module_callback_http_get_filter_state_bytes(
                self.as_ptr(),
                key,
                &raw mut value,
            )
            .then(|| value.bytes().to_vec())
        }
    }

    /// The address that the request came from, with its port.
    pub(crate) fn client_address(self) -> Option<Vec<u8>> {
        let mut value = Text::NONE;
        // SAFETY: as above.
        unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.as_ptr(),
                Attribute::SourceAddress,
                &raw mut value,
            )
            .then(|| value.bytes().to_vec())
        }
    }

    /// How many bytes Envoy has received of the request.
    pub(crate) fn received_bytes(self) -> Option<u64> {
        let mut value = 0;
        // SAFETY: as above.
        unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_int(
                self.as_ptr(),
                Attribute::RequestTotalSize,
                &raw mut value,
            )
            .then_some(value)
        }
    }

    pub(crate) fn increment(self, id: usize, label: Option<&str>, by: u64) {
        let label = label.map(|label| Text::of(label.as_bytes()));
        let labels = label.as_slice();
        // SAFETY: the filter is alive; labels live until the call returns.
        unsafe {
            envoy_dynamic_module_callback_http_filter_increment_counter(
                self.as_ptr(),
                id,
                labels.as_ptr(),
                labels.len(),
                by,
            );
        }
    }

    pub(crate) fn record(self, id: usize, label: Option<&str>, value: u64) {
        let label = label.map(|label| Text::of(label.as_bytes()));
        let labels = label.as_slice();
        // SAFETY: as above.
        unsafe {
            envoy_dynamic_module_callback_http_filter_record_histogram_value(
                self.as_ptr(),
                id,
                labels.as_ptr(),
                labels.len(),
                value,
            );
        }
    }

    /// By which the main thread can ask for a call about this stream.
    pub(crate) fn wake(self) -> Option<Wake> {
        // SAFETY: the filter is alive.
        let made = unsafe { envoy_dynamic_module_callback_http_filter_scheduler_new(self.as_ptr()) };
        NonNull::new(made).map(Wake)
    }
}

/// Room for so many values, which is not written to yet.
fn with_room<T, R>(count: usize, with: impl FnOnce(*mut T) -> R) -> R {
    if count <= ON_STACK {
        let mut room = [const { MaybeUninit::<T>::uninit() }; ON_STACK];
        return with(room.as_mut_ptr().cast());
    }
    let mut room = Vec::<T>::with_capacity(count);
    with(room.as_mut_ptr())
}

