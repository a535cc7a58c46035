//! The line about the first request that a node has rejected because of an event.

use serde::Serialize;

use super::event_text::EventText;

/// See [`super::entry::Fact::Rejection`].
#[derive(Debug, Serialize)]
pub struct RejectionFact {
    /// The node's name.
    pub node: Box<str>,
    /// The life of the node's memory.
    pub boot_id: Box<str>,
    /// The event.
    pub event_id: EventText,
    /// When the request was rejected, by the clock of the daemon: RFC 3339, UTC.
    pub at: String,
}
