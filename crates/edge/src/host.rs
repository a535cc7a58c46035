//! What the proxy has to offer: the one trait that a host implements.

use std::fmt;
use std::time::Duration;

use gate::claim::Claim;
use gate::response::Response;
use model::memory::SharedMemory;
use model::time::Clock;
use signing::headers::Headers;

/// The proxy, as the callback at hand sees it. A value is a handle that is made for a callback and
/// copied freely.
///
/// Calls about a request or a response mean the stream that the proxy is calling about, or the one that
/// [`Host::switch_to`] has named. Values come as bytes, since nothing that a client sends has to be UTF-8. An
/// answer that the proxy cannot give is none, and never a panic.
pub trait Host: Clock + Copy {
    /// What the proxy knows a stream by.
    type StreamId: Copy;

    /// What an open stream is reached by while the proxy calls about something else.
    type Reach;

    /// Memory that all workers of the process share.
    type Memory: SharedMemory;

    /// The memory that all workers of the process share.
    fn memory(&self) -> Self::Memory;

    /// Random bytes; none if the proxy has none to give.
    fn random<const N: usize>(&self) -> Option<[u8; N]>;

    /// Writes a line to the proxy's log.
    fn log(&self, level: Level, text: fmt::Arguments<'_>);

    /// The name of this proxy, if its configuration gives one.
    fn node_id(&self) -> Option<String>;

    /// Whether this worker is the singleton service of the process: on the main thread, and without
    /// requests.
    fn is_singleton(&self) -> bool;

    /// Asks for [`Call::on_tick`](crate::Call::on_tick) to be called this often.
    fn set_tick_period(&self, period: Duration);

    /// Defines a counter, or finds it.
    fn counter(&self, name: &str) -> Option<Metric>;

    /// Defines a histogram, or finds it.
    fn histogram(&self, name: &str) -> Option<Metric>;

    /// Says at start which counters, or histograms, will come up while requests are served: for a proxy that has to
    /// know by then.
    fn announce(&self, _family: &Family<'_>) {}

    /// Defines the counter of a family that is about `what`, or finds it.
    fn counter_of(&self, family: &Family<'_>, what: &str) -> Option<Metric> {
        self.counter(&family.name_of(what))
    }

    /// Defines the histogram of a family that is about `what`, or finds it.
    fn histogram_of(&self, family: &Family<'_>, what: &str) -> Option<Metric> {
        self.histogram(&family.name_of(what))
    }

    /// Whether a counter is so cheap to add to that nothing is collected for the next tick.
    fn counts_at_once(&self, _counter: Metric) -> bool {
        false
    }

    /// What a counter has counted in all workers.
    fn counted(&self, counter: Metric) -> u64;

    /// Adds to a counter.
    fn count(&self, counter: Metric, by: usize);

    /// Adds a value to a histogram.
    fn record(&self, histogram: Metric, value: u64);

    /// Sends an HTTP request; the number comes back with its answer. None if it could not be sent.
    fn dispatch(&self, request: &HttpCall<'_>) -> Option<u32>;

    /// Status and body of the answer that has come to a request of [`Host::dispatch`]; no status if there was no
    /// answer at all.
    fn dispatched(&self, body_bytes: usize) -> (Option<u32>, Vec<u8>);

    /// Says that the mark of a gate ([`Host::leave_mark`]) can be left once on each stream. False if the proxy
    /// cannot do that.
    fn declare_mark(&self) -> bool;

    /// Leaves the mark of the gate with this configuration on the stream, where no client can.
    fn leave_mark(&self, configuration: u32) -> Marked;

    /// Every line of the request's headers: fetched anew each time.
    fn request_headers(&self) -> Headers;

    /// Gives back lines of [`Host::request_headers`]: the memory that they lie in can be used again.
    fn give_back(&self, _headers: Headers) {}

    /// Sets a header of the request, whatever it was.
    fn set_request_header(&self, name: &str, value: &str);

    /// Removes a header from the request.
    fn remove_request_header(&self, name: &str);

    /// A claim of the token that the proxy has verified.
    fn jwt_claim(&self, payload: &str, name: &str) -> Claim;

    /// The address that the request came from, with or without a port.
    fn client_address(&self) -> Option<Vec<u8>>;

    /// How many bytes the proxy has received of the request, of its headers and its body; 0 if it does
    /// not tell.
    fn received_bytes(&self) -> u64;

    /// Hands over a part of the request's body that the proxy holds, in as many pieces as it likes: so many
    /// bytes from a place, or fewer if there are fewer.
    fn read_request_body(&self, start: usize, bytes: usize, read: impl FnMut(&[u8]));

    /// The header lines that came after the request's body.
    fn request_trailers(&self) -> Headers;

    /// Removes a line from those that came after the request's body.
    fn remove_request_trailer(&self, name: &str);

    /// Adds a header to the upstream's response.
    fn add_response_header(&self, name: &str, value: &str);

    /// Answers the request instead of the upstream, at most once per stream. The access log finds the details,
    /// which may not have spaces.
    fn respond(&self, response: Response, details: String);

    /// Leaves a line for the access log.
    fn set_log_line(&self, line: &str);

    /// Asks for [`Stream::on_wake`](crate::Stream::on_wake) to be called about this stream, whose request is held, after so
    /// long. False if the proxy cannot do that: then ticks look after it.
    fn wake_stream(&self, _after: Duration) -> bool {
        false
    }

    /// Makes a stream the one that the next calls are about.
    fn switch_to(&self, stream: Self::StreamId);

    /// Lets a request go on that was held.
    fn resume_request(&self);

    /// What this stream is reached by from now on, until it is over. None if it cannot be.
    fn reach(&self, stream: Self::StreamId) -> Option<Self::Reach>;

    /// Reaches an open stream.
    fn reach_for(&self, reach: &Self::Reach) -> Reached;

    /// Ends the stream that the proxy is calling about, which was let through: with this response if none has begun, and
    /// else by breaking off. The access log finds the details.
    fn end(&self, response: Response, details: String, begun: Begun);
}

/// What the proxy does with the part of a stream that it has called about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Continue,
    /// It is kept back, or has been answered.
    Pause,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What may be good to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What is not enforced, or not possible.
    Error,
}

/// The proxy's number for a counter or a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric(pub u32);

/// Metrics whose names differ in one part alone, which is known only when it comes up.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// Whether they are counters; else they are histograms.
    pub are_counters: bool,
    /// What stands before that part.
    pub before: &'a str,
    /// What that part says.
    pub label: &'static str,
    /// What stands after it; empty if nothing does.
    pub after: &'a str,
}

impl Family<'_> {
    /// The name of the metric that is about `what`.
    #[must_use]
    pub fn name_of(&self, what: &str) -> String {
        let parts = [self.before, what, self.after];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// A name for all of them, without that part.
    #[must_use]
    pub fn name(&self) -> String {
        self.name_of("")
    }
}

/// An HTTP request of the gate's own. `Debug` shows the names of its header lines alone: one has a secret.
#[derive(Clone, Copy)]
pub struct HttpCall<'a> {
    /// The proxy's name for where it goes.
    pub cluster: &'a str,
    /// Its header lines.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: &'a [u8],
    /// How long its answer may take.
    pub timeout: Duration,
}

impl fmt::Debug for HttpCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        let call = (self.cluster, names, self.body.len(), self.timeout);
        f.debug_tuple("HttpCall").field(&call).finish()
    }
}

/// What becomes of a stream that was reached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The next calls are about it.
    Now,
    /// The proxy calls [`Stream::on_wake`](crate::Stream::on_wake) about it soon, in its worker.
    Soon,
}

/// Whether the response to an open stream has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begun {
    /// The upstream has not answered yet.
    #[default]
    No,
    /// The client may have a part of it.
    Yes,
}

/// What leaving the mark of a gate on a stream has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// No gate was here before.
    First,
    /// A gate was, and has left this.
    Again(Option<u32>),
}
