//! Short texts of events that stand in lines: each has been checked already.

use model::name::{EventId, Name};
use serde::Serialize;

/// A short checked text of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventText {
    /// An event's id.
    Id(EventId),
    /// A name.
    Name(Name),
}

impl From<EventId> for EventText {
    fn from(id: EventId) -> Self {
        Self::Id(id)
    }
}

impl From<Name> for EventText {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl Serialize for EventText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Id(id) => id.as_str(),
            Self::Name(name) => name.as_str(),
        })
    }
}
