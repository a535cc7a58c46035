//! Whom an open request is from: what has to be looked at again when something is heard of them. `recheck` does that.

use model::hash::SubjectHash;

use crate::config::Groups;

/// Whom an open request is from, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    subjects: Vec<SubjectHash>,
    groups: Groups,
}

impl Watched {
    /// A request in these groups; none if nothing can end it.
    #[must_use]
    pub fn new(subjects: Vec<SubjectHash>, groups: Groups) -> Option<Self> {
        (!subjects.is_empty()).then_some(Self { subjects, groups })
    }

    /// The subjects that events can name: at least one.
    #[must_use]
    pub fn subjects(&self) -> &[SubjectHash] {
        &self.subjects
    }

    /// The route groups that it is in.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.groups
    }
}
