//! One configuration of the filter on Envoy's side, with what it needs of Envoy, and all of them together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge::host::{HttpCall, Level, Metric};
use edge::{Call, Follower, SetUpError};

use crate::abi::{self, Config};
use crate::answers;
use crate::home::Home;
use crate::metrics::Metrics;
use crate::site::Site;
use crate::ticks;

/// What a configuration of Envoy's is needed for: to count, and to send requests of the gate's own.
pub(crate) struct Outlet {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) panics: Option<Metric>,
}

impl Outlet {
    /// Sends a request; the number comes back with its answer. Main thread.
    pub(crate) fn send(&self, call: &HttpCall<'_>) -> Option<u32> {
        let id = self.config.call(call)?;
        Some(answers::expect(self.config, id))
    }
}

/// One configuration of the filter.
pub(crate) struct Base {
    pub(crate) outlet: Outlet,
    pub(crate) site: Site,
}

/// All configurations of the process, oldest first.
static BASES: Mutex<Vec<Arc<Base>>> = Mutex::new(Vec::new());

/// How many there are: read for each request.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn bases() -> MutexGuard<'static, Vec<Arc<Base>>> {
    BASES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Base {
    /// Sets a configuration up. Main thread.
    ///
    /// # Errors
    /// Why it must be refused, in one line.
    pub(crate) fn new(config: Config, name: &[u8], json: &[u8]) -> Result<Arc<Self>, String> {
        let name = std::str::from_utf8(name).map_err(|_| "filter_name: must be UTF-8".to_owned())?;
        let home = Home::of(name).ok_or("filter_name: there were too many different ones")?;
        let outlet = Outlet { config, metrics: Metrics::new(config), panics: None };
        let site = Site::set_up(json, home, &outlet).map_err(|error| error.to_string())?;
        refuse_claims(site.plugin.config())?;
        let prefix = &site.plugin.config().stat_prefix;
        let panics = outlet.metrics.counter(&format!("{prefix}.panics"));
        let base = Arc::new(Self { outlet: Outlet { panics, ..outlet }, site });
        base.follow().map_err(|error| error.to_string())?;
        bases().push(Arc::clone(&base));
        COUNT.store(bases().len(), Ordering::Relaxed);
        if !abi::is_validation() {
            ticks::begin(config);
        }
        Ok(base)
    }

    /// Whether it is the only one of the process: then no request can have passed another.
    pub(crate) fn is_only_one() -> bool {
        COUNT.load(Ordering::Relaxed) <= 1
    }

    /// It is gone for Envoy, and so is what it had sent. The main thread, but for the rare case that the thread of ticks
    /// had just asked by it and was the last to let go of it: so nothing is sent here.
    pub(crate) fn end(config: Config) {
        ticks::end(config);
        answers::give_up(config);
        bases().retain(|base| base.outlet.config != config);
        COUNT.store(bases().len(), Ordering::Relaxed);
        // Nobody would tell these that their polls are lost.
        let abandoned = Home::all().into_iter().filter(|home| Self::leading(home).is_none());
        abandoned.for_each(|home| *home.follower.lock() = None);
    }

    /// The newest.
    pub(crate) fn newest() -> Option<Arc<Self>> {
        bases().last().cloned()
    }

    /// All of them, oldest first.
    pub(crate) fn all() -> Vec<Arc<Self>> {
        bases().clone()
    }

    /// The newest with this home that names an invalidator: this one follows it.
    fn leading(home: &'static Home) -> Option<Arc<Self>> {
        let names_one = |base: &&Arc<Self>| base.site.plugin.config().invalidator.is_some();
        let is_at_home = |base: &&Arc<Self>| std::ptr::eq(base.site.home, home);
        bases().iter().rev().filter(is_at_home).find(names_one).cloned()
    }

    fn follow(&self) -> Result<(), SetUpError> {
        let Some(place) = self.site.main() else { return Ok(()) };
        let proxy = self.site.proxy(place, &self.outlet);
        let mut follower = self.site.home.follower.lock();
        if follower.is_none() {
            *follower = Follower::new(&self.site.plugin, proxy)?;
        }
        Ok(())
    }

    /// Lets the newest configuration of a home follow the invalidator. Main thread.
    pub(crate) fn lead(
        home: &'static Home,
        lead: impl FnOnce(&mut Follower, Call<'_, crate::host::Proxy<'_>>),
    ) {
        let Some(base) = Self::leading(home) else { return };
        let Some(place) = base.site.main() else { return };
        let proxy = base.site.proxy(place, &base.outlet);
        let own = place.own.lock();
        let call = Call { plugin: &base.site.plugin, worker: &own.worker, host: proxy };
        if let Some(follower) = &mut *home.follower.lock() {
            lead(follower, call);
        }
    }

    /// Counts a panic, and logs where its effect was.
    pub(crate) fn count_panic(&self, filter: Option<abi::Filter>) {
        if let Some(panics) = self.outlet.panics {
            self.outlet.metrics.count(filter, panics, 1);
        }
    }
}

/// Envoy's ABI for modules does not reach what `jwt_authn` leaves about a token, so no claim can be read.
fn refuse_claims(config: &gate::config::Config) -> Result<(), String> {
    let identity = &config.identity;
    let named = [
        ("identity.user", &identity.user),
        ("identity.session", &identity.session),
        ("identity.partner", &identity.partner),
    ];
    for (field, sources) in named {
        if sources.iter().any(|source| matches!(source, gate::config::IdSource::JwtClaim { .. })) {
            return Err(format!(
                "{field}: jwt: a dynamic module cannot read claims; let jwt_authn put the claim into a header \
                 (claim_to_headers), and name that"
            ));
        }
    }
    Ok(())
}

/// Says why a configuration is refused.
pub(crate) fn refuse(reason: &str) {
    abi::log(Level::Error, &format!("portcullis: {reason}"));
}
