//! What one worker (a VM, or a thread) has for itself.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use gate::decide::{self, Load};
use gate::node::{FreshnessCache, RejectionMemo};

use crate::held::Watch;
use crate::host::Host;
use crate::metrics::Tally;
use crate::plugin::Plugin;

/// How often a worker tells its counters, and renews its lease or looks whether there is one to take.
const TICK: Duration = Duration::from_millis(50);

/// What one worker remembers of one plugin: how fresh the node is, the keys, the bodies it holds, and
/// what it has counted and not told yet.
pub struct Worker<H: Host> {
    pub(crate) watch: Watch<H>,
    pub(crate) tally: Tally,
    pub(crate) freshness: Option<Cell<FreshnessCache>>,
    pub(crate) decides: RefCell<decide::WorkerMemo>,
    pub(crate) load: Load,
    pub(crate) rejections: RefCell<RejectionMemo>,
    pub(crate) has_told_of: Told,
    serves_requests: Cell<bool>,
}

/// What is logged once: it comes with every request.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) repetition: Cell<bool>,
    pub(crate) other_gate: Cell<bool>,
}

impl<H: Host> Worker<H> {
    /// One that has seen no request yet. Asks the proxy for ticks.
    #[must_use]
    pub fn start(plugin: &Plugin, host: H) -> Self {
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
