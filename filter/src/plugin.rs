//! What all requests of one plugin share.

use std::cell::{Cell, RefCell};

use policy::config::Integration;
use policy::gate::{Clock, Decision, Denial, Freshness, Gate, HeadersDecision, Pending, Verdict};
use policy::node::{FreshnessCache, KeyCache};
use policy::request::Request;
use policy::response;

use crate::held::Watch;
use crate::host::mark::Marked;
use crate::host::{self, HostClock, SharedData};
use crate::metrics::Metrics;

/// The gate, its counters, and what this VM remembers of shared memory.
pub(crate) struct Plugin {
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    pub(crate) watch: Watch,
    freshness: Option<Cell<FreshnessCache>>,
    keys: RefCell<KeyCache>,
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
        let keys = RefCell::new(KeyCache::new(gate.config()));
        let (watch, has_told_of) = (Watch::default(), Told::default());
        Self { gate, metrics, watch, freshness, keys, fingerprint, has_told_of }
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
        self.with_keys(|keys| {
            self.gate.decide_headers(request, &mut SharedData, &HostClock, freshness, keys)
        })
    }

    /// Decides on a request that was held, now that its body is there; `at_once` if it has no body.
    pub(crate) fn finish(&self, pending: Box<Pending>, at_once: bool) -> Decision {
        let freshness = (!at_once).then(|| self.freshness());
        self.with_keys(|keys| {
            pending.finish(&self.gate, &mut SharedData, &HostClock, freshness, keys)
        })
    }

    /// Decides on a request that was held, and whose body is not to be had.
    pub(crate) fn abandon(&self, pending: Box<Pending>) -> Decision {
        pending.abandon(&self.gate, &mut SharedData, &HostClock, self.freshness())
    }

    /// Tells the operator what of the keys that have just come will not work as it may be meant.
    pub(crate) fn warn_of_keys(&self) {
        let now = HostClock.wall();
        let integrations = &self.gate.config().integrations;
        let is_crowded = |one: &&Integration| {
            self.with_keys(|keys| one.is_crowded(keys.get(&mut SharedData), now))
        };
        let unclear = self.with_keys(|keys| {
            keys.get(&mut SharedData);
            keys.unclear().to_vec()
        });
        for id in unclear {
            log::error!(
                "key {id}: is for integrations of different profiles; say which in profile"
            );
        }
        for one in integrations.iter().filter(is_crowded) {
            let name = &one.name;
            log::error!("integration {name}: more than 16 keys could sign, and only 16 are tried");
        }
    }

    fn with_keys<T>(&self, decide: impl FnOnce(&mut KeyCache) -> T) -> T {
        // Nothing is called back while it is borrowed; without any keys nothing signed passes.
        let mut none = KeyCache::default();
        let mut keys = self.keys.try_borrow_mut();
        decide(keys.as_deref_mut().unwrap_or(&mut none))
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

    /// Answers requests whose bodies are not handed over.
    pub(crate) fn give_up_on_bodies(&self) {
        for (stream, held) in self.watch.give_up() {
            let Some(pending) = held.take() else { continue };
            host::switch_to(stream);
            let decision = self.abandon(pending);
            self.note(&decision);
            match &decision.verdict {
                Verdict::Deny(denial) => self.reject(&decision, denial),
                Verdict::Allow => {
                    held.release();
                    host::resume_request();
                }
            }
            log::error!(
                "a request was held for its body, which Envoy has received and not handed over: set \
                 allow_on_headers_stop_iteration: true beside the plugin's root_id"
            );
        }
    }
}
