//! Whom a limit or a block is about.

use std::fmt;

use crate::id::can_be_in_request;

/// Longest id of a subject that an event can name, in bytes. In requests ids have any length.
pub const SUBJECT_ID_BYTES_MAX: usize = 256;

/// What sort of thing an id identifies, and so what a limit can be by: one bucket for each id. The same id
/// under two kinds is two subjects.
///
/// Everything that depends on the kind alone stands here, without a default: a new kind has to answer
/// every question. Where requests have it is in `gate::decide`, what must be configured for it in
/// `gate::config`.
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
    /// Every name that [`Kind::named`] knows.
    pub const NAMES: [&'static str; 6] =
        ["user", "session", "partner", "key_id", "client_ip", "header"];

    /// The kinds that [a verified signature](Kind::is_of_signer) names, in the order in which they are
    /// looked at.
    pub const OF_SIGNERS: [Self; 2] = [Self::Partner, Self::KeyId];

    /// The kind that configuration spells so: of a header with its name, of all others without any.
    #[must_use]
    pub fn named(name: &str, of: Option<&str>) -> Option<Self> {
        match (name, of) {
            ("user", None) => Some(Self::User),
            ("session", None) => Some(Self::Session),
            ("partner", None) => Some(Self::Partner),
            ("key_id", None) => Some(Self::KeyId),
            ("client_ip", None) => Some(Self::ClientIp),
            ("header", Some(of)) => Some(Self::Header(of.into())),
            _ => None,
        }
    }

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

    /// What tells kinds of one [tag](Kind::tag) apart, for hashing: fixed for good. Without it, two of
    /// them would share their subjects, and so their buckets.
    #[must_use]
    pub fn qualifier(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::User | Self::Session | Self::Partner | Self::KeyId | Self::ClientIp => None,
        }
    }

    /// Whether a verified signature says who it is.
    #[must_use]
    pub fn is_of_signer(&self) -> bool {
        match self {
            Self::Partner | Self::KeyId => true,
            Self::User | Self::Session | Self::ClientIp | Self::Header(_) => false,
        }
    }

    /// Whether one subject is a network, and which addresses are one is configured.
    #[must_use]
    pub fn is_network(&self) -> bool {
        match self {
            Self::ClientIp => true,
            Self::User | Self::Session | Self::Partner | Self::KeyId | Self::Header(_) => false,
        }
    }

    /// The request header that has the id, if the kind says which.
    #[must_use]
    pub fn header_name(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::User | Self::Session | Self::Partner | Self::KeyId | Self::ClientIp => None,
        }
    }

    /// What several of its subjects are called, in words for an operator.
    #[must_use]
    pub fn plural(&self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Session => "sessions",
            Self::Partner => "partners",
            Self::KeyId => "keys",
            Self::ClientIp => "networks of clients",
            Self::Header(_) => "values of its header",
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
    fn kinds_have_names_and_nothing_in_common() {
        let of = |name: &str| Kind::named(name, None).or_else(|| Kind::named(name, Some("x")));
        let kinds = Kind::NAMES.map(|name| of(name).unwrap());
        let mut told: Vec<_> = kinds.iter().map(|kind| (kind.tag(), kind.plural())).collect();
        told.sort_unstable();
        told.dedup_by(|a, b| a.0 == b.0 || a.1 == b.1);
        assert_eq!(told.len(), Kind::NAMES.len());
        let signers: Vec<_> = kinds.iter().filter(|kind| kind.is_of_signer()).cloned().collect();
        assert_eq!(signers, Kind::OF_SIGNERS);
        assert_eq!(Kind::named("header", None), None);
        assert_eq!(Kind::named("user", Some("x")), None);
        assert_eq!(Kind::named("nobody", None), None);
    }

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
