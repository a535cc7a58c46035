//! The API for publishers and operators: publish an event, look at a subject, look at the daemon.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use policy::event::EVENT_BYTES_MAX;
use policy::subject::Subject;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::body::{self, BodyError};
use super::dead_letters;
use super::form::Form;
use super::host::loopback_only;
use super::problem::Problem;
use super::view::Shown;
use crate::engine::{Receipt, WaiterId};
use crate::intake::{EMBEDDED, Origin};
use crate::shared::{Accepted, Shared};

/// Content type of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the handlers need.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    embedded: bool,
    ack_timeout: Duration,
    slots: Arc<Semaphore>,
}

impl FromRef<Door> for Arc<Shared> {
    fn from_ref(door: &Door) -> Self {
        Self::clone(&door.shared)
    }
}

/// Routes of the API listener.
pub fn router(
    shared: Arc<Shared>,
    embedded: bool,
    ack_timeout: Duration,
    requests_max: usize,
) -> Router {
    let slots = Arc::new(Semaphore::new(requests_max));
    let door = Door { shared, embedded, ack_timeout, slots };
    Router::new()
        .route("/v1/invalidations", post(publish))
        .route("/v1/users/{id}", get(user))
        .route("/v1/sessions/{id}", get(session))
        .route("/v1/status", get(status))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/replay", post(dead_letters::replay_some))
        .route("/v1/dead-letters/{id}", get(dead_letters::show))
        .route_layer(middleware::from_fn_with_state(door.clone(), bounded))
        .route("/healthz", get(|| async { Json(json!({ "healthy": true })) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path")
        })
        .method_not_allowed_fallback(|| async {
            let title = "The path does not know this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title)
        })
        .layer(middleware::from_fn(loopback_only))
        .with_state(door)
}

/// Answers at once, rather than late, when too many requests are under way.
async fn bounded(State(door): State<Door>, request: Request, next: Next) -> Response {
    match door.slots.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => Problem::busy("Too many requests are under way").into_response(),
    }
}

/// The answer to a published event.
#[derive(Serialize)]
struct Published<'a> {
    event_id: &'a str,
    result: &'static str,
    sequence: u64,
    #[serde(flatten)]
    receipt: Receipt,
    durable: bool,
    warnings: &'a [String],
}

/// A waiter that is ended whatever becomes of the request that owns it.
struct Waiting<'a> {
    shared: &'a Shared,
    waiter: WaiterId,
}

impl Waiting<'_> {
    fn finish(self) -> Receipt {
        self.shared.engine().finish(self.waiter).unwrap_or_default()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Nothing to do any more if it was finished.
        let _ = self.shared.engine().finish(self.waiter);
    }
}

async fn publish(
    State(door): State<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !door.embedded {
        let title = "The embedded source is not enabled";
        return Err(Problem::new(StatusCode::NOT_FOUND, "source_disabled", title)
            .broken("sources.embedded.enabled", "is false in the daemon's configuration"));
    }
    let form = Form::of(&headers)?;
    let origin = Origin::live(EMBEDDED);
    let bytes = match body::read(body, EVENT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge(_)) => return Err(door.shared.refuse_too_large(origin).into()),
        Err(error) => return Err(error.into()),
    };
    form.require(&bytes).map_err(|error| door.shared.refuse(origin, error))?;
    // Subscribed before the event is taken in, so that no acknowledgement is missed.
    let mut acknowledgements = door.shared.acknowledgements();
    let mut durable = door.shared.keeper().durable();
    let deadline = Instant::now() + door.ack_timeout;
    let (accepted, waiter) = door.shared.ingest_and_wait(origin, &bytes)?;
    let waiting = Waiting { shared: &door.shared, waiter };
    let is_durable = || door.shared.keeper().is_durable(accepted.ticket);
    while !(door.shared.engine().is_complete(waiter) && is_durable()) {
        tokio::select! {
            // Both senders live in `shared`, so this cannot fail.
            _ = acknowledgements.changed() => {}
            _ = durable.changed() => {}
            () = sleep_until(deadline) => break,
        }
    }
    let receipt = waiting.finish();
    let durable = is_durable();
    let Accepted { event_id, ingested, .. } = accepted;
    let all_done = receipt.enforced && durable;
    let status = if all_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    let published = Published {
        event_id: event_id.as_str(),
        result: ingested.verdict.as_str(),
        sequence: ingested.sequence,
        receipt,
        durable,
        warnings: &ingested.warnings,
    };
    Ok((status, Json(published)).into_response())
}

/// The id in a path, or why it is none: not UTF-8 once its percent signs are decoded.
type Id = Result<Path<String>, PathRejection>;

async fn user(State(door): State<Door>, id: Id) -> Result<Response, Problem> {
    look(&door, id, Subject::user)
}

async fn session(State(door): State<Door>, id: Id) -> Result<Response, Problem> {
    look(&door, id, Subject::session)
}

fn look(
    door: &Door,
    id: Id,
    subject: impl Fn(&str) -> Option<Subject>,
) -> Result<Response, Problem> {
    let invalid = |rule| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "The id breaks a rule").broken("id", rule)
    };
    let Path(id) = id.map_err(|_| invalid("must be UTF-8"))?;
    let subject = subject(&id).ok_or_else(|| invalid(Subject::RULE))?;
    let now = door.shared.now();
    let known = door.shared.engine().view(&subject, now);
    let unknown = || {
        let title = "Nothing is known about this user or session";
        Problem::new(StatusCode::NOT_FOUND, "not_found", title)
    };
    let known = known.ok_or_else(unknown)?;
    Ok(Json(Shown::new(&subject, &known, now.wall)).into_response())
}

async fn status(State(door): State<Door>) -> Response {
    Json(door.shared.overview()).into_response()
}

/// Ready when every source is connected and the store can be written. The poll listener is up
/// before this one answers.
async fn ready(State(door): State<Door>) -> Response {
    let why = door.shared.overview().not_ready();
    let code = if why.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": why.is_empty(), "why": why }))).into_response()
}

async fn metrics(State(door): State<Door>) -> Result<Response, Problem> {
    let text = door.shared.metrics.encode(&door.shared.overview()).map_err(|_| {
        let title = "The metrics cannot be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
    })?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
