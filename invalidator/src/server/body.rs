//! Reads a request's body: bounded in size and in time.

use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::http::StatusCode;
use tokio::time::timeout;

use super::problem::Problem;

/// Longest time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The whole body, of at most `bytes_max`.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    match timeout(BODY_TIMEOUT, body::to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The request's body is too large",
        )
        .broken("body", format!("must be at most {bytes_max} bytes"))),
        Ok(Err(_)) => {
            let title = "The request's body did not arrive whole";
            Err(Problem::new(StatusCode::BAD_REQUEST, "incomplete", title))
        }
        Err(_) => {
            let title = "The request's body did not arrive in time";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", title))
        }
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
