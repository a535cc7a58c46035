//! Notes in the audit log who asked the API for what, and was told what; and finds pseudonyms.
//!
//! Probes and scrapes are left out: they come every few seconds and say nothing of anybody.

use std::sync::Arc;

use access::Caller;
use audit::Ticket;
use audit::entry::{About, CallFact, DeniedFact, EventText, Fact, text};
use axum::body::Body;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, RequestExt};
use model::subject::Subject;

use super::body;
use super::problem::Problem;
use super::state::ApiState;
use crate::hub::Hub;
use crate::wire::{Named, Pseudonym};

/// Longest body that names somebody, in bytes.
const SUBJECT_BYTES_MAX: usize = 4 * 1024;
/// Stands for the path of a request that no route takes: it may hold anything.
const NO_ROUTE: &str = "none";

/// What a handler has to say about a call, as an extension of its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    /// The event that it is about.
    pub(crate) event_id: Option<EventText>,
    /// The events that it is about, if it may be about several.
    pub(crate) event_ids: Vec<String>,
    /// Whom it is about, if the path does not say.
    pub(crate) about: Option<Subject>,
    /// Anything else, without ids of users: such as the operator's reason.
    pub(crate) note: Option<String>,
}

/// One request, as far as it is noted.
struct Asked {
    method: Method,
    /// The route, with a placeholder for an id.
    resource: Option<String>,
    about: Option<About>,
}

impl Asked {
    async fn of(request: &mut Request) -> Self {
        let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let params = request.extract_parts::<RawPathParams>().await;
        let id = |name: &str| {
            let params = params.as_ref().ok()?;
            params.iter().find(|(param, _)| *param == name).map(|(_, id)| id.to_owned())
        };
        let subject = match path.as_deref() {
            Some("/v1/users/{id}") => id("id").and_then(|id| Subject::user(&id)),
            Some("/v1/sessions/{id}") => id("id").and_then(|id| Subject::session(&id)),
            _ => None,
        };
        let about = subject.map(About::LookedFor);
        Self { method: request.method().clone(), resource: path, about }
    }

    fn is_probe(&self) -> bool {
        self.resource.as_ref().is_some_and(|path| !path.starts_with("/v1/"))
    }
}

/// Notes every call of `/v1`, and everybody who was not let in. In a task of its own: what was begun
/// is done to its end and noted, also if the caller hangs up meanwhile.
pub(super) async fn audited(
    State(hub): State<Arc<Hub>>,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&mut request).await;
    let answered = tokio::spawn(async move {
        let response = next.run(request).await;
        if let Some(ticket) = note(&hub, asked, &response) {
            // Also what was noted on the way, such as the event.
            hub.audit.settled(ticket).await;
        }
        response
    });
    answered.await.unwrap_or_else(|cause| {
        tracing::error!(%cause, "a request was not answered");
        let title = "The request could not be answered";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title).into_response()
    })
}

/// Notes one call; gives its line's place if the answer has to wait for it.
fn note(hub: &Hub, asked: Asked, response: &Response) -> Option<Ticket> {
    let extensions = response.extensions();
    let (status, caller) = (response.status(), extensions.get::<Caller>());
    let is_denied = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    if is_denied {
        note_denied(hub, asked, caller, status);
        return None;
    }
    if asked.is_probe() {
        return None;
    }
    let Noted { event_id, event_ids, about, note } = extensions.get().cloned().unwrap_or_default();
    let fact = Fact::Call(CallFact {
        caller: caller.map(|caller| text(&caller.name)),
        role: caller.map(|caller| caller.role.as_str()),
        method: text(asked.method.as_str()),
        resource: asked.resource.unwrap_or_else(|| NO_ROUTE.to_owned()),
        status: status.as_u16(),
        event_id,
        event_ids,
        note: note.map(|note| text(&note)),
    });
    Some(hub.audit.note(asked.about.or(about.map(About::LookedFor)), fact))
}

/// As often as it pleases whoever is not let in, but not as many lines.
fn note_denied(hub: &Hub, asked: Asked, caller: Option<&Caller>, status: StatusCode) {
    let throttle = match caller {
        Some(_) => &hub.throttles.audited_callers,
        None => &hub.throttles.audited_strangers,
    };
    let Some(left_out) = throttle.admit(hub.now().mono) else { return };
    let fact = Fact::Denied(DeniedFact {
        method: text(asked.method.as_str()),
        resource: asked.resource.unwrap_or_else(|| NO_ROUTE.to_owned()),
        status: status.as_u16(),
        caller: caller.map(|caller| text(&caller.name)),
        role: caller.map(|caller| caller.role.as_str()),
        left_out,
    });
    hub.audit.note(asked.about, fact);
}

/// What no web page can send without asking first, whatever a browser shows on its behalf.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let title = "The request's content type is not JSON";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", title)
        .broken("content-type", "must be application/json"))
}

/// Reads `{"user_id": …}` or `{"session_id": …}`. A path would be logged on the way.
pub(super) async fn subject_in(headers: &HeaderMap, body: Body) -> Result<Subject, Problem> {
    require_json(headers)?;
    let bytes = body::read(body, SUBJECT_BYTES_MAX).await?;
    let invalid = |field: &str, rule: &str| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "The body breaks a rule")
            .broken(field, rule)
    };
    let rule = "must be an object with exactly one of user_id and session_id";
    let named: Named = serde_json::from_slice(&bytes).map_err(|_| invalid("body", rule))?;
    match (named.user_id, named.session_id) {
        (Some(id), None) => Subject::user(&id).ok_or_else(|| invalid("user_id", Subject::RULE)),
        (None, Some(id)) => {
            Subject::session(&id).ok_or_else(|| invalid("session_id", Subject::RULE))
        }
        _ => Err(invalid("body", rule)),
    }
}

/// Finds the pseudonym that stands for somebody in the audit log; `null` if there is none.
pub(super) async fn pseudonym(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let subject = subject_in(&headers, body).await?;
    let (audit, about) = (state.hub.audit.clone(), subject.clone());
    let _turn = state.disk.turn(&caller).await;
    let found = tokio::task::spawn_blocking(move || {
        Ok::<_, audit::NamesError>(Pseudonym {
            pseudonym: audit.pseudonym(&subject)?,
            pseudonyms: audit.pseudonyms(&subject)?,
        })
    });
    let found = found.await;
    let cannot = || {
        let title = "The mapping of pseudonyms cannot be read";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
    };
    let pseudonym = found.map_err(|_| cannot())?.map_err(|cause| {
        tracing::error!(%cause, "the mapping of pseudonyms cannot be read");
        cannot()
    })?;
    let mut response = Json(pseudonym).into_response();
    response.extensions_mut().insert(Noted { about: Some(about), ..Noted::default() });
    Ok(response)
}
