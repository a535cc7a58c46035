//! One request: asks the gate, and does what it says.
//!
//! A request whose body has to be seen first is held: headers and body are paused, so that nothing
//! of it reaches the upstream, until the gate has decided. With trailers the body's last callback
//! does not say that it is the last, so trailers end a body, too.

use std::rc::Rc;

use gate::config::RateLimitHeaders;
use gate::decide::{Cause, Decision, HeadersDecision, Pending, Progress, Verdict};
use gate::request::{Request, is_forged_trailer};
use gate::response;
use model::bucket::Quota;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use signing::{KEY_ID_HEADER, PARTNER_HEADER, is_reserved};

use crate::held::Held;
use crate::host::{self, CurrentRequest};
use crate::plugin::{Other, Plugin};

/// One request and its response.
pub(crate) struct Stream {
    id: u32,
    plugin: Rc<Plugin>,
    phase: Phase,
    /// What is left in the buckets, to be told in the response.
    quotas: Vec<(usize, Quota)>,
}

enum Phase {
    /// The gate has let it through, or was not asked yet.
    Open,
    /// Its body is awaited, of which so many bytes were read.
    Held(Held, usize),
    /// It was answered here: nothing of it may go on.
    Answered,
}

impl Stream {
    pub(crate) fn new(id: u32, plugin: Rc<Plugin>) -> Self {
        Self { id, plugin, phase: Phase::Open, quotas: Vec::new() }
    }

    fn hold(&mut self, pending: Box<Pending>, is_complete: bool) -> Action {
        if is_complete {
            return self.finish(pending, true);
        }
        let held = self.plugin.watch.hold(self.id, pending);
        self.phase = Phase::Held(held, 0);
        Action::Pause
    }

    /// Removes what some servers would take for a header once the body is there.
    fn remove_forged_trailers(&self) {
        let (trailers, config) = (host::request_trailers(), self.plugin.gate.config());
        let names = trailers.lines().map(|(name, _)| name);
        for name in names.filter(|name| is_forged_trailer(name, config)) {
            if let Ok(name) = std::str::from_utf8(name) {
                host::remove_request_trailer(name);
            }
        }
    }

    fn finish(&mut self, pending: Box<Pending>, at_once: bool) -> Action {
        let decision = self.plugin.finish(pending, at_once);
        self.conclude(decision)
    }

    fn conclude(&mut self, decision: Decision) -> Action {
        self.plugin.note(&decision);
        match &decision.verdict {
            Verdict::Deny(denial) => {
                self.plugin.reject(&decision, denial);
                self.phase = Phase::Answered;
                Action::Pause
            }
            Verdict::Allow => {
                if let Some(verified) = &decision.verified {
                    host::set_request_header(PARTNER_HEADER, verified.partner.as_str());
                    host::set_request_header(KEY_ID_HEADER, verified.key_id.as_str());
                }
                let config = self.plugin.gate.config();
                if config.responses.ratelimit_headers == RateLimitHeaders::Always {
                    self.quotas = decision.quotas;
                }
                self.phase = Phase::Open;
                Action::Continue
            }
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let started = self.plugin.metrics.start_timing();
        // Before anything is removed or taken: the gate before has set and taken it.
        match self.plugin.find_other_gate() {
            Other::None => {}
            Other::Same => return Action::Continue,
            Other::Different => return self.conclude(self.plugin.gate.second_gate()),
        }
        let request = CurrentRequest::default();
        remove_forged(&request);
        let action = match self.plugin.decide(&request) {
            HeadersDecision::Done(decision) => self.conclude(decision),
            HeadersDecision::NeedBody(pending) => self.hold(pending, end_of_stream),
        };
        self.plugin.metrics.end_timing(started);
        action
    }

    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        let (held, read) = match &mut self.phase {
            Phase::Open => return Action::Continue,
            Phase::Answered => return Action::Pause,
            Phase::Held(held, read) => (held, read),
        };
        let Some(mut pending) = held.take() else { return given_up(held) };
        self.plugin.watch.body_callback();
        // The size is that of everything held so far; each byte is handed over once.
        let chunk = host::request_body(*read, body_size.saturating_sub(*read));
        *read = read.saturating_add(chunk.len());
        if *read != body_size {
            // What cannot be read cannot be verified.
            let decision = self.plugin.abandon(Cause::BodyNotHeld, pending);
            return self.conclude(decision);
        }
        if pending.on_data(&chunk) == Progress::More && !end_of_stream {
            held.put_back(pending);
            return Action::Pause;
        }
        self.finish(pending, false)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.remove_forged_trailers();
        let held = match &self.phase {
            Phase::Open => return Action::Continue,
            Phase::Answered => return Action::Pause,
            Phase::Held(held, _) => held,
        };
        match held.take() {
            Some(pending) => self.finish(pending, false),
            None => given_up(held),
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for (name, value) in response::rate_limit(self.plugin.gate.config(), &self.quotas) {
            host::add_response_header(name, &value);
        }
        Action::Continue
    }
}

/// What becomes of the rest of a request that was given up: it goes on only if its headers have.
fn given_up(held: &Held) -> Action {
    if held.is_released() { Action::Continue } else { Action::Pause }
}

/// Removes what only the gate may say.
fn remove_forged(request: &impl Request) {
    let names = request.headers().lines().map(|(name, _)| name);
    for name in names.filter(|name| is_reserved(name)) {
        if let Ok(name) = std::str::from_utf8(name) {
            host::remove_request_header(name);
        }
    }
}

/// A request to a plugin that was never configured: Envoy does not send any, and if it does, nothing
/// is let through.
pub(crate) struct Unconfigured;

impl Context for Unconfigured {}

impl HttpContext for Unconfigured {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        host::respond(&response::unavailable(), "portcullis:unconfigured");
        Action::Pause
    }
}
