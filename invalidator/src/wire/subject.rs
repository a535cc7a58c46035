//! Bodies that name a user or a session, and answers about one.

use model::subject::Subject;
use serde::{Deserialize, Serialize};

/// Somebody, named in a body: a path would be logged on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The user's id, if it is a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The session's id, if it is a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

impl From<&Subject> for Named {
    fn from(subject: &Subject) -> Self {
        match subject {
            Subject::User(id) => Self { user_id: Some(id.to_string()), session_id: None },
            Subject::Session(id) => Self { user_id: None, session_id: Some(id.to_string()) },
        }
    }
}

/// What the audit log calls somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pseudonym {
    /// The pseudonym; nothing if there is none.
    pub pseudonym: Option<String>,
    /// Every pseudonym under which lines can be about it, the newest first. An older daemon does not say.
    #[serde(default)]
    pub pseudonyms: Vec<String>,
}

/// What was removed of somebody, and what was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The pseudonym that belongs to nobody now; nothing if there was none.
    pub pseudonym: Option<String>,
    /// What was removed, in words.
    pub removed: Vec<String>,
    /// What is still there.
    pub remains: Vec<Remains>,
}

/// Something that is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// Where.
    pub place: String,
    /// What is there, and for how long.
    pub what: String,
    /// What can be done about it.
    pub remedy: String,
}
