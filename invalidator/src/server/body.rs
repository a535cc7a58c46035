//! Reads a request's body: bounded in size and in time.

use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::http::StatusCode;
use tokio::time::timeout;

use super::problem::Problem;

/// Longest time for a body to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is longer than the given number of bytes.
    TooLarge(usize),
    /// The connection broke, or the framing is wrong.
    Incomplete,
    /// It did not arrive within [`BODY_TIMEOUT`].
    Late,
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let (status, kind, rule) = match error {
            BodyError::TooLarge(bytes_max) => {
                let rule = format!("must be at most {bytes_max} bytes");
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large", rule)
            }
            BodyError::Incomplete => {
                (StatusCode::BAD_REQUEST, "incomplete", "must arrive whole".to_owned())
            }
            BodyError::Late => {
                let rule = format!("must arrive within {BODY_TIMEOUT:?}");
                (StatusCode::REQUEST_TIMEOUT, "timeout", rule)
            }
        };
        Self::new(status, kind, "The request's body cannot be used").broken("body", rule)
    }
}

/// The whole body, of at most `bytes_max`.
pub(crate) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    match timeout(BODY_TIMEOUT, body::to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(BodyError::TooLarge(bytes_max)),
        Ok(Err(_)) => Err(BodyError::Incomplete),
        Err(_) => Err(BodyError::Late),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}
