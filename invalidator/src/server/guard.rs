//! Stands before every route of the API: who is calling, may they, and not too fast.
//!
//! What is decided here is decided in [`access`]; this turns it into answers, counts it, and
//! tells handlers and other middleware who the [`Caller`] is.
//!
//! Whoever is not known does not stay connected, and the answers to failed attempts are throttled
//! together. That bounds log lines and work, and is not what keeps tokens safe: 256 random bits do.
//! Known callers are never held up by the failures of others.

use std::sync::Arc;
use std::time::Duration;

use access::{Caller, Denied, Door, Known, Lane, Needs, Peer, Permission, Role};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use events::EVENT_BYTES_MAX;
use tracing::warn;

use super::body;
use super::problem::Problem;
use super::seats::Place;
use super::slots::{Places, Slots};
use crate::hub::Hub;
use crate::metrics::Bound;

/// What the guard of every route needs.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) hub: Arc<Hub>,
    pub(super) access: Arc<Door>,
    slots: Arc<Slots>,
}

impl Gate {
    pub(super) fn new(hub: Arc<Hub>, access: Arc<Door>, places: Places) -> Self {
        Self { hub, access, slots: Arc::new(Slots::new(places)) }
    }

    fn identify(&self, request: &Request) -> Result<Arc<Known>, Denied> {
        let headers = request.headers().get_all(header::AUTHORIZATION);
        let headers = headers.iter().map(HeaderValue::as_bytes);
        let peer = request.extensions().get::<Arc<Peer>>().map(|peer| &**peer);
        let known = self.access.access().identify(headers, peer, self.hub.now().wall)?;
        if let Some(place) = request.extensions().get::<Place>() {
            place.belongs_to(&known.caller.name, known.caller.role == Role::Operator);
        }
        Ok(known)
    }

    /// Counts a failed attempt, and answers it.
    fn denied(&self, denied: Denied) -> Problem {
        self.hub.metrics.access.denied(denied);
        let now = self.hub.now().mono;
        let Some(left_out) = self.hub.throttles.denied_callers.admit(now) else {
            let title = "Too many requests come with missing or wrong credentials";
            return Problem::too_many(title, Duration::from_secs(1));
        };
        warn!(cause = denied.as_str(), left_out, "nobody knows who calls the API");
        let title = "The API has to know who calls";
        let (field, rule) = denied.rule();
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", title).broken(field, rule)
    }

    fn too_fast(&self, lane: Lane, wait: Duration) -> Problem {
        self.hub.metrics.access.rate_limited(lane);
        Problem::too_many("The caller asks faster than its rate allows", wait)
    }

    fn forbidden(&self, caller: &Caller, permission: Permission) -> Problem {
        self.hub.metrics.access.forbidden();
        if let Some(left_out) = self.hub.throttles.forbidden.admit(self.hub.now().mono) {
            let (caller, role) = (&*caller.name, caller.role.as_str());
            warn!(caller, role, ?permission, left_out, "the caller's role does not allow this");
        }
        let rule = format!("is {}, and must be {}", caller.role, permission.roles_in_words());
        let title = "The caller's role does not allow this";
        Problem::new(StatusCode::FORBIDDEN, "forbidden", title).broken("role", rule)
    }

    /// Lets the request pass, or says why not.
    async fn pass(
        &self,
        needs: Needs,
        known: &Known,
        mut request: Request,
        next: Next,
    ) -> Response {
        let lane = Lane::of(needs);
        // Before the role is looked at: who asks for what it may not is bounded too.
        if let Err(wait) = known.pace.take(lane, self.hub.now().mono) {
            return refuse(request, self.too_fast(lane, wait)).await;
        }
        if let Needs::Permission(permission) = needs
            && !known.caller.role.may(permission)
        {
            return refuse(request, self.forbidden(&known.caller, permission)).await;
        }
        // At once, rather than late.
        let _slot = match self.slots.take(lane, &known.caller) {
            Ok(slot) => slot,
            Err(bound) => {
                self.hub.metrics.access.busy(lane, bound);
                let title = match bound {
                    Bound::Caller => "Too many requests of this caller are under way",
                    Bound::All => "Too many requests are under way",
                };
                return refuse(request, Problem::busy(title)).await;
            }
        };
        request.extensions_mut().insert(known.caller.clone());
        next.run(request).await
    }
}

/// The guard of one route.
pub(super) async fn guard(
    State((gate, needs)): State<(Gate, Needs)>,
    request: Request,
    next: Next,
) -> Response {
    if needs == Needs::Nothing {
        let known = gate.identify(&request).is_ok();
        let response = next.run(request).await;
        return if known { response } else { strangers_leave(response) };
    }
    match gate.identify(&request) {
        Ok(known) => {
            let mut response = gate.pass(needs, &known, request, next).await;
            // For whoever looks at answers from outside, such as at those to forbidden requests.
            response.extensions_mut().insert(known.caller.clone());
            response
        }
        Err(denied) => {
            let mut response = refuse(request, gate.denied(denied)).await;
            if response.status() == StatusCode::UNAUTHORIZED {
                set(response.headers_mut(), header::WWW_AUTHENTICATE, "Bearer");
            }
            strangers_leave(response)
        }
    }
}

/// The answer instead of a handler's. First the body is let in, as far as one may be: a connection
/// that is closed with a body unread is reset, and the answer may be lost with it.
async fn refuse(request: Request, problem: Problem) -> Response {
    let _ = body::read(request.into_body(), EVENT_BYTES_MAX).await;
    problem.into_response()
}

/// Ends the connection after the answer: who is not known must not keep others out by staying.
fn strangers_leave(mut response: Response) -> Response {
    set(response.headers_mut(), header::CONNECTION, "close");
    response
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
