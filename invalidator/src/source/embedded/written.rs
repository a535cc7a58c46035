//! Whether an event that was published here has reached Redis, for its publisher's answer.

use model::name::EventId;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::hub::{Accepted, Hub};

/// What a publisher is told whose event Redis does not have.
pub(super) const NOT_IN_REDIS: &str =
    "Redis could not be reached in time: other daemons learn of the event once it can be";

/// An event on its way to Redis.
pub(super) enum Written {
    /// Whether it is there is waited for.
    Waiting(oneshot::Receiver<EventId>),
    /// The id under which it counts there; nothing if it is not there in time.
    Known(Option<EventId>),
    /// There is no Redis.
    Nowhere,
}

impl Written {
    /// Hands over an event that was taken in.
    pub(super) fn offer(hub: &Hub, accepted: &Accepted) -> Self {
        hub.write_to_replica(accepted).map_or(Self::Nowhere, Self::Waiting)
    }

    /// Whether Redis has it, or need not. Waits until the deadline, but not if there is no
    /// connection at all. Nothing without Redis.
    pub(super) async fn wait(&mut self, hub: &Hub, deadline: Instant) -> Option<bool> {
        if let Self::Waiting(receiver) = self {
            let open = hub.replica().is_some_and(|replica| replica.is_open());
            let deadline = if open { deadline } else { Instant::now() };
            let written = timeout_at(deadline, receiver).await;
            *self = Self::Known(written.ok().and_then(Result::ok));
        }
        match self {
            Self::Known(id) => Some(id.is_some()),
            Self::Waiting(_) | Self::Nowhere => None,
        }
    }

    /// The id under which the event counts in Redis, if it is there: another than its own if that is another event's.
    pub(super) fn event_id(&self) -> Option<&EventId> {
        match self {
            Self::Known(id) => id.as_ref(),
            Self::Waiting(_) | Self::Nowhere => None,
        }
    }
}
