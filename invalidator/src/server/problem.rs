//! Errors as `application/problem+json` (RFC 9457), with the field at fault and its rule.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::IngestError;
use events::EventErrorKind;

use crate::intake::Refusal;
use crate::wire;

/// One problem, and when to try again.
#[derive(Debug)]
pub(crate) struct Problem {
    body: wire::Problem,
    /// Whole seconds after which to try again.
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, name: &str, title: &'static str) -> Self {
        Self { body: wire::Problem::new(status.as_u16(), name, title), retry_after_s: None }
    }

    /// The same problem, with the field that breaks a rule.
    pub(crate) fn broken(self, field: impl Into<String>, rule: impl Into<String>) -> Self {
        let (field, rule) = (Some(field.into()), Some(rule.into()));
        Self { body: wire::Problem { field, rule, ..self.body }, ..self }
    }

    pub(crate) fn busy(title: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title)
    }

    /// Too many requests: try again after `wait`, rounded up to whole seconds.
    pub(crate) fn too_many(title: &'static str, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", title);
        Self { retry_after_s: Some(seconds), ..problem }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (field, rule) = refusal.broken();
        let (status, title) = match &refusal {
            Refusal::Event(error) => (status_of(error.kind), "The event breaks a rule"),
            Refusal::Ingest(error) => {
                let no_room = "There is no room for the event";
                match error {
                    IngestError::SubjectsFull => (StatusCode::SERVICE_UNAVAILABLE, no_room),
                    IngestError::TooManyTopics => (StatusCode::CONFLICT, no_room),
                    IngestError::IdTaken => (StatusCode::CONFLICT, "Another event has this id"),
                    IngestError::TooOften => {
                        (StatusCode::TOO_MANY_REQUESTS, "Too many events about one subject")
                    }
                }
            }
        };
        Self::new(status, refusal.kind(), title).broken(field, rule)
    }
}

fn status_of(kind: EventErrorKind) -> StatusCode {
    match kind {
        EventErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        EventErrorKind::SignatureMissing
        | EventErrorKind::UnknownKey
        | EventErrorKind::ExpiredKey
        | EventErrorKind::BadSignature
        | EventErrorKind::PublisherNotAllowed
        | EventErrorKind::BeyondAuthority => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        let unavailable = later.contains(&status).then_some(1);
        let retry_after_s = self.retry_after_s.or(unavailable);
        let mut response = (status, Json(self.body)).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
