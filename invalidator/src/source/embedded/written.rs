//! Whether an event that was published here has reached Redis, for its publisher's answer.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::hub::{Accepted, Hub};

/// What a publisher is told whose event Redis does not have.
pub(super) const NOT_IN_REDIS: &str =
    "Redis could not be reached in time: other daemons learn of the event once it can be";

/// An event on its way to Redis.
pub(super) enum Written {
    /// Whether it is there is waited for.
    Waiting(oneshot::Receiver<()>),
    /// Whether it is there; nothing without Redis.
    Known(Option<bool>),
}

impl Written {
    /// Hands over an event that was taken in.
    pub(super) fn offer(hub: &Hub, accepted: &Accepted) -> Self {
        hub.write_to_replica(accepted).map_or(Self::Known(None), Self::Waiting)
    }

    /// Whether Redis has it, or need not. Waits until the deadline, but not if there is no
    /// connection at all. Nothing without Redis.
    pub(super) async fn wait(&mut self, hub: &Hub, deadline: Instant) -> Option<bool> {
        let receiver = match self {
            Self::Known(is_there) => return *is_there,
            Self::Waiting(receiver) => receiver,
        };
        let open = hub.replica().is_some_and(|replica| replica.is_open());
        let deadline = if open { deadline } else { Instant::now() };
        let written = timeout_at(deadline, receiver).await;
        let is_there = Some(written.is_ok_and(|written| written.is_ok()));
        *self = Self::Known(is_there);
        is_there
    }
}
