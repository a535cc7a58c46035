//! What all requests of one plugin share.

use std::cell::{Cell, RefCell};

use gate::decide::{
    Cause, Context, Decision, Denial, Freshness, Gate, HeadersDecision, Load, Pending, Verdict,
    Worker,
};
use gate::node::FreshnessCache;
use gate::request::Request;
use gate::response;
use model::time::Clock;

use crate::held::{Held, Watch};
use crate::host::mark::Marked;
use crate::host::{self, HostClock, SharedData};
use crate::metrics::Metrics;

/// The gate, its counters, and what this VM remembers of shared memory.
pub(crate) struct Plugin {
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    pub(crate) watch: Watch,
    freshness: Option<Cell<FreshnessCache>>,
    worker: RefCell<Worker>,
    load: Load,
    /// Stands for its configuration.
    fingerprint: u32,
    has_told_of: Told,
}

/// What is logged once: it comes with every request.
#[derive(Default)]
struct Told {
    repetition: Cell<bool>,
    other_gate: Cell<bool>,
}

/// A gate that a request has passed before.
pub(crate) enum Other {
    /// There was none.
    None,
    /// One with the same configuration.
    Same,
    /// One with another.
    Different,
}

impl Plugin {
    pub(crate) fn new(gate: Gate, fingerprint: u32) -> Self {
        let metrics = Metrics::new(gate.config());
        let invalidator = gate.config().invalidator.as_ref();
        let freshness = invalidator.map(|i| Cell::new(FreshnessCache::new(i.stale_after)));
        let worker = Worker::new(gate.config());
        let watch = Watch::new(gate.config().held.time);
        let (load, worker) = (worker.load.clone(), RefCell::new(worker));
        let has_told_of = Told::default();
        Self { gate, metrics, watch, freshness, fingerprint, has_told_of, worker, load }
    }

    /// What is to become of a request that another gate of its chain has seen. If that gate was the same,
    /// everything is decided: it goes on, and takes no second token. If it was another, nobody knows which
    /// of this one's rules it has applied.
    pub(crate) fn find_other_gate(&self) -> Other {
        let Marked::Again(other) = host::mark::leave(self.fingerprint) else { return Other::None };
        if other == Some(self.fingerprint) {
            self.metrics.count_repeated();
            if !self.has_told_of.repetition.replace(true) {
                log::warn!("this gate stands twice in a chain of filters: the second does nothing");
            }
            return Other::Same;
        }
        if !self.has_told_of.other_gate.replace(true) {
            log::error!(
                "another gate stands before this one in a chain of filters, with another configuration: \
                 requests are answered 503; put both configurations into one"
            );
        }
        Other::Different
    }

    /// Decides on the headers of a request.
    pub(crate) fn decide(&self, request: &impl Request) -> HeadersDecision {
        let freshness = self.freshness();
        self.with_context(|context| self.gate.decide_headers(request, freshness, context))
    }

    /// Decides on a request that was held, now that its body is there; `at_once` if it has no body.
    pub(crate) fn finish(&self, pending: Box<Pending>, at_once: bool) -> Decision {
        let freshness = (!at_once).then(|| self.freshness());
        let mut body = host::request_body;
        self.with_context(|context| pending.finish(&self.gate, freshness, context, &mut body))
    }

    /// Decides on a request that was held, without its body.
    pub(crate) fn abandon(&self, cause: Cause, pending: Box<Pending>) -> Decision {
        let freshness = self.freshness();
        self.with_context(|context| pending.abandon(cause, &self.gate, freshness, context))
    }

    /// Tells the operator what of the keys that have just come will not work as it may be meant.
    pub(crate) fn warn_of_keys(&self) {
        let now = HostClock.wall();
        let unclear = self.with_worker(|worker| {
            worker.keys.get(&mut SharedData);
            worker.keys.unclear().to_vec()
        });
        for id in unclear {
            log::error!(
                "key {id}: is for integrations of different profiles; say which in profile"
            );
        }
        for one in &self.gate.config().integrations {
            let left_out =
                self.with_worker(|worker| one.crowded_out(worker.keys.get(&mut SharedData), now));
            let Some(max) = one.signature.as_ref().map(|rule| rule.keys_max) else { continue };
            for id in &left_out {
                log::error!(
                    "key {id}: is not tried for integration {}: of the keys that are valid at once only \
                     {max} are, those that last longest (signature.keys_max)",
                    one.name
                );
            }
            self.metrics.count_left_out(left_out.len());
        }
    }

    fn with_context<T>(
        &self,
        decide: impl FnOnce(&mut Context<'_, SharedData, HostClock>) -> T,
    ) -> T {
        self.with_worker(|worker| {
            decide(&mut Context { shared: &mut SharedData, clock: &HostClock, worker })
        })
    }

    fn with_worker<T>(&self, decide: impl FnOnce(&mut Worker) -> T) -> T {
        // Nothing is called back while it is borrowed; without any keys nothing signed passes.
        let mut none = Worker::default();
        let mut worker = self.worker.try_borrow_mut();
        decide(worker.as_deref_mut().unwrap_or(&mut none))
    }

    /// How fresh the node is now; always fresh if nothing is to be followed.
    fn freshness(&self) -> Freshness {
        let Some(cell) = &self.freshness else { return Freshness::Fresh };
        let mut cache = cell.get();
        let freshness = cache.get(&mut SharedData, HostClock.monotonic());
        cell.set(cache);
        freshness
    }

    /// Counts a decision, and leaves for the access log what would have rejected the request.
    pub(crate) fn note(&self, decision: &Decision) {
        self.metrics.count_decision(decision);
        if decision.verdict == Verdict::Allow && !decision.notes.is_empty() {
            host::set_log_line(&decision.words(self.gate.config()).join(" "));
        }
    }

    /// Answers the current stream's request with a rejection.
    pub(crate) fn reject(&self, decision: &Decision, denial: &Denial) {
        let config = self.gate.config();
        let details = format!("portcullis:{}", decision.words(config).join(";"));
        host::respond(&response::rejection(config, denial), &details);
    }

    /// Says to the account of what is held what time it is, and answers requests whose bodies do not
    /// come in time, or are not handed over.
    pub(crate) fn give_up_on_bodies(&self) {
        let now = HostClock.monotonic();
        self.load.tick(now);
        for (stream, held) in self.watch.overdue(now) {
            self.give_up(stream, &held, Cause::BodyTooSlow);
        }
        for (stream, held) in self.watch.give_up(now) {
            if !self.give_up(stream, &held, Cause::BodyNotHeld) {
                continue;
            }
            log::error!(
                "a request was held for its body, which Envoy has received and not handed over: set \
                 allow_on_headers_stop_iteration: true beside the plugin's root_id"
            );
        }
    }

    /// Answers a request that is held, or lets it go on if it is only to be counted. Says whether it was
    /// held still.
    fn give_up(&self, stream: u32, held: &Held, cause: Cause) -> bool {
        let Some(pending) = held.take() else { return false };
        host::switch_to(stream);
        let decision = self.abandon(cause, pending);
        self.note(&decision);
        match &decision.verdict {
            Verdict::Deny(denial) => self.reject(&decision, denial),
            Verdict::Allow => {
                held.release();
                host::resume_request();
            }
        }
        true
    }
}
