//! One request: the callbacks of Envoy, handed on.

use edge::Call;
use edge::host::Action;
use gate::response;

use crate::abi::Filter;
use crate::base::Base;
use crate::host::{self, Proxy};
use crate::shield::shielded;
use crate::site::{Place, Site};
use crate::ticks;

/// What the access log finds in the details of a request that met a panic.
const PANICKED: &str = "portcullis:panicked";

/// One request and its response.
pub(crate) struct Stream {
    base: &'static Base,
    filter: Filter,
    worker: usize,
    stream: edge::Stream<()>,
    /// The wake that it waits for, while its request is held.
    wake: Option<u64>,
    /// Whether a panic was met: nothing more of it goes on.
    is_broken: bool,
}

/// What is to become of the part at hand once Envoy has been asked for what was put off.
pub(crate) enum Outcome {
    /// It goes on.
    Continue,
    /// It is kept back, or has been answered.
    Pause,
    /// There was a panic: the request is to be answered 503.
    Panicked,
}

impl Stream {
    /// A stream has begun.
    pub(crate) fn new(base: &'static Base, filter: Filter) -> Self {
        let stream = edge::Stream::idle(());
        Self { base, filter, worker: filter.worker(), stream, wake: None, is_broken: false }
    }

    pub(crate) fn on_request_headers(&mut self, end_of_stream: bool) -> Outcome {
        self.base.outlet.metrics.catch_up(self.filter);
        self.run("request headers", |stream, call| stream.on_request_headers(call, end_of_stream))
    }

    pub(crate) fn on_request_body(&mut self, end_of_stream: bool) -> Outcome {
        if self.stream.is_open() && !self.is_broken {
            return Outcome::Continue;
        }
        let bytes = self.filter.body_bytes();
        self.run("a request's body", |stream, call| {
            stream.on_request_body(call, bytes, end_of_stream)
        })
    }

    pub(crate) fn on_request_trailers(&mut self) -> Outcome {
        self.run("request trailers", |stream, call| stream.on_request_trailers(call))
    }

    pub(crate) fn on_response_headers(&mut self) {
        if self.stream.has_news_for_response() {
            // Whatever comes of it, the response goes on.
            let _ = self.run("response headers", |stream, call| stream.on_response_headers(call));
        }
    }

    /// The time for its body is over.
    pub(crate) fn on_wake(&mut self) -> Outcome {
        self.wake = None;
        self.run("a body that takes too long", |stream, call| {
            if stream.on_wake(call) {
                edge::Host::resume_request(&call.host);
            }
            Action::Continue
        })
    }

    /// Answers a request that met a panic. The stream may be gone after it.
    pub(crate) fn answer_panic(filter: Filter) {
        let response::Response { status, headers, body } = response::unavailable();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        filter.respond(status, &headers, &body, PANICKED);
    }

    /// Runs one callback under the lock of its worker's place.
    fn run(
        &mut self,
        hook: &str,
        run: impl FnOnce(&mut edge::Stream<()>, Call<'_, Proxy<'_>>) -> Action,
    ) -> Outcome {
        if self.is_broken {
            return Outcome::Pause;
        }
        let Self { base, filter, worker, stream, .. } = self;
        let site = &base.site;
        let Some(place) = site.place(*worker) else { return Outcome::Panicked };
        let proxy = Proxy { filter: Some(*filter), ..site.proxy(place, &base.outlet) };
        let action = shielded(hook, || {
            let own = place.own.lock();
            let call = Call { plugin: &site.plugin, worker: &own.worker, host: proxy };
            run(stream, call)
        });
        self.note_wake(host::take_wake());
        match action {
            Some(Action::Continue) => Outcome::Continue,
            Some(Action::Pause) => Outcome::Pause,
            None => self.break_off(site, place, proxy),
        }
    }

    fn note_wake(&mut self, new: Option<u64>) {
        if new.is_some() {
            self.wake = new;
        } else if self.wake.is_some() && !self.stream.is_held() {
            self.wake.take().into_iter().for_each(ticks::forget);
        }
    }

    fn break_off(&mut self, site: &Site, place: &Place, proxy: Proxy<'_>) -> Outcome {
        host::forget_put_off();
        self.is_broken = true;
        place.renew(&site.plugin, proxy);
        self.base.count_panic(Some(self.filter));
        Outcome::Panicked
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.wake.take().into_iter().for_each(ticks::forget);
        if self.stream.is_held()
            && let Some(place) = self.base.site.place(self.worker)
        {
            // What is held shares parts with the worker's own.
            let own = place.own.lock();
            self.stream = edge::Stream::idle(());
            drop(own);
        }
    }
}
