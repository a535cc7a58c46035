//! Calls from Envoy into the module. None lets a panic out.
//!
//! What Envoy calls with are pointers; what they point to, and for how long, is what it promises of each hook.
//!
//! Envoy looks these up by their names. What it requires and the gate has no use for does nothing.

#![allow(unsafe_code, reason = "what Envoy calls with are pointers")]

mod nothing;
#[cfg(test)]
pub(crate) mod testing;

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use edge::host::Level;

use crate::abi::{self, Config, Filter, Line, Newer, Text};
use crate::base::Base;
use crate::host;
use crate::rounds;
use crate::route::Route;
use crate::sent;
use crate::shield::shielded;
use crate::stream::{self, Outcome, Room, Stream};

/// What Envoy's hooks about headers, bodies and trailers may answer; the same number in each of them.
const CONTINUE: u32 = 0;

/// Nothing goes on; what comes of the body is kept. Headers, bodies and trailers have the same number for it.
const STOP: u32 = 1;

/// A callout had an answer.
const ANSWERED: u32 = 0;

/// The ABI's name in 1.38 and 1.39, and in 1.40. Envoy warns of any other, and loads the module.
const FIRST: &CStr = c"v0.1.0";
const SECOND: &CStr = c"v0.2.0";

/// What the oldest Envoy that will do has, and those before it lack.
const REQUIRED: [&CStr; 3] = [
    c"envoy_dynamic_module_callback_http_filter_config_http_callout",
    c"envoy_dynamic_module_callback_http_filter_config_scheduler_new",
    c"envoy_dynamic_module_callback_is_validation_mode",
];

/// The module was loaded. Gives the ABI's name, or null if Envoy lacks what is needed, which Envoy then reports as a
/// module that could not be initialized.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    let checked = shielded("program_init", || {
        let missing = REQUIRED.iter().find(|name| abi::find(name).is_none());
        if let Some(name) = missing {
            let name = name.to_string_lossy();
            abi::log(
                Level::Error,
                &format!(
                    "portcullis: this Envoy is too old, it must be 1.38 or newer: it has no {name}"
                ),
            );
        }
        missing.is_none()
    });
    match checked {
        Some(true) if Newer::get().is_second => SECOND.as_ptr(),
        Some(true) => FIRST.as_ptr(),
        _ => ptr::null(),
    }
}

/// A configuration has come. Main thread. Gives the module's part of it, or null to refuse it.
///
/// # Safety
/// Envoy's: the pointer is that of a configuration, and the texts live until this returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: *mut c_void,
    name: Text,
    json: Text,
) -> *const Base {
    let Some(config) = NonNull::new(config).map(Config) else { return ptr::null() };
    // SAFETY: the caller's promise.
    let (name, json) = unsafe { (name.bytes(), json.bytes()) };
    match shielded("a configuration", || Base::new(config, name, json)) {
        Some(Ok(base)) => Arc::into_raw(base),
        Some(Err(reason)) => {
            refuse(&reason);
            ptr::null()
        }
        None => {
            shielded("a configuration that is given up", || Base::end(config));
            ptr::null()
        }
    }
}

/// Says why a configuration is refused.
fn refuse(reason: &str) {
    abi::log(Level::Error, &format!("portcullis: {reason}"));
}

/// A configuration goes; no stream of it is left.
///
/// # Safety
/// Envoy's: the pointer is one of `config_new`, and this is the last call about it.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(base: *const Base) {
    if base.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let base = unsafe { Arc::from_raw(base) };
    shielded("the end of a configuration", move || {
        base.outlet.id().into_iter().for_each(Base::end)
    });
}

/// The configuration of a route has come. Main thread. Gives the module's part of it, or null to refuse it.
///
/// # Safety
/// Envoy's: the texts live until this returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    name: Text,
    json: Text,
) -> *const Route {
    // SAFETY: the caller's promise.
    let (name, json) = unsafe { (name.bytes(), json.bytes()) };
    match shielded("the configuration of a route", || Route::new(name, json)) {
        Some(Ok(route)) => Arc::into_raw(route),
        Some(Err(reason)) => {
            refuse(&reason);
            ptr::null()
        }
        None => ptr::null(),
    }
}

/// The configuration of a route goes; streams of it may be left.
///
/// # Safety
/// Envoy's: the pointer is one of `per_route_config_new`, and this is the last call about it.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(
    route: *const Route,
) {
    if !route.is_null() {
        // SAFETY: the caller's promise.
        let route = unsafe { Arc::from_raw(route) };
        shielded("the end of a route", move || Route::end(&route));
    }
}

/// The next tick. Main thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _config: *mut c_void,
    _base: *const Base,
    _event: u64,
) {
    if shielded("a tick", rounds::tick).is_none() {
        begin_anew();
    }
}

