//! A proxy in the memory of a test: one process with its streams, its shared memory, and clocks that move only
//! when told to. What the gate does to it can be read afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

mod exchange;
mod vm;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use gate::claim::Claim;
use gate::response::Response;
use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};
use model::testing::{Memory, Time};
use model::time::{Clock, MonotonicNanos, UnixMicros};
use signing::headers::Headers;

use crate::host::{Begun, Host, HttpCall, Level, Marked, Metric, Reached};

pub use exchange::{Exchange, Sent};
pub use vm::Vm;

/// One process of a proxy. `&Proxy` is the [`Host`].
#[derive(Default)]
pub struct Proxy {
    /// Its clocks.
    pub time: Time,
    /// What all its workers share.
    pub memory: RefCell<Memory>,
    /// Its counters and histograms by name: what was counted, or each value.
    pub metrics: RefCell<Vec<(String, Vec<u64>)>>,
    /// Its log, oldest line first.
    pub log: RefCell<Vec<(Level, String)>>,
    /// Its streams by their ids.
    pub streams: RefCell<BTreeMap<u32, Exchange>>,
    /// The HTTP requests that it was asked to send, oldest first; the place of each is its number.
    pub sent: RefCell<Vec<Sent>>,
    /// Status and body of the answer to the next [`Host::dispatched`].
    pub answer: RefCell<(Option<u32>, Vec<u8>)>,
    /// How often [`Host::set_tick_period`] wants ticks.
    pub tick_period: Cell<Option<Duration>>,
    /// What it cannot do, or has not.
    pub lacks: Cell<Lacks>,
    /// Its name, if it has one.
    pub node: RefCell<Option<String>>,
    /// Whether workers that start now are the singleton service.
    pub is_singleton: Cell<bool>,
    /// Streams that it was asked to call about, oldest first.
    pub reached: RefCell<Vec<u32>>,
    current: Cell<u32>,
    random: Cell<u8>,
}

/// What a [`Proxy`] cannot do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lacks {
    /// It has no random bytes.
    pub random: bool,
    /// It keeps no marks on streams.
    pub marks: bool,
    /// It sends no HTTP requests: there is no such cluster.
    pub clusters: bool,
    /// It defines no metrics.
    pub metrics: bool,
    /// It reaches streams in callbacks of their own alone.
    pub switching: bool,
}

impl Proxy {
    /// A stream with this request begins; the proxy calls about it from now on.
    pub fn begin(&self, id: u32, request: Exchange) {
        self.streams.borrow_mut().insert(id, request);
        self.current.set(id);
    }

    /// A stream as it is by now.
    #[must_use]
    pub fn stream(&self, id: u32) -> Exchange {
        self.streams.borrow()[&id].clone()
    }

    /// What a counter has counted; none if it was not defined.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.values(name).map(|values| values.iter().sum())
    }

    /// The values that a histogram has got.
    #[must_use]
    pub fn values(&self, name: &str) -> Option<Vec<u64>> {
        let metrics = self.metrics.borrow();
        metrics.iter().find(|(known, _)| known == name).map(|(_, values)| values.clone())
    }

    /// How many lines of the log have this text in them.
    #[must_use]
    pub fn logged(&self, text: &str) -> usize {
        self.log.borrow().iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// Lets so many milliseconds pass.
    pub fn pass_ms(&self, ms: u64) {
        self.time.pass(Duration::from_millis(ms));
    }

    fn here<T>(&self, look: impl FnOnce(&mut Exchange) -> T) -> T {
        let mut streams = self.streams.borrow_mut();
        look(streams.get_mut(&self.current.get()).unwrap())
    }

    fn metric(&self, name: &str) -> Option<Metric> {
        if self.lacks.get().metrics {
            return None;
        }
        let mut metrics = self.metrics.borrow_mut();
        let known = metrics.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            metrics.push((name.into(), Vec::new()));
            metrics.len() - 1
        });
        u32::try_from(place).ok().map(Metric)
    }

    fn add(&self, metric: Metric, value: u64) {
        let mut metrics = self.metrics.borrow_mut();
        metrics.get_mut(metric.0 as usize).unwrap().1.push(value);
    }
}

/// The shared memory of a [`Proxy`].
pub struct MemoryOf<'a>(&'a Proxy);

impl SharedMemory for MemoryOf<'_> {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        self.0.memory.borrow_mut().read(key)
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        self.0.memory.borrow_mut().write(key, value, mark)
    }
}

impl Clock for &Proxy {
    fn monotonic(&self) -> MonotonicNanos {
        self.time.monotonic()
    }

    fn wall(&self) -> UnixMicros {
        self.time.wall()
    }
}

impl<'a> Host for &'a Proxy {
    type StreamId = u32;
    type Reach = u32;
    type Memory = MemoryOf<'a>;

