//! One request: asks the gate, and does what it says.
//!
//! A request whose body has to be seen first is held: headers and body are paused, so that nothing
//! of it reaches the upstream, until the gate has decided. With trailers the body's last callback
//! does not say that it is the last, so trailers end a body, too.

use gate::config::RateLimitHeaders;
use gate::decide::{BodyProgress, Cause, Decision, HeadersDecision, Pending, Verdict};
use gate::response;
use model::bucket::Quota;
use signing::{CLOCK_SKEW, KEY_ID_HEADER, PARTNER_HEADER, VERDICT_HEADER};

use crate::ask::Other;
use crate::call::Call;
use crate::held::Held;
use crate::host::{Action, Host};
use crate::open::Ticket;
use crate::request::{Current, scrub_trailers};

/// One request and its response. Each callback of the proxy has a method here; [`Call`] says for which
/// plugin and in which worker, both the same for all callbacks of one stream.
pub struct Stream<Id> {
    id: Id,
    phase: Phase,
    /// What is left in the buckets, to be told in the response.
    quotas: Vec<(usize, Quota)>,
    /// By which it is known as open, if something can end it.
    open: Option<Ticket>,
}

enum Phase {
    /// The gate has let it through, or was not asked yet.
    Open,
    /// Its body is awaited, of which so many bytes were read.
    Held(Held, usize),
    /// It was answered here: nothing of it may go on.
    Answered,
}

impl<Id: Copy> Stream<Id> {
    /// A stream that the proxy knows by this id has begun.
    #[must_use]
    pub fn begin<H: Host<StreamId = Id>>(call: Call<'_, H>, id: H::StreamId) -> Self {
        call.worker.note_request();
        Self::idle(id)
    }

    /// The same for a worker that leaves polling to another for good.
    #[must_use]
    pub fn idle(id: Id) -> Self {
        Self { id, phase: Phase::Open, quotas: Vec::new(), open: None }
    }

    /// The headers of the request are there; with `end_of_stream` there is no body.
    pub fn on_request_headers<H: Host<StreamId = Id>>(
        &mut self,
        call: Call<'_, H>,
        end_of_stream: bool,
    ) -> Action {
        let started = call.start_timing();
        // Before anything is removed or taken: the gate before has set and taken it.
        match call.find_other_gate() {
            Other::None => {}
            Other::Same => return Action::Continue,
            Other::Different => return self.conclude(call, call.plugin.gate.second_gate()),
        }
        let request = Current::new(call.host);
        request.scrub();
        let action = match call.decide(&request) {
            HeadersDecision::Done(decision) => self.conclude(call, decision),
            HeadersDecision::NeedBody(pending) => self.hold(call, pending, end_of_stream),
        };
        call.end_timing(started);
        action
    }

    /// More of the body is there: the proxy holds so many bytes of it by now.
    pub fn on_request_body<H: Host<StreamId = Id>>(
        &mut self,
        call: Call<'_, H>,
        body_bytes: usize,
        end_of_stream: bool,
    ) -> Action {
        let (held, read) = match &mut self.phase {
            Phase::Open => return Action::Continue,
            Phase::Answered => return Action::Pause,
            Phase::Held(held, read) => (held, read),
        };
        let Some(mut pending) = held.take() else { return given_up(held) };
        call.worker.watch.body_callback();
        // The size is that of everything held so far; each byte is handed over once.
        let (start, new) = (*read, body_bytes.saturating_sub(*read));
        let progress = pending.on_part(new);
        if progress == BodyProgress::More {
            call.host.read_request_body(start, new, |piece| {
                *read = read.saturating_add(piece.len());
                pending.on_piece(piece);
            });
            if *read != body_bytes {
                // What cannot be read cannot be verified.
                let decision = call.abandon(Cause::BodyNotHeld, pending);
                return self.conclude(call, decision);
            }
        }
        if progress == BodyProgress::More && !end_of_stream {
            held.put_back(pending);
            return Action::Pause;
        }
        self.finish(call, pending, false)
    }

    /// The body has ended, with header lines after it.
    pub fn on_request_trailers<H: Host<StreamId = Id>>(&mut self, call: Call<'_, H>) -> Action {
        scrub_trailers(call.host, call.config());
        let held = match &self.phase {
            Phase::Open => return Action::Continue,
            Phase::Answered => return Action::Pause,
            Phase::Held(held, _) => held,
        };
        match held.take() {
            Some(pending) => self.finish(call, pending, false),
            None => given_up(held),
        }
    }

