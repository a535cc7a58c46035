//! What the handlers of the API need.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;

use super::disk::DiskReads;
use crate::hub::Hub;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) hub: Arc<Hub>,
    /// How long a publisher waits for every node's acknowledgement.
    pub(crate) ack_timeout: Duration,
    pub(super) disk: DiskReads,
}

impl FromRef<ApiState> for DiskReads {
    fn from_ref(state: &ApiState) -> Self {
        state.disk.clone()
    }
}

impl FromRef<ApiState> for Arc<Hub> {
    fn from_ref(state: &ApiState) -> Self {
        Self::clone(&state.hub)
    }
}
