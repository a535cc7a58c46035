//! Evidence: what is asked of audit logs, how one log is read for it, and what daemons say to each other about theirs.
//! No connection and no engine: how it is carried over Redis is in [`crate::source`], what lines prove in [`evidence`].

mod message;
mod read;

pub use message::{INQUIRY_LASTS_MAX, Inquiry, Testimony};
pub use read::{Place, ROOM_HERE, ROOM_SENT, read};

use evidence::About;
use model::name::EventId;
use model::subject::Subject;

/// Whom or what somebody wants evidence about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A user or a session, and so each event about them.
    Subject(Subject),
    /// One event, by its id.
    Event(EventId),
}

impl Question {
    /// Whom it is about, if it is about somebody.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Subject(subject) => Some(subject),
            Self::Event(_) => None,
        }
    }

    /// As a document names it.
    #[must_use]
    pub fn about(&self) -> About {
        match self {
            Self::Subject(Subject::User(id)) => About::User(id.to_string()),
            Self::Subject(Subject::Session(id)) => About::Session(id.to_string()),
            Self::Event(id) => About::EventId(id.to_string()),
        }
    }
}

/// The program that makes documents.
#[must_use]
pub fn made_by() -> String {
    concat!("portcullis ", env!("CARGO_PKG_VERSION")).to_owned()
}
