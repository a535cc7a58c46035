//! The API for publishers and operators: publish an event, look at a subject, look at the daemon.

use std::sync::Arc;
use std::time::Duration;

use access::{self, Needs, Permission};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router, middleware};
use model::subject::Subject;
use serde_json::json;
use tokio::time::timeout;

use super::audit::{audited, pseudonym};
use super::dead_letters;
use super::disk::DiskReads;
use super::erase::erase;
use super::evidence::evidence;
use super::guard::{Gate, guard};
use super::host::loopback_only;
use super::problem::Problem;
use super::slots::Places;
use super::state::ApiState;
use super::view::Shown;
use crate::hub::Hub;
use crate::metrics::text;

/// Longest wait for Redis to say who is registered.
const FLEET_TIMEOUT: Duration = Duration::from_secs(2);

/// One route of the API, and what it asks of its caller.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// What the caller has to be.
    pub needs: Needs,
    handler: fn() -> MethodRouter<ApiState>,
}

impl Route {
    const fn get(
        path: &'static str,
        needs: Needs,
        handler: fn() -> MethodRouter<ApiState>,
    ) -> Self {
        Self { method: Method::GET, path, needs, handler }
    }

    /// A route that does something.
    pub(crate) const fn post(
        path: &'static str,
        needs: Permission,
        handler: fn() -> MethodRouter<ApiState>,
    ) -> Self {
        Self { method: Method::POST, path, needs: Needs::Permission(needs), handler }
    }
}

const SUBJECTS: Needs = Needs::Permission(Permission::ReadSubjects);
const STATUS: Needs = Needs::Permission(Permission::ReadStatus);
const DEAD_LETTERS: Needs = Needs::Permission(Permission::ReadDeadLetters);
/// Nothing with `api.metrics_public`.
const METRICS: Needs = Needs::Permission(Permission::ReadMetrics);

/// Every route but those of sources: the router is made of these tables and of nothing else, so that no route
/// can forget to say what it needs. `GET` answers `HEAD` as well.
static ROUTES: [Route; 13] = [
    Route::get("/v1/users/{id}", SUBJECTS, || get(user)),
    Route::get("/v1/sessions/{id}", SUBJECTS, || get(session)),
    Route::get("/v1/status", STATUS, || get(status)),
    Route::get("/v1/fleet", STATUS, || get(fleet)),
    Route::get("/v1/dead-letters", DEAD_LETTERS, || get(dead_letters::list)),
    Route::get("/v1/dead-letters/{id}", DEAD_LETTERS, || get(dead_letters::show)),
    Route::post("/v1/dead-letters/replay", Permission::ReplayDeadLetters, || {
        post(dead_letters::replay_some)
    }),
    Route::post("/v1/audit/pseudonym", Permission::ReadAudit, || post(pseudonym)),
    Route::post("/v1/evidence", Permission::ReadAudit, || post(evidence)),
    Route::post("/v1/erase", Permission::EraseSubjects, || post(erase)),
    Route::get("/healthz", Needs::Nothing, || get(healthy)),
    Route::get("/readyz", Needs::Nothing, || get(ready)),
    Route::get("/metrics", METRICS, || get(metrics)),
];

