//! Configurations of single routes.

use super::*;
use crate::route::Route;

/// The configuration of a route, as Envoy has it.
struct OnRoute(*const Route);

impl OnRoute {
    fn new(name: &str, configuration: &Value) -> Self {
        let route = route_new(name, &configuration.to_string());
        assert!(!route.is_null(), "{:?}", envoy(|envoy| envoy.log.clone()));
        Self(route)
    }

    fn request(&self, user: &str) -> Box<Exchange> {
        let mut request = Exchange::get("/", user);
        request.route = self.0.cast();
        request
    }
}

impl Drop for OnRoute {
    fn drop(&mut self) {
        route_destroy(self.0);
    }
}

fn of_tokens(name: &str, tokens: u32) -> Value {
    let mut configuration = configuration();
    configuration["limits"][0]["name"] = json!(name);
    configuration["limits"][0]["max_tokens"] = json!(tokens);
    configuration
}

#[test]
fn a_route_has_limits_of_its_own_and_shares_memory() {
    let _turn = turn();
    let gate = Gate::new("routes-limits", &configuration());
    let route = OnRoute::new("routes-limits", &of_tokens("per-route", 1));
    let asked = |user: &str| gate.ask(&mut route.request(user));
    assert_eq!([asked("alice"), asked("alice")], [200, 429]);
    assert_eq!(
        gate.ask(&mut Exchange::get("/", "alice")),
        200,
        "the filter's own limit is another"
    );
    // By way of the filter's metrics; of a limit that the filter does not have, with a label.
    assert_eq!(counted("portcullis.allowed"), 2);
    assert_eq!(counted("portcullis.denied.limit"), 1);
    assert_eq!(counted("portcullis.limit.denied:per-route"), 1);
}

#[test]
fn a_stream_outlives_the_configuration_of_its_route() {
    let _turn = turn();
    let gate = Gate::new("routes-gone", &configuration());
    let route = OnRoute::new("routes-gone", &of_tokens("per-route", 1));
    let mut request = route.request("alice");
    let stream = gate.open(&mut request);
    assert_eq!(request_headers(request.pointer(), stream, true), 0);
    drop(route);
    request.route = std::ptr::null();
    assert_eq!(response_headers(request.pointer(), stream), 0);
    filter_destroy(stream);
    assert!(!Route::are_any());
}

#[test]
fn a_route_with_a_wrong_configuration_is_refused() {
    let _turn = turn();
    assert!(route_new("routes-wrong", "{}").is_null());
    let log = envoy(|envoy| envoy.log.clone());
    assert!(log.iter().any(|line| line.contains("fail_policy")), "{log:?}");
}
