//! The API for publishers and operators: publish an event, look at a subject, look at the daemon.

use std::sync::Arc;
use std::time::Duration;

use access::{self, Caller, Needs, Permission};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router, middleware};
use engine::{Overruling, Receipt, WaiterId};
use events::EVENT_BYTES_MAX;
use model::subject::Subject;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::audit::{Noted, audited, pseudonym};
use super::body::{self, BodyError};
use super::dead_letters;
use super::disk::DiskReads;
use super::erase::erase;
use super::form::Form;
use super::guard::{Gate, guard};
use super::host::loopback_only;
use super::problem::Problem;
use super::slots::Places;
use super::view::Shown;
use super::written::{NOT_IN_REDIS, Written};
use crate::intake::{self, EMBEDDED, Origin};
use crate::metrics::text;
use crate::shared::{Accepted, Shared};

/// What the handlers need.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    embedded: bool,
    ack_timeout: Duration,
    pub(super) disk: DiskReads,
}

impl FromRef<Door> for DiskReads {
    fn from_ref(door: &Door) -> Self {
        door.disk.clone()
    }
}

impl FromRef<Door> for Arc<Shared> {
    fn from_ref(door: &Door) -> Self {
        Self::clone(&door.shared)
    }
}

/// One route of the API, and what it asks of its caller.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// What the caller has to be.
    pub needs: Needs,
    handler: fn() -> MethodRouter<Door>,
}

impl Route {
    const fn get(path: &'static str, needs: Needs, handler: fn() -> MethodRouter<Door>) -> Self {
        Self { method: Method::GET, path, needs, handler }
    }

    const fn post(
        path: &'static str,
        needs: Permission,
        handler: fn() -> MethodRouter<Door>,
    ) -> Self {
        Self { method: Method::POST, path, needs: Needs::Permission(needs), handler }
    }
}

const SUBJECTS: Needs = Needs::Permission(Permission::ReadSubjects);
const STATUS: Needs = Needs::Permission(Permission::ReadStatus);
const DEAD_LETTERS: Needs = Needs::Permission(Permission::ReadDeadLetters);
/// Nothing with `api.metrics_public`.
const METRICS: Needs = Needs::Permission(Permission::ReadMetrics);

/// Every route there is: the router is made of this table and of nothing else, so that no route
/// can forget to say what it needs. `GET` answers `HEAD` as well.
pub static ROUTES: [Route; 12] = [
    Route::post("/v1/invalidations", Permission::Publish, || post(publish)),
    Route::get("/v1/users/{id}", SUBJECTS, || get(user)),
    Route::get("/v1/sessions/{id}", SUBJECTS, || get(session)),
    Route::get("/v1/status", STATUS, || get(status)),
    Route::get("/v1/dead-letters", DEAD_LETTERS, || get(dead_letters::list)),
    Route::get("/v1/dead-letters/{id}", DEAD_LETTERS, || get(dead_letters::show)),
    Route::post("/v1/dead-letters/replay", Permission::ReplayDeadLetters, || {
        post(dead_letters::replay_some)
    }),
    Route::post("/v1/audit/pseudonym", Permission::ReadAudit, || post(pseudonym)),
    Route::post("/v1/erase", Permission::EraseSubjects, || post(erase)),
    Route::get("/healthz", Needs::Nothing, || get(healthy)),
    Route::get("/readyz", Needs::Nothing, || get(ready)),
    Route::get("/metrics", METRICS, || get(metrics)),
];

/// What the API is to do.
#[derive(Debug)]
pub struct Options {
    /// Who may call.
    pub access: Arc<access::Door>,
    /// Whether anybody may scrape the metrics.
    pub metrics_public: bool,
    /// Whether `POST /v1/invalidations` is a source.
    pub embedded: bool,
    /// How long a publisher waits for every node's acknowledgement.
    pub ack_timeout: Duration,
    /// Whether TLS says whom the client wanted; without, only loopback is answered to.
    pub tls: bool,
    /// Requests being answered at once: so many that publish, and so many others.
    pub places: Places,
}

