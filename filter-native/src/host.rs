//! The proxy, as `edge` sees it.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge::host::{Begun, Family, Host, HttpCall, Level, Marked, Metric, Reached};
use gate::claim::Claim;
use gate::response::Response;
use model::time::{Clock, MonotonicNanos, UnixMicros};
use signing::headers::Headers;

use crate::abi::{self, Filter, HeaderKind, Newer, Wake};
use crate::clockwork::{self, Timing};
use crate::home::Home;
use crate::memory::Memory;
use crate::node;
use crate::outlet::Outlet;
use crate::sent;
use crate::spare;

/// Where the access log finds what would have been decided: `%FILTER_STATE(portcullis:PLAIN)%`.
const LOG_LINE: &str = "portcullis";

/// The mark of a gate, in the filter state.
const MARK: &str = "portcullis_gate";

/// The proxy, as one callback sees it.
#[derive(Clone, Copy)]
pub(crate) struct Proxy<'a> {
    /// The stream; none on the main thread.
    pub(crate) filter: Option<Filter>,
    /// Envoy's side of the configuration.
    pub(crate) outlet: &'a Outlet,
    /// What configurations of one name share.
    pub(crate) home: &'static Home,
    /// When the worker at hand gets its ticks.
    pub(crate) timing: &'a Timing,
}

/// What Envoy is asked for once the callback's own work is done: it may destroy the stream at once.
enum After {
    Respond(Response, String),
    Resume,
}

thread_local! {
    /// Of the one stream that this thread is called about.
    static AFTER: RefCell<Vec<After>> = const { RefCell::new(Vec::new()) };
    static WAKE: RefCell<Option<u64>> = const { RefCell::new(None) };
}

/// Asks Envoy for what was put off. The module's part of the stream may be gone after it.
pub(crate) fn catch_up(filter: Filter) {
    let all = AFTER.with_borrow_mut(std::mem::take);
    for after in all {
        match after {
            After::Resume => filter.resume(),
            After::Respond(response, details) => answer(filter, &response, &details),
        }
    }
}

/// Answers a request at once. The module's part of the stream may be gone after it.
pub(crate) fn answer(filter: Filter, response: &Response, details: &str) {
    let Response { status, headers, body } = response;
    let grpc = is_grpc(filter).then(|| ("grpc-status", grpc_status(*status)));
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers: Vec<_> = headers.chain(grpc).collect();
    filter.respond(*status, &headers, body, details);
}

/// Whether the request is a gRPC call, as Envoy tells it.
fn is_grpc(filter: Filter) -> bool {
    filter.header_is(HeaderKind::Request, "content-type", |value| {
        let rest = value.strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
    })
}

/// The gRPC status that Envoy derives from an HTTP status. Of an answer by a module it would say that all is well.
fn grpc_status(status: u32) -> &'static str {
    match status {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502..=504 => "14",
        _ => "2",
    }
}

/// Forgets what was put off.
pub(crate) fn forget_put_off() {
    AFTER.with_borrow_mut(Vec::clear);
}

/// The number of the wake that the stream at hand has been given.
pub(crate) fn take_wake() -> Option<u64> {
    WAKE.take()
}

fn put_off(after: After) {
    AFTER.with_borrow_mut(|all| all.push(after));
}

impl Clock for Proxy<'_> {
    fn monotonic(&self) -> MonotonicNanos {
        abi::monotonic_nanos()
    }

    fn wall(&self) -> UnixMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Proxy<'_> {
    fn headers(&self, kind: HeaderKind) -> Headers {
        self.filter.map(|filter| filter.headers(kind, spare::vector())).unwrap_or_default()
    }
}

