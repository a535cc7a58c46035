//! Whom a limit or a block is about.

use std::fmt;

use crate::id::can_be_in_request;

/// Longest id of a subject that an event can name, in bytes. In requests ids have any length.
pub const SUBJECT_ID_BYTES_MAX: usize = 256;

/// What sort of thing an id identifies. The same id under two kinds is two subjects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person's account.
    User,
    /// One login of a user.
    Session,
    /// A company that calls on behalf of others.
    Partner,
    /// The key that a request is signed with.
    KeyId,
    /// The address a request came from.
    ClientIp,
    /// The value of the named request header (lower case), such as an API key.
    Header(Box<str>),
}

impl Kind {
    /// The kind as one byte, for hashing: fixed for good.
    #[must_use]
    pub fn tag(&self) -> u8 {
        match self {
            Self::User => 1,
            Self::Session => 2,
            Self::Partner => 3,
            Self::ClientIp => 4,
            Self::Header(_) => 5,
            Self::KeyId => 6,
        }
    }

    /// Whether a verified signature says who it is.
    #[must_use]
    pub fn is_of_signer(&self) -> bool {
        matches!(self, Self::Partner | Self::KeyId)
    }

    /// The header's name, if that is what the kind is.
    #[must_use]
    pub fn header_name(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            _ => None,
        }
    }
}

/// A subject that is only looked at.
#[derive(Clone, Copy)]
pub struct SubjectRef<'a> {
    /// What the id identifies.
    pub kind: &'a Kind,
    /// The id, as it came.
    pub id: &'a [u8],
}

/// A subject that events can name: a user or a session.
///
/// Its `Debug` form does not show the id: that is personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A person's account.
    User(Box<str>),
    /// One login of a user.
    Session(Box<str>),
}

impl Subject {
    /// What an id has to look like, for error messages.
    pub const RULE: &str = "must be 1 to 256 bytes";

    /// What an id has to look like so that a request can have it, for error messages.
    pub const RULE_IN_REQUESTS: &str = "must be an id that a request can have: without control \
                                        characters, and without white space at its ends";

    /// Whether a request can come from this subject: of what requests say, white space at the ends
    /// does not count, and control characters are refused.
    #[must_use]
    pub fn can_be_in_requests(&self) -> bool {
        can_be_in_request(self.id())
    }

    /// A user, if the id follows [`Subject::RULE`].
    #[must_use]
    pub fn user(id: &str) -> Option<Self> {
        fits(id).then(|| Self::User(id.into()))
    }

    /// A session, if the id follows [`Subject::RULE`].
    #[must_use]
    pub fn session(id: &str) -> Option<Self> {
        fits(id).then(|| Self::Session(id.into()))
    }

    /// The id as the publisher wrote it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) | Self::Session(id) => id,
        }
    }

    /// `user` or `session`.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Session(_) => "session",
        }
    }

    /// Kind and id as one text, such as `user:alice`: the key of what is kept about a subject.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}:{}", self.kind_name(), self.id())
    }

    /// Reads what [`Subject::to_text`] has written.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("user", id) => Self::user(id),
            ("session", id) => Self::session(id),
            _ => None,
        }
    }

    /// The subject as the hash and the store see it.
    #[must_use]
    pub fn as_ref(&self) -> SubjectRef<'_> {
        let kind = match self {
            Self::User(_) => &Kind::User,
            Self::Session(_) => &Kind::Session,
        };
        SubjectRef { kind, id: self.id().as_bytes() }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(redacted)", self.kind_name())
    }
}

fn fits(id: &str) -> bool {
    (1..=SUBJECT_ID_BYTES_MAX).contains(&id.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_survives_as_text() {
        for subject in [Subject::user("a:b").unwrap(), Subject::session("user:1").unwrap()] {
            assert_eq!(Subject::from_text(&subject.to_text()), Some(subject));
        }
        let long = format!("user:{}", "x".repeat(SUBJECT_ID_BYTES_MAX + 1));
        for wrong in ["", "user", "user:", "partner:a", &long] {
            assert_eq!(Subject::from_text(wrong), None, "{wrong:?}");
        }
    }
}
