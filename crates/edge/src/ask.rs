//! What is asked of the gate in one callback, and what is done with its answers: counted, left for the access
//! log, told the client.

use gate::decide::{
    self, Cause, Context, Decision, Denial, Freshness, HeadersDecision, Pending, Verdict,
};
use gate::request::Request;
use gate::response;

use crate::call::Call;
use crate::host::{Host, Level, Marked};

/// A gate that a request has passed before.
pub(crate) enum Other {
    /// There was none.
    None,
    /// One with the same configuration.
    Same,
    /// One with another.
    Different,
}

impl<H: Host> Call<'_, H> {
    /// What is to become of a request that another gate of its chain has seen. If that gate was the same,
    /// everything is decided: it goes on, and takes no second token. If it was another, nobody knows which
    /// of this one's rules it has applied.
    pub(crate) fn find_other_gate(self) -> Other {
        let fingerprint = self.plugin.fingerprint;
        let Marked::Again(other) = self.host.leave_mark(fingerprint) else { return Other::None };
        let told = &self.worker.has_told_of;
        if other == Some(fingerprint) {
            self.count_repeated();
            if !told.repetition.replace(true) {
                self.host.log(
                    Level::Warn,
                    format_args!(
                        "this gate stands twice in a chain of filters: the second does nothing"
                    ),
                );
            }
            return Other::Same;
        }
        if !told.other_gate.replace(true) {
            self.host.log(
                Level::Error,
                format_args!(
                    "another gate stands before this one in a chain of filters, with another configuration: \
                     requests are answered 503; put both configurations into one"
                ),
            );
        }
        Other::Different
    }

    /// Decides on the headers of a request.
    pub(crate) fn decide(self, request: &impl Request) -> HeadersDecision {
        let freshness = self.freshness();
        let decided = self
            .with_context(|context| self.plugin.gate.decide_headers(request, freshness, context));
        self.wake_for_reports();
        decided
    }

    /// Decides on a request that was held, now that its body is there; `at_once` if it has no body.
    pub(crate) fn finish(self, pending: Box<Pending>, at_once: bool) -> Decision {
        let freshness = (!at_once).then(|| self.freshness());
        let mut body = |start, bytes, read: &mut dyn FnMut(&[u8])| {
            self.host.read_request_body(start, bytes, read);
        };
        let gate = &self.plugin.gate;
        let decision =
            self.with_context(|context| pending.finish(gate, freshness, context, &mut body));
        self.wake_for_reports();
        decision
    }

    /// Decides on a request that was held, without its body.
    pub(crate) fn abandon(self, cause: Cause, pending: Box<Pending>) -> Decision {
        let (gate, freshness) = (&self.plugin.gate, self.freshness());
        self.with_context(|context| pending.abandon(cause, gate, freshness, context))
    }

    /// Tells the operator what of the keys that have just come will not work as it may be meant.
    pub(crate) fn warn_of_keys(self) {
        let now = self.host.wall();
        let unclear = self.with_decides(|worker| {
            worker.keys.get(&mut self.host.memory());
            worker.keys.unclear().to_vec()
        });
        for id in unclear {
            self.host.log(
                Level::Error,
                format_args!(
                    "key {id}: is for integrations of different profiles; say which in profile"
                ),
            );
        }
        for one in &self.config().integrations {
            let left_out = self.with_decides(|worker| {
                one.crowded_out(worker.keys.get(&mut self.host.memory()), now)
            });
            let Some(max) = one.signature.as_ref().map(|rule| rule.keys_max) else { continue };
            for id in &left_out {
                self.host.log(
                    Level::Error,
                    format_args!(
                        "key {id}: is not tried for integration {}: of the keys that are valid at once only \
                         {max} are, those that last longest (signature.keys_max)",
                        one.name
                    ),
                );
            }
            self.count_left_out(left_out.len());
        }
    }

    pub(crate) fn with_context<T>(
        self,
        decide: impl FnOnce(&mut Context<'_, H::Memory, H>) -> T,
    ) -> T {
        self.with_decides(|worker| {
            let shared = &mut self.host.memory();
            decide(&mut Context { shared, clock: &self.host, worker })
        })
    }

    pub(crate) fn with_decides<T>(self, decide: impl FnOnce(&mut decide::WorkerMemo) -> T) -> T {
        // Nothing is called back while it is borrowed; without any keys nothing signed passes.
        let (mut borrowed, mut none);
        let worker = match self.worker.decides.try_borrow_mut() {
            Ok(worker) => {
                borrowed = worker;
                &mut *borrowed
            }
            Err(_) => {
                none = decide::WorkerMemo::default();
                &mut none
            }
        };
        decide(worker)
    }

    /// How fresh the node is now; always fresh if nothing is to be followed.
    fn freshness(self) -> Freshness {
        let Some(cell) = &self.worker.freshness else { return Freshness::Fresh };
        let mut cache = cell.get();
        let freshness = cache.get(&mut self.host.memory(), self.host.monotonic());
        cell.set(cache);
        freshness
    }

    /// Counts a decision, and leaves for the access log what would have rejected the request.
    pub(crate) fn note(self, decision: &Decision) {
        self.count_decision(decision);
        if decision.verdict == Verdict::Allow && !decision.notes.is_empty() {
            self.host.set_log_line(&decision.words(self.config()).join(" "));
        }
    }

    /// Answers the current stream's request with a rejection.
    pub(crate) fn reject(self, decision: &Decision, denial: &Denial) {
        self.note_first_rejection(denial);
        let config = self.config();
        let details = format!("portcullis:{}", decision.words(config).join(";"));
        self.host.respond(response::rejection(config, denial), details);
    }
}
