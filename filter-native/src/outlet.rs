//! What the gate needs of a configuration of Envoy's: to count, and to send requests of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edge::host::{HttpCall, Metric};

use crate::abi::{Config, Filter};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::sent;

/// How many configurations there are: read for each request.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// One configuration of Envoy's, as far as the gate needs it; or none, for what is set up without one.
pub(crate) struct Outlet {
    live: Option<Arc<Live>>,
    pub(crate) metrics: Metrics,
    panics: Option<Metric>,
}

impl Outlet {
    /// The outlet of a configuration that is being made.
    pub(crate) fn new(config: Config) -> Self {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let live = Arc::new(Live::new(config));
        let metrics = Metrics::new(Some(Arc::clone(&live)));
        Self { live: Some(live), metrics, panics: None }
    }

    /// One that sends nothing and counts nothing: it only gives metrics their numbers.
    pub(crate) fn detached() -> Self {
        Self { live: None, metrics: Metrics::new(None), panics: None }
    }

    /// Defines the counter of panics.
    pub(crate) fn define_panics(&mut self, prefix: &str) {
        self.panics = self.metrics.counter(&format!("{prefix}.panics"));
    }

    /// Whether there is one configuration at most: then no request can have passed another gate.
    pub(crate) fn is_only_one() -> bool {
        COUNT.load(Ordering::Relaxed) <= 1
    }

    /// Whether it is that of this configuration.
    pub(crate) fn is_of(&self, config: Config) -> bool {
        self.live.as_ref().is_some_and(|live| live.is(config))
    }

    /// What Envoy knows its configuration by.
    pub(crate) fn id(&self) -> Option<Config> {
        self.live.as_ref().map(|live| live.id())
    }

    /// Its configuration is gone: nothing is asked of it any more.
    pub(crate) fn end(&self) {
        self.live.iter().for_each(|live| live.end());
    }

    /// Sends a request; the number comes back with its answer. Main thread.
    pub(crate) fn send(&self, call: &HttpCall<'_>) -> Option<u32> {
        let live = self.live.as_ref()?;
        let id = live.call(|config| config.call(call))??;
        Some(sent::expect(live.id(), id))
    }

    /// Counts a panic.
    pub(crate) fn count_panic(&self, filter: Option<Filter>) {
        if let Some(panics) = self.panics {
            self.metrics.count(filter, panics, 1);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.live.is_some() {
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
