//! What evidence is asked for.

use serde::{Deserialize, Serialize};

/// What somebody wants evidence about: exactly one of a user, a session and an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceOrder {
    /// The user's id, if it is about a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The session's id, if it is about a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The event's id, if it is about an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Whether all daemons on the same Redis are asked.
    #[serde(default)]
    pub fleet: bool,
    /// For how many seconds logs are read and daemons waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
}
