//! The secret that nodes show at their door.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracing::warn;

use crate::hub::Hub;

/// See the module's description. Clones share it.
#[derive(Clone)]
pub(super) struct NodeSecret {
    /// Compared as digests: of equal length whatever is presented.
    digest: Arc<[u8]>,
}

impl NodeSecret {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self { digest: Sha256::digest(secret.expose_secret()).as_slice().into() }
    }

    /// Whether the request shows it.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let token = presented.and_then(|value| value.strip_prefix(b"Bearer "));
        token.is_some_and(|token| Sha256::digest(token).as_slice().ct_eq(&self.digest).into())
    }
}

/// Says nothing but that it is not welcome.
pub(super) fn unauthorized(hub: &Hub) -> Response {
    hub.metrics.poll_auth_failure();
    if let Some(left_out) = hub.throttles.wrong_secrets.admit(hub.now().mono) {
        warn!(left_out, "poll with a missing or wrong secret");
    }
    let challenge: (HeaderName, &str) = (header::WWW_AUTHENTICATE, "Bearer");
    (StatusCode::UNAUTHORIZED, [challenge]).into_response()
}
