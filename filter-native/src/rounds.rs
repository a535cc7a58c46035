//! What the main thread does: ticks, and answers to requests of the gate's own.

use crate::base::Base;
use crate::clockwork;
use crate::home::Home;
use crate::route::Route;
use crate::sent;

/// The tick: polls are sent and leases renewed, counts are told, and reports to the fleet go out.
pub(crate) fn tick() {
    clockwork::tick(|now| {
        #[cfg(test)]
        crate::shield::testing::panic_if_asked();
        sent::take_lost().into_iter().for_each(|number| deliver(number, None, Vec::new()));
        for home in Home::all() {
            Base::lead(home, |follower, call| follower.on_tick(call));
        }
        let bases = Base::all();
        let of_bases = bases.iter().map(|base| base.site.tick(&base.outlet, now));
        let next = of_bases.min().unwrap_or(u64::MAX);
        let Some(newest) = bases.last() else { return next };
        let routes = Route::all();
        let of_routes = routes.iter().map(|route| route.site.tick(&newest.outlet, now));
        of_routes.min().unwrap_or(u64::MAX).min(next)
    });
}

/// Hands an answer to whoever has asked: the number tells them.
pub(crate) fn deliver(number: u32, status: Option<u32>, body: Vec<u8>) {
    let bytes = body.len();
    sent::with_answer(status, body, || {
        #[cfg(test)]
        crate::shield::testing::panic_if_asked();
        for home in Home::all() {
            Base::lead(home, |follower, call| follower.on_http_answer(call, number, bytes));
        }
        let bases = Base::all();
        for base in &bases {
            base.site.on_answer(&base.outlet, number, bytes);
            base.site.end_open_streams(&base.outlet);
        }
        let Some(newest) = bases.last() else { return };
        for route in Route::all() {
            route.site.on_answer(&newest.outlet, number, bytes);
            route.site.end_open_streams(&newest.outlet);
        }
    });
}

/// Begins anew after a panic on the main thread: polls that were on their way are forgotten, and sent again.
pub(crate) fn begin_anew() {
    for home in Home::all() {
        *home.follower.lock() = None;
    }
    let bases = Base::all();
    bases.iter().for_each(|base| base.site.renew(&base.outlet));
    if let Some(newest) = bases.last() {
        newest.outlet.count_panic(None);
        Route::all().iter().for_each(|route| route.site.renew(&newest.outlet));
    }
    clockwork::go_on();
}
