//! One plugin configuration, set up: the plugin, and what each worker has for itself.

use std::time::Duration;

use edge::{Call, Follower, Plugin, SetUpError, Worker};
use model::time::Clock as _;

use crate::abi::{self, Guarded, Wake};
use crate::clockwork::Timing;
use crate::home::Home;
use crate::host::Proxy;
use crate::outlet::Outlet;

/// One plugin configuration, set up.
pub(crate) struct Site {
    pub(crate) plugin: Plugin,
    pub(crate) home: &'static Home,
    /// One for each worker, and one more for the main thread.
    places: Box<[Place]>,
}

/// What one worker has for itself: its thread and, for ticks, the main thread use it in turn.
pub(crate) struct Place {
    pub(crate) timing: Timing,
    pub(crate) own: Guarded<Own>,
}

/// What is used under the place's lock. Streams share parts with it, and use those under the same lock.
pub(crate) struct Own {
    pub(crate) worker: Worker<(), Wake>,
    /// Reports what was taken from the fleet's buckets.
    pub(crate) reporter: Option<Follower>,
}

impl Site {
    /// Sets a plugin up. Main thread.
    ///
    /// # Errors
    /// Those of [`Plugin::set_up`].
    pub(crate) fn set_up(
        configuration: &[u8],
        home: &'static Home,
        outlet: &Outlet,
    ) -> Result<Self, SetUpError> {
        let timing = Timing::default();
        let proxy = Proxy { filter: None, outlet, home, timing: &timing };
        let plugin = Plugin::set_up(configuration, proxy)?;
        let places = (0..=abi::concurrency()).map(|_| Place::new(&plugin, home, outlet));
        let places = places.collect::<Result<_, _>>()?;
        Ok(Self { plugin, home, places })
    }

    /// The place of the worker of this number.
    pub(crate) fn place(&self, worker: usize) -> Option<&Place> {
        let last = self.places.len().checked_sub(2)?;
        self.places.get(worker.min(last))
    }

    /// The place of the main thread.
    pub(crate) fn main(&self) -> Option<&Place> {
        self.places.last()
    }

    /// Ticks that are due, and when the next one is. Main thread.
    pub(crate) fn tick(&self, outlet: &Outlet, now: u64) -> u64 {
        for place in self.places.iter().filter(|place| place.timing.is_due(now)) {
            let proxy = self.proxy(place, outlet);
            let own = &mut *place.own.lock();
            let call = Call { plugin: &self.plugin, worker: &own.worker, host: proxy };
            call.on_tick(own.reporter.as_mut());
        }
        self.places.iter().map(|place| place.timing.next()).min().unwrap_or(u64::MAX)
    }

    /// Looks again at what is open of those of whom something was heard. Main thread.
    pub(crate) fn end_open_streams(&self, outlet: &Outlet) {
        for place in &self.places {
            let proxy = self.proxy(place, outlet);
            let own = place.own.lock();
            Call { plugin: &self.plugin, worker: &own.worker, host: proxy }.end_open_streams();
        }
    }

    /// An answer to one of the gate's own requests has come. Main thread.
    pub(crate) fn on_answer(&self, outlet: &Outlet, number: u32, bytes: usize) {
        for place in &self.places {
            let proxy = self.proxy(place, outlet);
            let Own { worker, reporter } = &mut *place.own.lock();
            if let Some(reporter) = reporter {
                let call = Call { plugin: &self.plugin, worker: &*worker, host: proxy };
                reporter.on_http_answer(call, number, bytes);
            }
        }
    }

    /// Begins anew in all places, after a panic that may have left something half done in any.
    pub(crate) fn renew(&self, outlet: &Outlet) {
        for place in &self.places {
            place.renew(&self.plugin, self.proxy(place, outlet));
        }
    }

    pub(crate) fn proxy<'a>(&self, place: &'a Place, outlet: &'a Outlet) -> Proxy<'a> {
        Proxy { filter: None, outlet, home: self.home, timing: &place.timing }
    }
}

impl Place {
    fn new(plugin: &Plugin, home: &'static Home, outlet: &Outlet) -> Result<Self, SetUpError> {
        let timing = Timing::default();
        let proxy = Proxy { filter: None, outlet, home, timing: &timing };
        let own = Own::new(plugin, proxy)?;
        timing.set(Duration::from_millis(50), proxy.monotonic());
        Ok(Self { timing, own: Guarded::new(own) })
    }

    /// Begins anew after a panic that may have left something half done.
    pub(crate) fn renew(&self, plugin: &Plugin, proxy: Proxy<'_>) {
        let mut own = self.own.lock();
        match Own::new(plugin, proxy) {
            Ok(new) => *own = new,
            // Without random bytes it reports no more, until there are some.
            Err(_) => own.worker = Worker::start(plugin, proxy),
        }
    }
}

impl Own {
    fn new(plugin: &Plugin, proxy: Proxy<'_>) -> Result<Self, SetUpError> {
        let worker = Worker::start(plugin, proxy);
        let mut reporter = None;
        if plugin.config().has_fleet_limits() {
            reporter = Follower::new(plugin, proxy)?.map(Follower::without_polls);
        }
        Ok(Self { worker, reporter })
    }
}
