//! An Envoy in the memory of a test: the functions that the module calls, each thread with an Envoy of its own. It is
//! as 1.38 is: counters are added to by way of streams.

#![allow(unsafe_code, reason = "it is called by pointers, as Envoy is")]

mod bodies;
mod metrics;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use crate::abi::{Config, Filter, HeaderKind, Line, Text};

/// What one thread's Envoy was asked for.
#[derive(Default)]
pub(crate) struct Envoy {
    /// Its log.
    pub(crate) log: Vec<String>,
    /// Names of metrics by their numbers less one, and whether they have a label.
    pub(crate) metrics: Vec<(String, bool)>,
    /// Whether it takes no new metrics any more.
    pub(crate) is_frozen: bool,
    /// What was counted, and how much; a label stands after a colon.
    pub(crate) counted: BTreeMap<String, u64>,
    /// Requests of the gate's own: where to, and their bodies.
    pub(crate) sent: Vec<(String, Vec<u8>)>,
    /// How often it was asked for calls about streams.
    pub(crate) wakes: usize,
}

thread_local! {
    static ENVOY: RefCell<Envoy> = RefCell::default();
}

/// Looks at this thread's Envoy.
pub(crate) fn envoy<T>(look: impl FnOnce(&mut Envoy) -> T) -> T {
    ENVOY.with_borrow_mut(look)
}

/// How much was counted under this name.
pub(crate) fn counted(name: &str) -> u64 {
    envoy(|envoy| envoy.counted.get(name).copied().unwrap_or(0))
}

/// A configuration of its own, as Envoy points to it. Nothing is behind the pointer.
pub(crate) fn config() -> Config {
    let place: &'static mut u8 = Box::leak(Box::new(0));
    Config(NonNull::from(place).cast())
}

/// One stream, on Envoy's side.
#[derive(Default)]
pub(crate) struct Exchange {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) response_headers: Vec<(String, String)>,
    pub(crate) buffered: Vec<Vec<u8>>,
    pub(crate) received: Vec<Vec<u8>>,
    /// Whether what was received is what was buffered before.
    pub(crate) is_same: bool,
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) is_resumed: bool,
    /// The module's part of the configuration of its route.
    pub(crate) route: *const c_void,
    /// Called when it is answered: Envoy may destroy the module's part of the stream then.
    pub(crate) on_answer: Option<Box<dyn FnOnce()>>,
}

/// How a stream was answered.
pub(crate) struct Answer {
    pub(crate) status: u32,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) details: String,
}

impl Exchange {
    /// A request for this path by this user.
    pub(crate) fn get(path: &str, user: &str) -> Box<Self> {
        let lines = [(":method", "GET"), (":path", path), ("x-user-id", user)];
        let headers = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Box::new(Self { headers: headers.into(), ..Self::default() })
    }

