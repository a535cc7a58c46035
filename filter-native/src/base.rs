//! One configuration of the filter on Envoy's side, and all of them together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge::{Call, Follower};
use gate::config::{Config as Plugin, IdSource};

use crate::abi::{self, Config};
use crate::clockwork;
use crate::home::Home;
use crate::host::Proxy;
use crate::outlet::Outlet;
use crate::sent;
use crate::site::Site;

/// One configuration of the filter.
pub(crate) struct Base {
    pub(crate) outlet: Outlet,
    pub(crate) site: Site,
}

/// All configurations of the process, oldest first.
static BASES: Mutex<Vec<Arc<Base>>> = Mutex::new(Vec::new());

fn bases() -> MutexGuard<'static, Vec<Arc<Base>>> {
    BASES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Base {
    /// Sets a configuration up. Main thread.
    ///
    /// # Errors
    /// Why it must be refused, in one line.
    pub(crate) fn new(config: Config, name: &[u8], json: &[u8]) -> Result<Arc<Self>, String> {
        let home = home_of("filter_name", name)?;
        let mut outlet = Outlet::new(config);
        let site = set_up(json, home, &outlet)?;
        outlet.define_panics(site.plugin.config().stat_prefix.as_str());
        let base = Arc::new(Self { outlet, site });
        bases().push(Arc::clone(&base));
        if !abi::is_validation() {
            clockwork::begin(config);
        }
        Ok(base)
    }

    /// It is gone for Envoy, and so is what it had sent. Usually that is on the main thread; but a worker's last stream of
    /// it, or the thread of ticks that has just asked by it, may be the last to let go of it. So nothing is sent here.
    pub(crate) fn end(config: Config) {
        bases().retain(|base| {
            let is_other = !base.outlet.is_of(config);
            if !is_other {
                base.outlet.end();
            }
            is_other
        });
        clockwork::end(config);
        sent::give_up(config);
        // Nobody would tell these that their polls are lost.
        let abandoned = Home::all().into_iter().filter(|home| Self::leading(home).is_none());
        abandoned.for_each(|home| *home.follower.lock() = None);
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

    /// Lets the newest configuration of a home follow the invalidator. Main thread.
    pub(crate) fn lead(home: &'static Home, lead: impl FnOnce(&mut Follower, Call<'_, Proxy<'_>>)) {
        let Some(base) = Self::leading(home) else { return };
        let Some(place) = base.site.main() else { return };
        let proxy = base.site.proxy(place, &base.outlet);
        let own = place.own.lock();
        let call = Call { plugin: &base.site.plugin, worker: &own.worker, host: proxy };
        let mut follower = home.follower.lock();
        if follower.is_none() {
            *follower = Follower::new(call.plugin, proxy).unwrap_or_default();
        }
        if let Some(follower) = &mut *follower {
            lead(follower, call);
        }
    }
}

/// The home of this name, which a field of Envoy's configuration says.
pub(crate) fn home_of(field: &str, name: &[u8]) -> Result<&'static Home, String> {
    let name = std::str::from_utf8(name).map_err(|_| format!("{field}: must be UTF-8"))?;
    Home::of(name).ok_or_else(|| format!("{field}: this Envoy has had too many different ones"))
}

/// Sets a plugin up.
pub(crate) fn set_up(json: &[u8], home: &'static Home, outlet: &Outlet) -> Result<Site, String> {
    let site = Site::set_up(json, home, outlet).map_err(|error| error.to_string())?;
    refuse_claims(site.plugin.config())?;
    Ok(site)
}

/// Envoy's ABI for modules does not reach what `jwt_authn` leaves about a token, so no claim can be read.
fn refuse_claims(config: &Plugin) -> Result<(), String> {
    let identity = &config.identity;
    let named = [
        ("identity.user", &identity.user),
        ("identity.session", &identity.session),
        ("identity.partner", &identity.partner),
    ];
    for (field, sources) in named {
        let is_claim = |source: &IdSource| matches!(source, IdSource::JwtClaim { .. });
        if let Some(place) = sources.iter().position(is_claim) {
            return Err(format!(
                "{field}[{place}].jwt_claim: cannot be read by a dynamic module: let jwt_authn put the claim into a \
                 header (claim_to_headers), and name that"
            ));
        }
    }
    Ok(())
}