    fn memory(&self) -> MemoryOf<'a> {
        MemoryOf(self)
    }

    fn random<const N: usize>(&self) -> Option<[u8; N]> {
        self.random.set(self.random.get().wrapping_add(1));
        (!self.lacks.get().random).then(|| [self.random.get(); N])
    }

    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        self.log.borrow_mut().push((level, text.to_string()));
    }

    fn node_id(&self) -> Option<String> {
        self.node.borrow().clone()
    }

    fn is_singleton(&self) -> bool {
        self.is_singleton.get()
    }

    fn set_tick_period(&self, period: Duration) {
        self.tick_period.set(Some(period));
    }

    fn counter(&self, name: &str) -> Option<Metric> {
        self.metric(name)
    }

    fn histogram(&self, name: &str) -> Option<Metric> {
        self.metric(name)
    }

    fn counted(&self, counter: Metric) -> u64 {
        self.metrics.borrow()[counter.0 as usize].1.iter().sum()
    }

    fn count(&self, counter: Metric, by: usize) {
        self.add(counter, by as u64);
    }

    fn record(&self, histogram: Metric, value: u64) {
        self.add(histogram, value);
    }

    fn dispatch(&self, call: &HttpCall<'_>) -> Option<u32> {
        if self.lacks.get().clusters {
            return None;
        }
        let mut sent = self.sent.borrow_mut();
        let headers = call.headers.iter();
        sent.push(Sent {
            cluster: call.cluster.into(),
            headers: headers.map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: call.body.into(),
            timeout: call.timeout,
        });
        u32::try_from(sent.len() - 1).ok()
    }

    fn dispatched(&self, body_bytes: usize) -> (Option<u32>, Vec<u8>) {
        let (status, mut body) = self.answer.borrow().clone();
        body.truncate(body_bytes);
        (status, body)
    }

    fn declare_mark(&self) -> bool {
        !self.lacks.get().marks
    }

    fn leave_mark(&self, configuration: u32) -> Marked {
        self.here(|stream| match stream.mark {
            Some(other) => Marked::Again(Some(other)),
            None => {
                stream.mark = Some(configuration);
                Marked::First
            }
        })
    }

    fn request_headers(&self) -> Headers {
        self.here(|stream| stream.headers.iter().map(|(name, value)| (name, value)).collect())
    }

    fn set_request_header(&self, name: &str, value: &str) {
        self.remove_request_header(name);
        self.here(|stream| stream.headers.push((name.into(), value.into())));
    }

    fn remove_request_header(&self, name: &str) {
        self.here(|stream| stream.headers.retain(|(known, _)| known != name));
    }

    fn jwt_claim(&self, _payload: &str, name: &str) -> Claim {
        self.here(|stream| stream.claims.get(name).cloned().unwrap_or(Claim::Absent))
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        self.here(|stream| stream.address.clone().map(String::into_bytes))
    }

    fn received_bytes(&self) -> u64 {
        self.here(|stream| stream.received)
    }

    /// In pieces of two bytes, so that no reader relies on one.
    fn read_request_body(&self, start: usize, bytes: usize, mut read: impl FnMut(&[u8])) {
        let body = self.here(|stream| stream.body.clone());
        let part = body.get(start..).unwrap_or_default();
        part.get(..bytes).unwrap_or(part).chunks(2).for_each(&mut read);
    }

    fn request_trailers(&self) -> Headers {
        self.here(|stream| stream.trailers.iter().map(|(name, value)| (name, value)).collect())
    }

    fn remove_request_trailer(&self, name: &str) {
        self.here(|stream| stream.trailers.retain(|(known, _)| known != name));
    }

    fn add_response_header(&self, name: &str, value: &str) {
        self.here(|stream| stream.response_headers.push((name.into(), value.into())));
    }

    fn respond(&self, response: Response, details: String) {
        self.here(|stream| stream.answers.push((response, details)));
    }

    fn set_log_line(&self, line: &str) {
        self.here(|stream| stream.log_line = Some(line.into()));
    }

    fn switch_to(&self, stream: u32) {
        self.current.set(stream);
    }

    fn resume_request(&self) {
        self.here(|stream| stream.is_resumed = true);
    }

    fn reach(&self, stream: u32) -> Option<u32> {
        Some(stream)
    }

    fn reach_for(&self, stream: &u32) -> Reached {
        if self.lacks.get().switching {
            self.reached.borrow_mut().push(*stream);
            return Reached::Soon;
        }
        self.current.set(*stream);
        Reached::Now
    }

    fn end(&self, response: Response, details: String, begun: Begun) {
        self.here(|stream| match begun {
            Begun::No => stream.answers.push((response, details)),
            Begun::Yes => stream.broken_off.push(details),
        });
    }
}
