//! One request: the callbacks of Envoy, handed on.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::Arc;

use edge::Call;
use edge::host::Action;
use gate::response;

use crate::abi::Filter;
use crate::base::Base;
use crate::clockwork;
use crate::host::{self, Proxy};
use crate::route::Route;
use crate::shield::shielded;
use crate::site::Site;

/// What the access log finds in the details of a request that met a panic.
const PANICKED: &str = "portcullis:panicked";

/// As many streams as are usually open in one worker: so much room is kept for others.
const ROOMS_MAX: usize = 1_024;

thread_local! {
    static ROOMS: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

/// Room for a stream.
pub(crate) type Room = Box<MaybeUninit<Stream>>;

/// Room for a stream that begins: one that is over has left it, if there was any.
pub(crate) fn room() -> Room {
    ROOMS.with_borrow_mut(Vec::pop).unwrap_or_else(Box::new_uninit)
}

/// Keeps the room of a stream that is over.
pub(crate) fn keep_room(room: Room) {
    ROOMS.with_borrow_mut(|kept| {
        if kept.len() < ROOMS_MAX {
            kept.push(room);
        }
    });
}

/// One request and its response.
pub(crate) struct Stream {
    base: &'static Base,
    /// The configuration of its route, if that has one.
    route: Option<Arc<Route>>,
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
        Self {
            base,
            route: None,
            filter,
            worker: filter.worker(),
            stream,
            wake: None,
            is_broken: false,
        }
    }

    /// Envoy's side of it.
    pub(crate) fn filter(&self) -> Filter {
        self.filter
    }

    /// The headers of the request are there, and its route with them.
    pub(crate) fn on_request_headers(
        &mut self,
        route: Option<Arc<Route>>,
        end_of_stream: bool,
    ) -> Outcome {
        self.route = route;
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
        if self.stream.awaits_response() {
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
        host::answer(filter, &response::unavailable(), PANICKED);
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
        let Self { base, route, filter, worker, stream, .. } = self;
        let site = route.as_ref().map_or(&base.site, |route| &route.site);
        let Some(place) = site.place(*worker) else { return Outcome::Panicked };
        let proxy = Proxy { filter: Some(*filter), ..site.proxy(place, &base.outlet) };
        let action = shielded(hook, || {
            let own = place.own.lock();
            #[cfg(test)]
            crate::shield::testing::panic_if_asked();
            let call = Call { plugin: &site.plugin, worker: &own.worker, host: proxy };
            run(stream, call)
        });
        if action.is_none() {
            place.renew(&site.plugin, proxy);
        }
        self.note_wake(host::take_wake());
        match action {
            Some(Action::Continue) => Outcome::Continue,
            Some(Action::Pause) => Outcome::Pause,
            None => self.break_off(),
        }
    }

    fn site(&self) -> &Site {
        self.route.as_ref().map_or(&self.base.site, |route| &route.site)
    }

    fn note_wake(&mut self, new: Option<u64>) {
        if new.is_some() {
            self.wake = new;
        } else if self.wake.is_some() && !self.stream.is_held() {
            self.wake.take().into_iter().for_each(clockwork::forget);
        }
    }

    fn break_off(&mut self) -> Outcome {
        host::forget_put_off();
        self.is_broken = true;
        self.base.outlet.count_panic(Some(self.filter));
        Outcome::Panicked
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.wake.take().into_iter().for_each(clockwork::forget);
        if self.stream.is_idle() {
            return;
        }
        let mut stream = std::mem::replace(&mut self.stream, edge::Stream::idle(()));
        let site = self.site();
        // What is held shares parts with the worker's own.
        if let Some(place) = site.place(self.worker) {
            let host = Proxy { filter: None, ..site.proxy(place, &self.base.outlet) };
            let own = place.own.lock();
            stream.on_done(Call { plugin: &site.plugin, worker: &own.worker, host });
            drop(stream);
            drop(own);
        }
    }
}