impl Host for Proxy<'_> {
    /// A worker is only called about the stream at hand.
    type StreamId = ();
    type Reach = Wake;
    type Memory = &'static Memory;

    fn memory(&self) -> &'static Memory {
        &self.home.memory
    }

    fn random<const N: usize>(&self) -> Option<[u8; N]> {
        abi::random()
    }

    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        abi::log(level, &format!("portcullis: {text}"));
    }

    fn node_id(&self) -> Option<String> {
        node::id()
    }

    /// All polls are sent from the main thread.
    fn is_singleton(&self) -> bool {
        true
    }

    fn set_tick_period(&self, period: Duration) {
        self.timing.set(period, self.monotonic());
    }

    fn counter(&self, name: &str) -> Option<Metric> {
        self.outlet.metrics.counter(name)
    }

    fn histogram(&self, name: &str) -> Option<Metric> {
        self.outlet.metrics.histogram(name)
    }

    fn announce(&self, family: &Family<'_>) {
        self.outlet.metrics.announce(family);
    }

    fn counter_of(&self, family: &Family<'_>, what: &str) -> Option<Metric> {
        self.outlet.metrics.about(family, what)
    }

    fn histogram_of(&self, family: &Family<'_>, what: &str) -> Option<Metric> {
        self.outlet.metrics.about(family, what)
    }

    /// Those without a label; also the others, where Envoy takes counts from streams alone.
    fn counts_at_once(&self, counter: Metric) -> bool {
        self.outlet.metrics.id(counter).is_some()
            || (self.filter.is_some() && !Newer::get().counts_without_stream())
    }

    /// Envoy does not tell. Only the counter of memories is asked for, and those are counted here.
    fn counted(&self, _: Metric) -> u64 {
        u64::try_from(Home::count().saturating_sub(1)).unwrap_or(u64::MAX)
    }

    fn count(&self, counter: Metric, by: usize) {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        self.outlet.metrics.count(self.filter, counter, by);
    }

    fn record(&self, histogram: Metric, value: u64) {
        if let Some(filter) = self.filter {
            self.outlet.metrics.record(filter, histogram, value);
        }
    }

    fn dispatch(&self, request: &HttpCall<'_>) -> Option<u32> {
        self.outlet.send(request)
    }

    fn dispatched(&self, body_bytes: usize) -> (Option<u32>, Vec<u8>) {
        let (status, body) = sent::take(body_bytes);
        #[cfg(feature = "trap")]
        crate::trap::on_answer(&body);
        (status, body)
    }

    fn declare_mark(&self) -> bool {
        true
    }

    /// In the filter state, which no client can write and which goes with the chain of filters. The only gate of a
    /// process need not look: nobody has passed another.
    fn leave_mark(&self, configuration: u32) -> Marked {
        let Some(filter) = self.filter.filter(|_| !Outlet::is_only_one()) else {
            return Marked::First;
        };
        match filter.state(MARK) {
            Some(found) => Marked::Again(found.try_into().ok().map(u32::from_le_bytes)),
            None => {
                filter.set_state(MARK, &configuration.to_le_bytes());
                Marked::First
            }
        }
    }

    fn request_headers(&self) -> Headers {
        let headers = self.headers(HeaderKind::Request);
        #[cfg(feature = "trap")]
        crate::trap::on_request(&headers);
        headers
    }

    fn give_back(&self, headers: Headers) {
        spare::keep_vector(headers.into_map());
    }

    /// What the gate says of a request may be what its route is chosen by. With proxy-wasm Envoy does this by itself.
    fn set_request_header(&self, name: &str, value: &str) {
        if let Some(filter) = self.filter {
            filter.set_header(HeaderKind::Request, name, value);
            filter.clear_route();
        }
    }

    /// The same holds of what a client has sent and must not choose a route by.
    fn remove_request_header(&self, name: &str) {
        if let Some(filter) = self.filter {
            filter.remove_header(HeaderKind::Request, name);
            filter.clear_route();
        }
    }

    /// Envoy's ABI does not reach what stands in a token: such configurations are refused.
    fn jwt_claim(&self, _payload: &str, _name: &str) -> Claim {
        Claim::Unusable
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        self.filter?.client_address()
    }

    fn received_bytes(&self) -> u64 {
        self.filter.and_then(Filter::received_bytes).unwrap_or(0)
    }

    fn read_request_body(&self, start: usize, bytes: usize, read: impl FnMut(&[u8])) {
        if let Some(filter) = self.filter {
            filter.read_body(start, bytes, read);
        }
    }

    fn request_trailers(&self) -> Headers {
        self.headers(HeaderKind::RequestTrailer)
    }

    fn remove_request_trailer(&self, name: &str) {
        if let Some(filter) = self.filter {
            filter.remove_header(HeaderKind::RequestTrailer, name);
        }
    }

    fn add_response_header(&self, name: &str, value: &str) {
        if let Some(filter) = self.filter {
            filter.add_header(HeaderKind::Response, name, value);
        }
    }

    /// Once the callback is over: Envoy may destroy the stream meanwhile.
    fn respond(&self, response: Response, details: String) {
        put_off(After::Respond(response, details));
    }

    /// In the filter state, which takes one line for each stream.
    fn set_log_line(&self, line: &str) {
        let Some(filter) = self.filter else { return };
        if filter.state(LOG_LINE).is_none() {
            filter.set_state(LOG_LINE, line.as_bytes());
        }
    }

    fn wake_stream(&self, after: Duration) -> bool {
        let Some(wake) = self.filter.and_then(Filter::wake) else { return false };
        WAKE.set(Some(clockwork::call_about(wake, after)));
        true
    }

    /// Nothing asks for it: each stream is woken itself.
    fn switch_to(&self, (): ()) {}

    /// Once the callback is over, as above.
    fn resume_request(&self) {
        put_off(After::Resume);
    }

    fn reach(&self, (): ()) -> Option<Wake> {
        self.filter?.wake()
    }

    /// Streams belong to their workers, and are reached for on the main thread.
    fn reach_for(&self, wake: &Wake) -> Reached {
        wake.commit();
        Reached::Soon
    }

    /// Envoy breaks a stream off that is answered once its response has begun.
    fn end(&self, response: Response, details: String, _: Begun) {
        self.respond(response, details);
    }
}
