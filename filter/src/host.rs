//! Every call from the filter into the proxy.
//!
//! What is simple is here, call by call; `memory`, `mark`, `respond` and `wire` have the rest.

mod mark;
mod memory;
mod respond;
mod wire;

use std::fmt;
use std::time::Duration;

use edge::host::{Begun, Host, HttpCall, Level, Marked, Metric, Reached};
use gate::claim::{self, Claim};
use gate::response::Response;
use model::time::{Clock, MonotonicNanos, UnixMicros};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType};
use signing::headers::Headers;

use memory::SharedData;
use wire::{Property, header_map, property, read_property};

/// Where the access log finds what would have been decided: `%FILTER_STATE(wasm.portcullis:PLAIN)%`.
const FILTER_STATE: &str = "portcullis";

/// The `root_id` that makes a plugin the singleton service.
const SINGLETON_ROOT_ID: &[u8] = b"portcullis_poller";

/// The proxy, in whatever it is calling about.
#[derive(Clone, Copy)]
pub(crate) struct Proxy;

/// WASI's monotonic clock is the same in all VMs of the process.
impl Clock for Proxy {
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

impl Host for Proxy {
    type StreamId = u32;
    type Reach = u32;
    type Memory = SharedData;

    fn memory(&self) -> SharedData {
        SharedData
    }

    fn random<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        // SAFETY: the pointer and the length are those of a live array.
        #[allow(unsafe_code)]
        unsafe { wasip1::random_get(bytes.as_mut_ptr(), N) }.ok()?;
        Some(bytes)
    }

    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        let level = match level {
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        let _ = hostcalls::log(level, &text.to_string());
    }

    fn node_id(&self) -> Option<String> {
        String::from_utf8(property(&["xds", "node", "id"])?).ok().filter(|id| !id.is_empty())
    }

    fn is_singleton(&self) -> bool {
        property(&["plugin_root_id"]).as_deref() == Some(SINGLETON_ROOT_ID)
    }

    fn set_tick_period(&self, period: Duration) {
        let _ = hostcalls::set_tick_period(period);
    }

    fn counter(&self, name: &str) -> Option<Metric> {
        hostcalls::define_metric(MetricType::Counter, name).ok().map(Metric)
    }

    fn histogram(&self, name: &str) -> Option<Metric> {
        hostcalls::define_metric(MetricType::Histogram, name).ok().map(Metric)
    }

    fn counted(&self, counter: Metric) -> u64 {
        hostcalls::get_metric(counter.0).unwrap_or(0)
    }

    fn count(&self, counter: Metric, by: usize) {
        let _ = hostcalls::increment_metric(counter.0, i64::try_from(by).unwrap_or(i64::MAX));
    }

    fn record(&self, histogram: Metric, value: u64) {
        let _ = hostcalls::record_metric(histogram.0, value);
    }

    fn dispatch(&self, call: &HttpCall<'_>) -> Option<u32> {
        let HttpCall { cluster, headers, body, timeout } = *call;
        let headers = headers.to_vec();
        hostcalls::dispatch_http_call(cluster, headers, Some(body), Vec::new(), timeout).ok()
    }

    fn dispatched(&self, body_bytes: usize) -> (Option<u32>, Vec<u8>) {
        let status = hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, ":status");
        let status = status.ok().flatten().and_then(|text| String::from_utf8(text).ok());
        let status = status.and_then(|text| text.parse().ok());
        let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body_bytes);
        let body = body.ok().flatten().unwrap_or_default();
        #[cfg(feature = "trap")]
        crate::trap::on_answer(&body);
        (status, body)
    }

    fn declare_mark(&self) -> bool {
        mark::declare()
    }

    fn leave_mark(&self, configuration: u32) -> Marked {
        mark::leave(configuration)
    }

    fn request_headers(&self) -> Headers {
        header_map(MapType::HttpRequestHeaders)
    }

    fn set_request_header(&self, name: &str, value: &str) {
        let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, name, Some(value));
    }

    fn remove_request_header(&self, name: &str) {
        let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
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

    fn received_bytes(&self) -> u64 {
        let bytes = property(&["request", "total_size"]).and_then(|value| value.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    fn read_request_body(&self, start: usize, bytes: usize, mut read: impl FnMut(&[u8])) {
        let part = hostcalls::get_buffer(BufferType::HttpRequestBody, start, bytes);
        read(&part.ok().flatten().unwrap_or_default());
    }

    fn request_trailers(&self) -> Headers {
        header_map(MapType::HttpRequestTrailers)
    }

    fn remove_request_trailer(&self, name: &str) {
        let _ = hostcalls::remove_map_value(MapType::HttpRequestTrailers, name);
    }

    fn add_response_header(&self, name: &str, value: &str) {
        let _ = hostcalls::add_map_value(MapType::HttpResponseHeaders, name, value);
    }

    fn respond(&self, response: Response, details: String) {
        respond::respond(&response, &details);
    }

    /// In the filter state.
    fn set_log_line(&self, line: &str) {
        let _ = hostcalls::set_property(vec![FILTER_STATE], Some(line.as_bytes()));
    }

    fn switch_to(&self, stream: u32) {
        let _ = hostcalls::set_effective_context(stream);
    }

    fn resume_request(&self) {
        let _ = hostcalls::resume_http_request();
    }

    fn reach(&self, stream: u32) -> Option<u32> {
        Some(stream)
    }

    fn reach_for(&self, stream: &u32) -> Reached {
        self.switch_to(*stream);
        Reached::Now
    }

    /// Envoy breaks a stream off that is answered once its response has begun, and has the details for the access log
    /// either way.
    fn end(&self, response: Response, details: String, _: Begun) {
        self.respond(response, details);
    }
}

/// The plugin configuration, as Envoy hands it over.
pub(crate) fn plugin_configuration(size: usize) -> Vec<u8> {
    let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
    bytes.ok().flatten().unwrap_or_default()
}
