//! Hooks that Envoy requires and that have nothing to do.

use std::ffi::c_void;

use crate::abi::{Line, Text};
use crate::stream::Stream;

/// Makes them.
macro_rules! nothing {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) $(-> $answer:literal)?;)*) => {
        $(nothing!(@ $(#[$doc])* $name($($arg: $kind),*) $(-> $answer)?);)*
    };
    (@ $(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*)) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $kind),*) {}
    };
    (@ $(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*) -> $answer:literal) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $kind),*) -> u32 {
            $answer
        }
    };
}

nothing! {
    /// A part of the response's body is there: it goes on.
    envoy_dynamic_module_on_http_filter_response_body(_f: *mut c_void, _s: *mut Stream, _end: bool) -> 0;
    /// The response's trailers are there: they go on.
    envoy_dynamic_module_on_http_filter_response_trailers(_f: *mut c_void, _s: *mut Stream) -> 0;
    /// All of a stream is over.
    envoy_dynamic_module_on_http_filter_stream_complete(_f: *mut c_void, _s: *mut Stream);
    /// Streams send no requests of their own.
    envoy_dynamic_module_on_http_filter_http_callout_done(
        _f: *mut c_void, _s: *mut Stream, _id: u64, _result: u32, _headers: *const Line, _headers_count: usize,
        _chunks: *const Text, _chunks_count: usize
    );
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_headers(
        _f: *mut c_void, _s: *mut Stream, _id: u64, _headers: *const Line, _headers_count: usize, _end: bool
    );
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_data(
        _f: *mut c_void, _s: *mut Stream, _id: u64, _chunks: *const Text, _chunks_count: usize, _end: bool
    );
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_trailers(
        _f: *mut c_void, _s: *mut Stream, _id: u64, _trailers: *const Line, _trailers_count: usize
    );
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_complete(_f: *mut c_void, _s: *mut Stream, _id: u64);
    /// As above.
    envoy_dynamic_module_on_http_filter_http_stream_reset(
        _f: *mut c_void, _s: *mut Stream, _id: u64, _reason: u32
    );
    /// Buffers towards the client are Envoy's own matter.
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
        _f: *mut c_void, _s: *mut Stream
    );
    /// As above.
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
        _f: *mut c_void, _s: *mut Stream
    );
}
