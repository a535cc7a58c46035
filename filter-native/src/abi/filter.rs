//! Calls about one stream.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use signing::headers::Headers;

use super::declared::*;
use super::tickets::Wake;

/// One stream's filter, on Envoy's side. Its worker's thread, between `filter_new` and `filter_destroy`.
#[derive(Clone, Copy)]
pub(crate) struct Filter(pub(crate) NonNull<c_void>);

/// More lines or chunks than this are read by way of the heap.
const ON_STACK: usize = 48;

impl Filter {
    fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// The worker's number, from 0.
    pub(crate) fn worker(self) -> usize {
        // SAFETY: the filter is alive (see the type).
        let index =
            unsafe { envoy_dynamic_module_callback_http_filter_get_worker_index(self.as_ptr()) };
        usize::try_from(index).unwrap_or(0)
    }

    /// The module's part of the configuration of the route, if it has one.
    pub(crate) fn route(self) -> *const c_void {
        // SAFETY: the filter is alive.
        unsafe { envoy_dynamic_module_callback_get_most_specific_route_config(self.as_ptr()) }
    }

    /// Every header line, in this vector.
    pub(crate) fn headers(self, kind: HeaderKind, map: Vec<u8>) -> Headers {
        // SAFETY: the filter is alive.
        let count =
            unsafe { envoy_dynamic_module_callback_http_get_headers_size(self.as_ptr(), kind) };
        // SAFETY: there is room for as many as it says, and it writes all of them or says false. Names and values
        // stay until a header is changed, which nothing does while they are copied.
        with_room(count, |room: *mut Line| unsafe {
            let is_there = count > 0
                && envoy_dynamic_module_callback_http_get_headers(self.as_ptr(), kind, room);
            let lines = if is_there { std::slice::from_raw_parts(room, count) } else { &[] };
            Headers::copied(lines.iter().map(|line| (line.name.bytes(), line.value.bytes())), map)
        })
    }

    /// Whether the first header of this name has a value that `is` so.
    pub(crate) fn header_is(
        self,
        kind: HeaderKind,
        name: &str,
        is: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        let (name, mut value) = (Text::of(name.as_bytes()), Text::NONE);
        // SAFETY: the filter is alive, and the place is; a null pointer says that nobody counts. The value stays until a
        // header is changed.
        unsafe {
            envoy_dynamic_module_callback_http_get_header(
                self.as_ptr(),
                kind,
                name,
                &raw mut value,
                0,
                ptr::null_mut(),
            ) && is(value.bytes())
        }
    }

    pub(crate) fn set_header(self, kind: HeaderKind, name: &str, value: &str) {
        let (name, value) = (Text::of(name.as_bytes()), Text::of(value.as_bytes()));
        // SAFETY: the filter is alive, and Envoy copies both.
        unsafe { envoy_dynamic_module_callback_http_set_header(self.as_ptr(), kind, name, value) };
    }

    /// Has Envoy choose the route anew, by the headers as they are then.
    pub(crate) fn clear_route(self) {
        // SAFETY: the filter is alive.
        unsafe { envoy_dynamic_module_callback_http_clear_route_cache(self.as_ptr()) };
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
        if self.received_is_buffered() {
            received
        } else {
            received.saturating_add(bytes(BodyKind::Buffered))
        }
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
        unsafe { envoy_dynamic_module_callback_http_received_buffered_request_body(self.as_ptr()) }
    }

    fn read_chunks(self, kind: BodyKind, read: &mut impl FnMut(&[u8])) {
        // SAFETY: the filter is alive.
        let count =
            unsafe { envoy_dynamic_module_callback_http_get_body_chunks_size(self.as_ptr(), kind) };
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
        let made =
            unsafe { envoy_dynamic_module_callback_http_filter_scheduler_new(self.as_ptr()) };
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