/// Every route there is, with those of sources, which are called as well.
pub fn routes(of_sources: &[&'static Route]) -> impl Iterator<Item = &'static Route> {
    of_sources.iter().copied().chain(&ROUTES)
}

/// What the API is to do.
#[derive(Debug)]
pub struct Options {
    /// Who may call.
    pub access: Arc<access::Door>,
    /// Whether anybody may scrape the metrics.
    pub metrics_public: bool,
    /// The routes of sources, besides our own.
    pub routes: Vec<&'static Route>,
    /// How long a publisher waits for every node's acknowledgement.
    pub ack_timeout: Duration,
    /// Whether TLS says whom the client wanted; without, only loopback is answered to.
    pub tls: bool,
    /// Requests being answered at once: so many that publish, and so many others.
    pub places: Places,
}

/// Routes of the API listener.
pub fn router(hub: Arc<Hub>, options: Options) -> Router {
    let Options { access, metrics_public, routes: of_sources, ack_timeout, tls, places } = options;
    let gate = Gate::new(Arc::clone(&hub), access, places);
    let guarded = |needs| middleware::from_fn_with_state((gate.clone(), needs), guard);
    let mut router = Router::new();
    for route in routes(&of_sources) {
        let public = route.needs == METRICS && metrics_public;
        let needs = if public { Needs::Nothing } else { route.needs };
        router = router.route(route.path, (route.handler)().route_layer(guarded(needs)));
    }
    // Only who is known is told that there is nothing.
    router = router
        .fallback(nothing.layer(guarded(Needs::Caller)))
        .method_not_allowed_fallback(another_method.layer(guarded(Needs::Caller)))
        .layer(middleware::from_fn_with_state(Arc::clone(&hub), audited));
    if !tls {
        router = router.layer(middleware::from_fn(loopback_only));
    }
    router.with_state(ApiState { hub, ack_timeout, disk: DiskReads::new() })
}

async fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path")
}

async fn another_method() -> Problem {
    let title = "The path does not know this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title)
}

/// The id in a path, or why it is none: not UTF-8 once its percent signs are decoded.
type Id = Result<Path<String>, PathRejection>;

async fn user(State(state): State<ApiState>, id: Id) -> Result<Response, Problem> {
    look(&state, id, Subject::user)
}

async fn session(State(state): State<ApiState>, id: Id) -> Result<Response, Problem> {
    look(&state, id, Subject::session)
}

fn look(
    state: &ApiState,
    id: Id,
    subject: impl Fn(&str) -> Option<Subject>,
) -> Result<Response, Problem> {
    let invalid = |rule| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "The id breaks a rule").broken("id", rule)
    };
    let Path(id) = id.map_err(|_| invalid("must be UTF-8"))?;
    let subject = subject(&id).ok_or_else(|| invalid(Subject::RULE))?;
    let now = state.hub.now();
    let known = state.hub.engine().view(&subject, now);
    let unknown = || {
        let title = "Nothing is known about this user or session";
        Problem::new(StatusCode::NOT_FOUND, "not_found", title)
    };
    let known = known.ok_or_else(unknown)?;
    Ok(Json(Shown::new(&subject, &known, now.wall)).into_response())
}

async fn status(State(state): State<ApiState>) -> Response {
    Json(state.hub.overview()).into_response()
}

/// All daemons that are on the same Redis, as Redis has it now.
async fn fleet(State(state): State<ApiState>) -> Result<Response, Problem> {
    let Some(daemons) = state.hub.fleet() else {
        let title = "This daemon is connected with no others";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no_fleet", title)
            .broken("sources.redis", "is not set in the daemon's configuration"));
    };
    let unreachable = || {
        let title = "Redis cannot be asked who is registered";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "redis_unreachable", title)
    };
    if !daemons.is_open() {
        return Err(unreachable());
    }
    let members = timeout(FLEET_TIMEOUT, daemons.members()).await;
    let members = members.ok().and_then(Result::ok).ok_or_else(unreachable)?;
    Ok(Json(members.fleet()).into_response())
}

/// While the daemon answers at all.
async fn healthy() -> Response {
    Json(json!({ "healthy": true })).into_response()
}

/// Ready when every source is connected, Redis holds what is known here or will soon, and the store
/// can be written. The poll listener is up
/// before this one answers.
async fn ready(State(state): State<ApiState>) -> Response {
    let overview = state.hub.overview();
    let (why, settling) = (overview.not_ready(), overview.settling());
    let code = if why.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": why.is_empty(), "why": why, "settling": settling });
    (code, Json(body)).into_response()
}

async fn metrics(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Problem> {
    let openmetrics = state.hub.scrape().map_err(|_| {
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