    /// With one more header line.
    pub(crate) fn with(mut self: Box<Self>, name: &str, value: &str) -> Box<Self> {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As Envoy points to it.
    pub(crate) fn pointer(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    pub(crate) fn filter(&mut self) -> Filter {
        Filter(NonNull::new(self.pointer()).unwrap())
    }

    /// The status of its answer, and the details.
    pub(crate) fn answer(&self) -> Option<(u32, &str)> {
        assert!(self.answers.len() <= 1, "answered twice");
        self.answers.first().map(|answer| (answer.status, answer.details.as_str()))
    }

    fn lines(&mut self, kind: HeaderKind) -> &mut Vec<(String, String)> {
        match kind {
            HeaderKind::Request => &mut self.headers,
            HeaderKind::RequestTrailer => &mut self.trailers,
            HeaderKind::Response => &mut self.response_headers,
        }
    }
}

fn stream<'a>(filter: *mut c_void) -> &'a mut Exchange {
    // SAFETY: tests hand in pointers of exchanges that live.
    unsafe { filter.cast::<Exchange>().as_mut() }.unwrap()
}

fn text(text: Text) -> String {
    // SAFETY: the module's texts live until the call returns.
    String::from_utf8(unsafe { text.bytes() }.to_vec()).unwrap()
}

fn texts<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 { &[] } else { unsafe { slice::from_raw_parts(first, count) } }
}

fn of(bytes: &[u8]) -> Text {
    Text { bytes: bytes.as_ptr(), length: bytes.len() }
}

fn line((name, value): &(String, String)) -> Line {
    Line { name: of(name.as_bytes()), value: of(value.as_bytes()) }
}

fn owned(lines: &[Line]) -> Vec<(String, String)> {
    lines.iter().map(|line| (text(line.name), text(line.value))).collect()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log(_: u32, message: Text) {
    envoy(|envoy| envoy.log.push(text(message)));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(_: u32) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_concurrency() -> u32 {
    2
}

/// No thread of ticks: tests tick.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_is_validation_mode() -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
    _: *mut c_void,
) -> *mut c_void {
    ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
    _: *mut c_void,
    _: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(_: *mut c_void) {}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_http_callout(
    _: *mut c_void,
    id: *mut u64,
    cluster: Text,
    _: *const Line,
    _: usize,
    body: Text,
    _: u64,
) -> u32 {
    envoy(|envoy| {
        envoy.sent.push((text(cluster), unsafe { body.bytes() }.to_vec()));
        unsafe { *id = envoy.sent.len() as u64 };
    });
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_header(
    filter: *mut c_void,
    kind: HeaderKind,
    name: Text,
    value: *mut Text,
    index: usize,
    _: *mut usize,
) -> bool {
    let name = text(name);
    let mut lines = stream(filter).lines(kind).iter().filter(|(known, _)| *known == name);
    lines.nth(index).is_some_and(|(_, found)| {
        unsafe { *value = of(found.as_bytes()) };
        true
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(
    filter: *mut c_void,
    kind: HeaderKind,
) -> usize {
    stream(filter).lines(kind).len()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers(
    filter: *mut c_void,
    kind: HeaderKind,
    room: *mut Line,
) -> bool {
    for (place, one) in stream(filter).lines(kind).iter().enumerate() {
        unsafe { room.add(place).write(line(one)) };
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_add_header(
    filter: *mut c_void,
    kind: HeaderKind,
    name: Text,
    value: Text,
) -> bool {
    stream(filter).lines(kind).push((text(name), text(value)));
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_set_header(
    filter: *mut c_void,
    kind: HeaderKind,
    name: Text,
    value: Text,
) -> bool {
    let (name, lines) = (text(name), stream(filter).lines(kind));
    lines.retain(|(known, _)| *known != name);
    if !value.bytes.is_null() {
        lines.push((name, text(value)));
    }
    true
}

/// There are no routes here.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_clear_route_cache(_: *mut c_void) {}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_send_response(
    filter: *mut c_void,
    status: u32,
    headers: *const Line,
    headers_count: usize,
    body: Text,
    details: Text,
) {
    let headers = owned(texts(headers, headers_count));
    let stream = stream(filter);
    stream.answers.push(Answer { status, headers, body: text(body), details: text(details) });
    if let Some(then) = stream.on_answer.take() {
        then();
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
    filter: *mut c_void,
    key: Text,
    value: Text,
) -> bool {
    let before = stream(filter).state.insert(text(key), unsafe { value.bytes() }.to_vec());
    assert!(before.is_none(), "Envoy takes a state once");
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
    filter: *mut c_void,
    key: Text,
    value: *mut Text,
) -> bool {
    stream(filter).state.get(&text(key)).is_some_and(|found| {
        unsafe { *value = of(found) };
        true
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
    _: *mut c_void,
    _: u32,
    value: *mut Text,
) -> bool {
    unsafe { *value = of(b"192.0.2.1:50000") };
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
    _: *mut c_void,
    _: u32,
    _: *mut u64,
) -> bool {
    false
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: *mut c_void) {
    stream(filter).is_resumed = true;
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_worker_index(_: *mut c_void) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_most_specific_route_config(
    filter: *mut c_void,
) -> *const c_void {
    stream(filter).route
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_new(
    _: *mut c_void,
) -> *mut c_void {
    ptr::dangling_mut::<u64>().cast()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_commit(_: *mut c_void, _: u64) {
    envoy(|envoy| envoy.wakes += 1);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_delete(_: *mut c_void) {}