/// Routes of the API listener.
pub fn router(shared: Arc<Shared>, options: Options) -> Router {
    let Options { access, metrics_public, embedded, ack_timeout, tls, places } = options;
    let gate = Gate::new(Arc::clone(&shared), access, places);
    let guarded = |needs| middleware::from_fn_with_state((gate.clone(), needs), guard);
    let mut router = Router::new();
    for route in &ROUTES {
        let public = route.needs == METRICS && metrics_public;
        let needs = if public { Needs::Nothing } else { route.needs };
        router = router.route(route.path, (route.handler)().route_layer(guarded(needs)));
    }
    // Only who is known is told that there is nothing.
    router = router
        .fallback(nothing.layer(guarded(Needs::Caller)))
        .method_not_allowed_fallback(another_method.layer(guarded(Needs::Caller)))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), audited));
    if !tls {
        router = router.layer(middleware::from_fn(loopback_only));
    }
    router.with_state(Door { shared, embedded, ack_timeout, disk: DiskReads::new() })
}

async fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path")
}

async fn another_method() -> Problem {
    let title = "The path does not know this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title)
}

/// The answer to a published event.
#[derive(Serialize)]
struct Published<'a> {
    event_id: &'a str,
    result: &'static str,
    /// Whether what the event says is so, by all that the daemon knows.
    in_effect: bool,
    /// The events that overrule it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    overruled_by: &'a [Overruling],
    sequence: u64,
    #[serde(flatten)]
    receipt: Receipt,
    durable: bool,
    /// Whether Redis has it; nothing without Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<bool>,
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
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !door.embedded {
        let title = "The embedded source is not enabled";
        return Err(Problem::new(StatusCode::NOT_FOUND, "source_disabled", title)
            .broken("sources.embedded.enabled", "is false in the daemon's configuration"));
    }
    let form = Form::of(&headers)?;
    let origin = Origin::live(EMBEDDED).by(intake::caller(&caller.name));
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
    let (accepted, waiter) = door.shared.ingest_and_wait(origin, &caller, &bytes)?;
    let waiting = Waiting { shared: &door.shared, waiter };
    let written = Written::offer(&door.shared, &accepted);
    let is_durable = || door.shared.keeper().is_durable(accepted.ticket);
    while !(door.shared.engine().is_complete(waiter) && is_durable()) {
        tokio::select! {
            // Both senders live in `shared`, so this cannot fail.
            _ = acknowledgements.changed() => {}
            _ = durable.changed() => {}
            () = sleep_until(deadline) => break,
        }
    }
    let mut receipt = waiting.finish();
    receipt.leave_out(&accepted.ingested.idle);
    let redis = written.finish(&door.shared, deadline).await;
    let durable = is_durable();
    let Accepted { subject, event_id, mut ingested, .. } = accepted;
    if redis == Some(false) {
        ingested.warnings.push(NOT_IN_REDIS.to_owned());
    }
    door.shared.engine().renew(&subject, &mut ingested, door.shared.now());
    let all_done = receipt.enforced && durable && redis != Some(false);
    let status = if all_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    // What nodes have applied is what is in effect: of an event that is not, they enforce nothing.
    receipt.enforced &= ingested.in_effect;
    let published = Published {
        event_id: event_id.as_str(),
        result: ingested.verdict.as_str(),
        in_effect: ingested.in_effect,
        overruled_by: &ingested.overruled_by,
        sequence: ingested.sequence,
        receipt,
        durable,
        redis,
        warnings: &ingested.warnings,
    };
    let mut response = (status, Json(published)).into_response();
    let event_id = Some(event_id.clone().into());
    let noted = Noted { event_id, about: Some(subject), ..Noted::default() };
    response.extensions_mut().insert(noted);
    Ok(response)
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

/// While the daemon answers at all.
async fn healthy() -> Response {
    Json(json!({ "healthy": true })).into_response()
}

/// Ready when every source is connected, Redis holds what is known here or will soon, and the store
/// can be written. The poll listener is up
/// before this one answers.
async fn ready(State(door): State<Door>) -> Response {
    let overview = door.shared.overview();
    let (why, settling) = (overview.not_ready(), overview.settling());
    let code = if why.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": why.is_empty(), "why": why, "settling": settling });
    (code, Json(body)).into_response()
}

async fn metrics(State(door): State<Door>, headers: HeaderMap) -> Result<Response, Problem> {
    let openmetrics = door.shared.metrics.encode(&door.shared.overview()).map_err(|_| {
        let title = "The metrics cannot be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
    })?;
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (kind, text) = match accepts.into_iter().any(text::wants_openmetrics) {
        true => (text::OPENMETRICS, openmetrics),
        false => (text::CLASSIC, text::classic(&openmetrics)),
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
