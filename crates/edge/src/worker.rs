//! What one worker (a VM, or a thread) has for itself.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use gate::decide::{self, Load};
use gate::node::{FreshnessCache, RejectionMemo};
use model::time::MonotonicNanos;

use crate::held::Watch;
use crate::host::Host;
use crate::metrics::Tally;
use crate::plugin::Plugin;

/// How often a worker tells its counters, and renews its lease or looks whether there is one to take.
const TICK: Duration = Duration::from_millis(50);

/// The soonest that a tick is asked for: what comes up meanwhile goes along.
const EARLY_MIN: Duration = Duration::from_millis(1);

/// What one worker remembers of one plugin: how fresh the node is, the keys, the bodies it holds, and
/// what it has counted and not told yet. The proxy knows its streams by an `Id`.
pub struct Worker<Id> {
    pub(crate) watch: Watch<Id>,
    pub(crate) tally: Tally,
    pub(crate) freshness: Option<Cell<FreshnessCache>>,
    pub(crate) decides: RefCell<decide::WorkerMemo>,
    pub(crate) load: Load,
    pub(crate) rejections: RefCell<RejectionMemo>,
    pub(crate) has_told_of: Told,
    pub(crate) ticks: Ticks,
    serves_requests: Cell<bool>,
}

/// What is logged once: it comes with every request.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) repetition: Cell<bool>,
    pub(crate) other_gate: Cell<bool>,
}

/// When the next tick comes, and which of them are early: for what was taken from the fleet's buckets alone.
#[derive(Default)]
pub(crate) struct Ticks {
    next: Cell<MonotonicNanos>,
    regular: Cell<MonotonicNanos>,
}

impl Ticks {
    /// Asks for a tick at this time, unless one comes sooner.
    pub(crate) fn wake(&self, host: impl Host, at: MonotonicNanos) {
        if at.saturating_add(nanos(EARLY_MIN)) >= self.next.get() {
            return;
        }
        let now = host.monotonic();
        let wait = Duration::from_nanos(at.saturating_sub(now)).clamp(EARLY_MIN, TICK);
        // Proxies count whole milliseconds.
        let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(1));
        let next = now.saturating_add(nanos(wait));
        if next < self.next.get() {
            self.next.set(next);
            host.set_tick_period(wait);
        }
    }

    /// A tick has come: says whether it is a regular one.
    pub(crate) fn is_regular(&self, now: MonotonicNanos) -> bool {
        let is_regular = now >= self.regular.get();
        if is_regular {
            self.regular.set(now.saturating_add(nanos(TICK)));
        }
        is_regular
    }

    /// Asks for the tick after this one: the regular one, or an earlier one at this time.
    pub(crate) fn go_on(&self, host: impl Host, now: MonotonicNanos, at: Option<MonotonicNanos>) {
        let regular = self.regular.get();
        let wait = Duration::from_nanos(regular.saturating_sub(now)).clamp(EARLY_MIN, TICK);
        let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(1));
        self.next.set(now.saturating_add(nanos(wait)));
        host.set_tick_period(wait);
        if let Some(at) = at {
            self.wake(host, at);
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl<Id: Copy> Worker<Id> {
    /// One that has seen no request yet. Asks the proxy for ticks.
    #[must_use]
    pub fn start(plugin: &Plugin, host: impl Host) -> Self {
        host.set_tick_period(TICK);
        let config = plugin.config();
        let invalidator = config.invalidator.as_ref();
        let decides = decide::WorkerMemo::new(config);
        Self {
            watch: Watch::new(config.held.time),
            tally: Tally::default(),
            freshness: invalidator.map(|i| Cell::new(FreshnessCache::new(i.stale_after))),
            load: decides.load.clone(),
            decides: RefCell::new(decides),
            rejections: RefCell::default(),
            has_told_of: Told::default(),
            ticks: Ticks::default(),
            serves_requests: Cell::new(false),
        }
    }

    /// Notes that this worker gets requests: it polls only if no other worker can.
    pub(crate) fn note_request(&self) {
        self.serves_requests.set(true);
    }

    pub(crate) fn serves_requests(&self) -> bool {
        self.serves_requests.get()
    }
}
