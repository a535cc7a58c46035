//! Every call from the filter into the proxy.
//!
//! Values come as bytes, since nothing that a client sends has to be UTF-8. An answer that the
//! proxy cannot give is none, and never a panic.

pub(crate) mod mark;
mod respond;

pub(crate) use respond::respond;

use std::cell::OnceCell;
use std::ptr;
use std::time::Duration;

use gate::claim::{self, Claim};
use gate::request::Request;
use model::memory::{Key, Mark, Mismatch, Shared};
use model::push;
use model::time::{Clock, MonotonicNanos, UnixMicros};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use signing::headers::Headers;

/// The compare-and-swap number of an absent key: the proxy creates such a key whatever the number,
/// and refuses this one for a key that is there. Zero would overwrite.
const CREATE: u32 = u32::MAX;

/// Where the access log finds what would have been decided: `%FILTER_STATE(wasm.portcullis:PLAIN)%`.
const FILTER_STATE: &str = "portcullis";

/// The proxy's clocks: WASI's monotonic one is the same in all VMs of the process.
pub(crate) struct HostClock;

impl Clock for HostClock {
    fn monotonic(&self) -> MonotonicNanos {
        read_clock(wasip1::CLOCKID_MONOTONIC)
    }

    fn wall(&self) -> UnixMicros {
        UnixMicros(read_clock(wasip1::CLOCKID_REALTIME) / 1_000)
    }
}

fn read_clock(clock: wasip1::Clockid) -> u64 {
    // SAFETY: the call takes numbers, and its binding hands in the place of the result.
    // The proxy has both clocks, so the fallback is never taken.
    #[allow(unsafe_code)]
    unsafe { wasip1::clock_time_get(clock, 1) }.unwrap_or(0)
}

/// Random bytes from the proxy; none if it has none to give.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the pointer and the length are those of a live array.
    #[allow(unsafe_code)]
    unsafe { wasip1::random_get(bytes.as_mut_ptr(), N) }.ok()?;
    Some(bytes)
}

/// The proxy's shared data.
pub(crate) struct SharedData;

impl Shared for SharedData {
    fn read(&mut self, key: Key) -> (Option<Vec<u8>>, Mark) {
        match hostcalls::get_shared_data(&name_of(key)) {
            Ok((value, Some(cas))) => (Some(value.unwrap_or_default()), Mark::Present(cas)),
            _ => (None, Mark::Absent),
        }
    }

    fn write(&mut self, key: Key, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        let cas = match mark {
            Mark::Present(cas) if cas != 0 => cas,
            _ => CREATE,
        };
        hostcalls::set_shared_data(&name_of(key), Some(value), Some(cas)).map_err(|_| Mismatch)
    }
}

fn name_of(key: Key) -> String {
    match key {
        Key::Slab(index) => numbered("portcullis/slab/", index),
        Key::HashKey => "portcullis/hash_key".to_owned(),
        Key::Geometry => "portcullis/geometry".to_owned(),
        Key::Progress => "portcullis/progress".to_owned(),
        Key::Lease => "portcullis/lease".to_owned(),
        Key::Keys => "portcullis/keys".to_owned(),
        Key::Replay(index) => format!("portcullis/replay/{index:x}"),
        Key::ReplayGeometry => "portcullis/replay_geometry".to_owned(),
        Key::ReplayHorizon => "portcullis/replay_horizon".to_owned(),
        Key::Known => "portcullis/known".to_owned(),
    }
}

/// A name with a number after it, in hexadecimal: twice for every request, so not by `format!`.
fn numbered(prefix: &str, number: u32) -> String {
    let mut name = String::with_capacity(prefix.len().saturating_add(8));
    name.push_str(prefix);
    let digits = (u32::BITS - number.leading_zeros()).div_ceil(4).max(1);
    let digit = |at: u32| char::from_digit((number >> (4 * at)) & 0xf, 16);
    name.extend((0..digits).rev().filter_map(digit));
    name
}

/// The request of the stream that the proxy is calling about. Its headers are fetched once, all
/// together: asking for single ones would hide those that stand twice.
#[derive(Default)]
pub(crate) struct CurrentRequest {
    headers: OnceCell<Headers>,
}

impl Request for CurrentRequest {
    fn headers(&self) -> &Headers {
        self.headers.get_or_init(|| header_map(MapType::HttpRequestHeaders))
    }

    fn jwt_claim(&self, payload: &str, name: &str) -> Claim {
        let path = ["metadata", "filter_metadata", claim::METADATA_OF, payload, name];
        match read_property(&path) {
            Property::Absent => Claim::Absent,
            Property::Value(bytes) => Claim::read(bytes, payload, name, || property(&["metadata"])),
            Property::Unreadable => Claim::Unusable,
        }
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        property(&["source", "address"])
    }
}

