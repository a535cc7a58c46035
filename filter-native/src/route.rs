//! A plugin configuration of single routes, instead of the filter's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base;
use crate::outlet::Outlet;
use crate::site::Site;

/// The configuration of a route. It sends and counts by way of a filter's.
pub(crate) struct Route {
    pub(crate) site: Site,
}

/// All of the process, oldest first.
static ROUTES: Mutex<Vec<Arc<Route>>> = Mutex::new(Vec::new());

/// How many there are: read for each request.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn routes() -> MutexGuard<'static, Vec<Arc<Route>>> {
    ROUTES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Route {
    /// Sets one up. Main thread.
    ///
    /// # Errors
    /// Why it must be refused, in one line.
    pub(crate) fn new(name: &[u8], json: &[u8]) -> Result<Arc<Self>, String> {
        let home = base::home_of("per_route_config_name", name)?;
        let site = base::set_up(json, home, &Outlet::detached())?;
        let route = Arc::new(Self { site });
        routes().push(Arc::clone(&route));
        COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(route)
    }

    /// It is gone for Envoy; streams may have it still.
    pub(crate) fn end(route: &Arc<Self>) {
        routes().retain(|known| !Arc::ptr_eq(known, route));
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there are any.
    pub(crate) fn are_any() -> bool {
        COUNT.load(Ordering::Relaxed) > 0
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Arc<Self>> {
        routes().clone()
    }
}