/// An answer to a request of the gate's own has come. Main thread.
///
/// # Safety
/// Envoy's: pointers and counts are those of arrays that live until this returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
    config: *mut c_void,
    _base: *const Base,
    id: u64,
    result: u32,
    headers: *const Line,
    headers_count: usize,
    chunks: *const Text,
    chunks_count: usize,
) {
    let Some(config) = NonNull::new(config).map(Config) else { return };
    let done = shielded("an answer", || {
        let Some(number) = sent::arrived(config, id) else { return };
        // SAFETY: the caller's promise.
        let (headers, chunks) =
            unsafe { (array(headers, headers_count), array(chunks, chunks_count)) };
        // SAFETY: as above.
        let lines = headers.iter().map(|line| unsafe { (line.name.bytes(), line.value.bytes()) });
        let status = lines.clone().find(|(name, _)| *name == b":status");
        let status = status.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        // SAFETY: as above.
        let body: Vec<_> = chunks.iter().map(|chunk| unsafe { chunk.bytes() }).collect();
        rounds::deliver(number, status.filter(|_| result == ANSWERED), body.concat());
    });
    if done.is_none() {
        begin_anew();
    }
}

/// After a panic that no request has met.
fn begin_anew() {
    shielded("beginning anew", rounds::begin_anew);
}

/// # Safety
/// Pointer and count are those of an array that outlives `'a`, or there is none.
unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// A stream has begun. Gives the module's part of it.
///
/// # Safety
/// Envoy's: the pointers are those of a configuration of `config_new`, which outlives the stream, and of a filter.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    base: *const Base,
    filter: *mut c_void,
) -> *mut Stream {
    // SAFETY: the caller's promise. The stream that keeps the reference is gone before the configuration.
    let (Some(base), Some(filter)) = (unsafe { base.as_ref() }, NonNull::new(filter)) else {
        return ptr::null_mut();
    };
    let stream =
        shielded("a stream", || Box::write(stream::room(), Stream::new(base, Filter(filter))));
    stream.map_or(ptr::null_mut(), Box::into_raw)
}

/// A stream is gone.
///
/// # Safety
/// Envoy's: the pointer is one of `filter_new`, and this is the last call about it.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(stream: *mut Stream) {
    if !stream.is_null() {
        // SAFETY: the caller's promise. What is left is room for another.
        let mut room: Room = unsafe { Box::from_raw(stream.cast()) };
        shielded("the end of a stream", || {
            // SAFETY: as above; it is dropped once.
            unsafe { room.assume_init_drop() };
            stream::keep_room(room);
        });
    }
}

/// Runs a callback about a stream, then asks Envoy for what was put off: the stream may be gone after that, so nothing
/// of it is borrowed any more by then.
///
/// # Safety
/// Envoy's: the pointers are those of one stream, which nobody else uses meanwhile.
unsafe fn about(
    filter: *mut c_void,
    stream: *mut Stream,
    run: impl FnOnce(&mut Stream) -> Outcome,
) -> u32 {
    let Some(filter) = NonNull::new(filter).map(Filter) else { return STOP };
    // SAFETY: the caller's promise.
    let outcome = match unsafe { stream.as_mut() } {
        Some(stream) => shielded("a callback", || run(stream)).unwrap_or(Outcome::Panicked),
        None => Outcome::Panicked,
    };
    match outcome {
        Outcome::Continue => CONTINUE,
        Outcome::Pause => {
            shielded("an answer to a request", || host::catch_up(filter));
            STOP
        }
        Outcome::Panicked => {
            shielded("an answer to a request", || Stream::answer_panic(filter));
            STOP
        }
    }
}

/// The headers of a request are there.
///
/// # Safety
/// Envoy's, as in [`about`].
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    filter: *mut c_void,
    stream: *mut Stream,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        about(filter, stream, |stream| {
            let route = route_of(stream.filter());
            stream.on_request_headers(route, end_of_stream)
        })
    }
}

/// The configuration of the stream's route, if there are any and that has one.
fn route_of(filter: Filter) -> Option<Arc<Route>> {
    let route = Some(filter).filter(|_| Route::are_any())?.route().cast::<Route>();
    if route.is_null() {
        return None;
    }
    // SAFETY: Envoy gives what `per_route_config_new` has made, and keeps it at least until the hook returns; who has
    // the copy keeps it for longer.
    unsafe {
        Arc::increment_strong_count(route);
        Some(Arc::from_raw(route))
    }
}

/// A part of a request's body is there.
///
/// # Safety
/// Envoy's, as in [`about`].
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    filter: *mut c_void,
    stream: *mut Stream,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { about(filter, stream, |stream| stream.on_request_body(end_of_stream)) }
}

/// The header lines after a request's body are there.
///
/// # Safety
/// Envoy's, as in [`about`].
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    filter: *mut c_void,
    stream: *mut Stream,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { about(filter, stream, Stream::on_request_trailers) }
}

/// The headers of the response are there.
///
/// # Safety
/// Envoy's, as in [`about`].
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    _filter: *mut c_void,
    stream: *mut Stream,
    _end_of_stream: bool,
) -> u32 {
    // SAFETY: the caller's promise.
    if let Some(stream) = unsafe { stream.as_mut() } {
        shielded("response headers", || stream.on_response_headers());
    }
    CONTINUE
}

/// The stream has asked to be called about.
///
/// # Safety
/// Envoy's, as in [`about`].
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    filter: *mut c_void,
    stream: *mut Stream,
    _event: u64,
) {
    // SAFETY: the caller's promise. Whatever is put off is asked for, as if it were paused.
    unsafe {
        about(filter, stream, |stream| match stream.on_wake() {
            Outcome::Panicked => Outcome::Panicked,
            Outcome::Continue | Outcome::Pause => Outcome::Pause,
        });
    }
}
