//! The sorts of log lines that others can cause as often as they like, each with a throttle of its own.

use throttle::{ByName, Throttle};

/// The sorts of lines that others can cause as often as they like.
#[derive(Debug, Default)]
pub struct Throttles {
    /// Events that were refused, by cause: no flood of one hides the others.
    pub bad_events: ByName,
    /// Events that were taken in and changed nothing, by result.
    pub idle_events: ByName,
    /// Polls with a missing or wrong secret.
    pub wrong_secrets: Throttle,
    /// Requests to the API with missing or wrong credentials.
    pub denied_callers: Throttle,
    /// Requests to the API that the caller's role does not allow.
    pub forbidden: Throttle,
    /// Polls that break the protocol.
    pub malformed_polls: Throttle,
    /// What is said of limits across the fleet, by what it is.
    pub fleet_limits: ByName,
    /// Polls of nodes for which there is no room.
    pub nodes_refused: Throttle,
    /// Lines in the audit log about strangers who were not let in at the API.
    pub audited_strangers: Throttle,
    /// Lines in the audit log about known callers who asked for too much: no flood of strangers is
    /// to hide who they are.
    pub audited_callers: Throttle,
}
