//! In which form a publisher says its event is, and whether it is.

use axum::http::{HeaderMap, StatusCode, header};
use events::{EventError, EventErrorKind, protobuf};

use crate::server::problem::Problem;

/// What a content type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Protobuf,
}

impl Form {
    /// As the content type says.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        let is = |name: &str| essence.trim().eq_ignore_ascii_case(name);
        if is("application/json") {
            return Ok(Self::Json);
        }
        if is(protobuf::CONTENT_TYPE) {
            return Ok(Self::Protobuf);
        }
        let title = "The request's content type is neither JSON nor protobuf";
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", title)
            .broken("content-type", "must be application/json or application/x-protobuf"))
    }

    /// Refuses an event that is in the other form.
    pub(super) fn require(self, bytes: &[u8]) -> Result<(), EventError> {
        let rule = match (self, protobuf::is_meant(bytes)) {
            (Self::Json, false) | (Self::Protobuf, true) => return Ok(()),
            (Self::Json, true) => "must be a JSON object",
            (Self::Protobuf, false) => "must be a portcullis.event.v1.Event in protobuf form",
        };
        let kind = EventErrorKind::Malformed;
        Err(EventError { kind, field: "".into(), rule: rule.into() })
    }
}
