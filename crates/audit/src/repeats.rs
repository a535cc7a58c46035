//! Events of one sort that are counted together: what makes them one sort, and the line about them.

use serde::Serialize;

use super::event_text::EventText;

/// What makes events the same here: source, result, and cause.
pub(super) type Sort = (&'static str, &'static str, Option<&'static str>);
/// What is shown of the first of them.
pub(super) type Sample = Option<EventText>;

/// See [`super::entry::Fact::Repeats`].
#[derive(Debug, Serialize)]
pub struct RepeatsFact {
    /// The source they came from.
    pub source: &'static str,
    /// `refused`, `duplicate` or `stale`.
    pub result: &'static str,
    /// Of refused ones: the kind of the rule that they break.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// How many there were beyond those that have lines of their own.
    pub count: u64,
    /// When the first of them came.
    pub first: String,
    /// When the last of them came.
    pub last: String,
    /// The id of the first, if that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventText>,
}