/// The SDK's own call copies every name and value; most are never looked at.
fn header_map(map: MapType) -> Headers {
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
enum Property {
    /// It is not there.
    Absent,
    /// Its bytes, of which there may be none.
    Value(Vec<u8>),
    /// It is there, but of a type that has no bytes, such as null.
    Unreadable,
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    match read_property(path) {
        Property::Value(bytes) => Some(bytes),
        Property::Absent | Property::Unreadable => None,
    }
}

/// The SDK's own call takes an empty text for nothing, and panics where the proxy answers what it does
/// not expect.
fn read_property(path: &[&str]) -> Property {
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

/// The name of this Envoy, if its bootstrap gives one.
pub(crate) fn node_id() -> Option<String> {
    String::from_utf8(property(&["xds", "node", "id"])?).ok().filter(|id| !id.is_empty())
}

/// The `root_id` of the plugin being called.
pub(crate) fn root_id() -> Option<Vec<u8>> {
    property(&["plugin_root_id"])
}

/// The plugin configuration, as Envoy hands it over.
pub(crate) fn plugin_configuration(size: usize) -> Vec<u8> {
    let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
    bytes.ok().flatten().unwrap_or_default()
}

/// Asks for ticks.
pub(crate) fn set_tick_period(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

/// Sets a header of the request, whatever it was.
pub(crate) fn set_request_header(name: &str, value: &str) {
    let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value));
}

/// Removes a header from the request.
pub(crate) fn remove_request_header(name: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
}

/// The header lines that came after the request's body.
pub(crate) fn request_trailers() -> Headers {
    header_map(MapType::HttpRequestTrailers)
}

/// Removes a line from those that came after the request's body.
pub(crate) fn remove_request_trailer(name: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpRequestTrailers, name);
}

/// A part of the request's body that the proxy holds; shorter if there is less.
pub(crate) fn request_body(start: usize, size: usize) -> Vec<u8> {
    let bytes = hostcalls::get_buffer(BufferType::HttpRequestBody, start, size);
    bytes.ok().flatten().unwrap_or_default()
}

/// How many bytes the proxy has received of the request, of its headers and its body; 0 if it does not
/// tell.
pub(crate) fn received_bytes() -> u64 {
    let bytes = property(&["request", "total_size"]).and_then(|value| value.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// Makes a stream the one that the next calls are about.
pub(crate) fn switch_to(stream: u32) {
    let _ = hostcalls::set_effective_context(stream);
}

/// Lets a request go on that was held.
pub(crate) fn resume_request() {
    let _ = hostcalls::resume_http_request();
}

/// Adds a header to the upstream's response.
pub(crate) fn add_response_header(name: &str, value: &str) {
    let _ = hostcalls::add_map_value(MapType::HttpResponseHeaders, name, value);
}

/// Leaves a line for the access log.
pub(crate) fn set_log_line(line: &str) {
    let _ = hostcalls::set_property(vec![FILTER_STATE], Some(line.as_bytes()));
}

/// Sends a poll; the token comes back with its answer. None if it could not be sent.
pub(crate) fn send_poll(
    cluster: &str,
    secret: &str,
    body: &[u8],
    timeout: Duration,
) -> Option<u32> {
    let authorization = format!("Bearer {secret}");
    let headers = vec![
        (":method", "POST"),
        (":path", push::PATH),
        (":authority", "portcullis"),
        ("content-type", push::CONTENT_TYPE),
        ("authorization", authorization.as_str()),
    ];
    hostcalls::dispatch_http_call(cluster, headers, Some(body), Vec::new(), timeout).ok()
}

/// Status and body of the answer to a poll; no status if there was no answer at all.
pub(crate) fn poll_answer(body_size: usize) -> (Option<u32>, Vec<u8>) {
    let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
    let status = status.ok().flatten().and_then(|text| String::from_utf8(text).ok());
    let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body_size);
    (status.and_then(|text| text.parse().ok()), body.ok().flatten().unwrap_or_default())
}

/// Defines a counter, or finds it.
pub(crate) fn counter(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Counter, name).ok()
}

/// Defines a histogram, or finds it.
pub(crate) fn histogram(name: &str) -> Option<u32> {
    hostcalls::define_metric(MetricType::Histogram, name).ok()
}

/// What a counter has counted.
pub(crate) fn counted(metric: u32) -> u64 {
    hostcalls::get_metric(metric).unwrap_or(0)
}

/// Adds a value to a histogram.
pub(crate) fn record(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}

/// Adds to a counter.
pub(crate) fn count(metric: u32, by: usize) {
    let _ = hostcalls::increment_metric(metric, i64::try_from(by).unwrap_or(i64::MAX));
}