    /// The time for its body is over ([`Host::wake_stream`]): if it is held still, it is answered, or goes on if that is only
    /// to be counted. Or it was reached for ([`Host::reach_for`]): if it was let through, it is ended if it has to be. Says
    /// whether the proxy has to let it go on.
    pub fn on_wake<H: Host<StreamId = Id>>(&mut self, call: Call<'_, H>) -> bool {
        if let Some(ticket) = self.open {
            call.end_if_blocked(ticket);
            return false;
        }
        let Phase::Held(held, _) = &self.phase else { return false };
        let Some(pending) = held.take() else { return false };
        let decision = call.abandon(Cause::BodyTooSlow, pending);
        self.conclude(call, decision) == Action::Continue
    }

    /// It is over, whatever it has come to: the last callback about it.
    pub fn on_done<H: Host<StreamId = Id>>(&mut self, call: Call<'_, H>) {
        if let Some(ticket) = self.open.take() {
            call.forget_open(ticket);
        }
    }

    /// Whether it waits for its body.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held(..))
    }

    /// Whether its worker knows nothing of it: it is not held, and nothing can end it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.is_held() && self.open.is_none()
    }

    /// Whether nothing of it is held back: all that comes of its body goes on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether [`Stream::on_response_headers`] has anything to do.
    #[must_use]
    pub fn awaits_response(&self) -> bool {
        !self.quotas.is_empty() || self.open.is_some()
    }

    /// The headers of the response are there: adds what is left in the buckets.
    pub fn on_response_headers<H: Host<StreamId = Id>>(&mut self, call: Call<'_, H>) -> Action {
        if let Some(ticket) = self.open {
            call.note_response(ticket);
        }
        for (name, value) in response::rate_limit(call.config(), &self.quotas) {
            call.host.add_response_header(name, &value);
        }
        Action::Continue
    }

    fn hold<H: Host<StreamId = Id>>(
        &mut self,
        call: Call<'_, H>,
        pending: Box<Pending>,
        is_complete: bool,
    ) -> Action {
        if is_complete {
            return self.finish(call, pending, true);
        }
        let held = call.worker.watch.hold(self.id, pending, call.host);
        self.phase = Phase::Held(held, 0);
        Action::Pause
    }

    fn finish<H: Host<StreamId = Id>>(
        &mut self,
        call: Call<'_, H>,
        pending: Box<Pending>,
        at_once: bool,
    ) -> Action {
        let decision = call.finish(pending, at_once);
        self.conclude(call, decision)
    }

    fn conclude<H: Host<StreamId = Id>>(
        &mut self,
        call: Call<'_, H>,
        mut decision: Decision,
    ) -> Action {
        call.note(&decision);
        match &decision.verdict {
            Verdict::Deny(denial) => {
                call.reject(&decision, denial);
                self.phase = Phase::Answered;
                Action::Pause
            }
            Verdict::Allow => {
                if let Some(verified) = &decision.verified {
                    call.host.set_request_header(PARTNER_HEADER, verified.partner.as_str());
                    call.host.set_request_header(KEY_ID_HEADER, verified.key_id.as_str());
                    if verified.is_skewed {
                        call.host.set_request_header(VERDICT_HEADER, CLOCK_SKEW);
                    }
                }
                if call.config().responses.ratelimit_headers == RateLimitHeaders::Always {
                    self.quotas = decision.quotas;
                }
                let watched = decision.watched.take();
                self.open = watched.and_then(|watched| call.note_open(self.id, watched));
                self.phase = Phase::Open;
                Action::Continue
            }
        }
    }
}

/// What becomes of the rest of a request that was given up: it goes on only if its headers have.
fn given_up(held: &Held) -> Action {
    if held.is_released() { Action::Continue } else { Action::Pause }
}

/// Answers a request to a plugin that was never configured: Envoy does not send any, and if it does, nothing
/// is let through.
pub fn refuse_unconfigured(host: impl Host) -> Action {
    host.respond(response::unavailable(), "portcullis:unconfigured".to_owned());
    Action::Pause
}
