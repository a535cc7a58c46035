//! A proxy in the memory of a test: one process with its streams, its shared memory, and clocks that move only
//! when told to. What the gate does to it can be read afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use gate::claim::Claim;
use gate::response::Response;
use model::memory::{Key, Mark, Mismatch, Shared};
use model::push::{Batch, Message, Poll};
use model::testing::{Memory, Time};
use model::time::{Clock, MonotonicNanos, UnixMicros};
use signing::headers::Headers;

use crate::host::{Action, Host, HttpCall, Level, Marked, Metric};
use crate::{Call, Follower, Plugin, SetUpError, Stream, Worker};

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
}

/// An HTTP request that a [`Proxy`] was asked to send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub cluster: String,
    /// With which header lines.
    pub headers: Vec<(String, String)>,
    /// With which body.
    pub body: Vec<u8>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl Sent {
    /// What it says, if it is a poll.
    #[must_use]
    pub fn poll(&self) -> Poll {
        Poll::decode(self.body.as_slice()).unwrap()
    }
}

/// A request as a client has sent it, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The lines of the request's headers; the gate removes some and sets others.
    pub headers: Vec<(String, String)>,
    /// The part of its body that has come.
    pub body: Vec<u8>,
    /// How many bytes of the request have come; more than the body's before the plugin gets them.
    pub received: u64,
    /// Header lines after the body.
    pub trailers: Vec<(String, String)>,
    /// Where it is from.
    pub address: Option<String>,
    /// What the verified token says.
    pub claims: HashMap<String, Claim>,
    /// The mark that a gate has left.
    pub mark: Option<u32>,
    /// The answers that the gate has given instead of the upstream: never more than one.
    pub answers: Vec<(Response, String)>,
    /// What the gate has added to the upstream's response.
    pub response_headers: Vec<(String, String)>,
    /// What the gate has left for the access log.
    pub log_line: Option<String>,
    /// Whether the gate has let it go on after it was held.
    pub is_resumed: bool,
}

impl Exchange {
    /// A GET request for this path.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::default().with(":method", "GET").with(":path", path)
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// From this address.
    #[must_use]
    pub fn from(mut self, address: &str) -> Self {
        self.address = Some(address.into());
        self
    }

    /// The value of a header of the request as the upstream gets it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Status and details of the answer that the gate has given.
    #[must_use]
    pub fn answer(&self) -> Option<(u32, &str)> {
        assert!(self.answers.len() <= 1, "answered twice");
        self.answers.first().map(|(response, details)| (response.status, details.as_str()))
    }
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

impl Shared for MemoryOf<'_> {
    fn read(&mut self, key: Key) -> (Option<Vec<u8>>, Mark) {
        self.0.memory.borrow_mut().read(key)
    }

    fn write(&mut self, key: Key, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
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

    fn respond(&self, response: &Response, details: &str) {
        self.here(|stream| stream.answers.push((response.clone(), details.into())));
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
}

/// One worker of a [`Proxy`] with one plugin, as a host puts them together.
pub struct Vm<'a> {
    /// The process that it belongs to.
    pub proxy: &'a Proxy,
    /// What its workers share; here each has one of its own, of the same configuration.
    pub plugin: Plugin,
    /// What it has for itself.
    pub worker: Worker<&'a Proxy>,
    /// Its part in following the invalidator, if there is one.
    pub follower: Option<Follower>,
}

impl<'a> Vm<'a> {
    /// A worker that begins with this configuration.
    ///
    /// # Errors
    /// Those of [`Plugin::set_up`] and [`Follower::new`].
    pub fn start(proxy: &'a Proxy, configuration: &[u8]) -> Result<Self, SetUpError> {
        let plugin = Plugin::set_up(configuration, proxy)?;
        let follower = Follower::new(&plugin, proxy)?;
        let worker = Worker::start(&plugin, proxy);
        Ok(Self { proxy, plugin, worker, follower })
    }

    /// A callback to this worker.
    #[must_use]
    pub fn call(&self) -> Call<'_, &'a Proxy> {
        Call { plugin: &self.plugin, worker: &self.worker, host: self.proxy }
    }

    /// So many milliseconds pass, and a tick comes.
    pub fn tick_after(&mut self, ms: u64) {
        self.proxy.pass_ms(ms);
        let call = Call { plugin: &self.plugin, worker: &self.worker, host: self.proxy };
        call.on_tick(self.follower.as_mut());
    }

    /// The answer to the request of this number comes.
    pub fn answer(&mut self, number: u32, status: Option<u32>, body: Vec<u8>) {
        let bytes = body.len();
        *self.proxy.answer.borrow_mut() = (status, body);
        let call = Call { plugin: &self.plugin, worker: &self.worker, host: self.proxy };
        self.follower.as_mut().unwrap().on_http_answer(call, number, bytes);
    }

    /// The batch that answers the newest poll comes.
    pub fn answer_with(&mut self, batch: &Batch) {
        let newest = u32::try_from(self.proxy.sent.borrow().len() - 1).unwrap();
        self.answer(newest, Some(200), batch.encode_to_vec());
    }

    /// The headers of a request come; gives its stream, and what is to become of it.
    pub fn open(
        &self,
        id: u32,
        request: Exchange,
        end_of_stream: bool,
    ) -> (Stream<&'a Proxy>, Action) {
        self.proxy.begin(id, request);
        let mut stream = Stream::begin(self.call(), id);
        let action = stream.on_request_headers(self.call(), end_of_stream);
        (stream, action)
    }

    /// A request without a body: what became of it.
    pub fn ask(&self, request: Exchange) -> Exchange {
        let (_, action) = self.open(1, request, true);
        let seen = self.proxy.stream(1);
        assert_eq!(action == Action::Pause, seen.answer().is_some(), "paused means answered");
        seen
    }
}
