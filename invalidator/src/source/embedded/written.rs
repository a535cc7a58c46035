//! Whether an event that was published here has reached Redis, for its publisher's answer.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::hub::{Accepted, Hub};

/// What a publisher is told whose event Redis does not have.
pub(super) const NOT_IN_REDIS: &str =
    "Redis could not be reached in time: other daemons learn of the event once it can be";

/// An event on its way to Redis; nothing without Redis.
pub(super) struct Written(Option<oneshot::Receiver<()>>);

impl Written {
    /// Hands over an event that was taken in.
    pub(super) fn offer(hub: &Hub, accepted: &Accepted) -> Self {
        Self(hub.write_to_replica(accepted))
    }

    /// Whether Redis has it, or need not. Waits until the deadline, but not if there is no
    /// connection at all. Nothing without Redis.
    pub(super) async fn finish(self, hub: &Hub, deadline: Instant) -> Option<bool> {
        let open = hub.replica().is_some_and(|replica| replica.is_open());
        let deadline = if open { deadline } else { Instant::now() };
        let written = timeout_at(deadline, self.0?).await;
        Some(written.is_ok_and(|written| written.is_ok()))
    }
}
