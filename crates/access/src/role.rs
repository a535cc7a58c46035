//! The one table of who may do what.

use std::fmt;

use serde::Deserialize;

/// What a caller is to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A risk engine: publishes events and is told who enforces them.
    Publisher,
    /// Whoever runs the daemon: may do everything.
    Operator,
    /// Whoever has to look: reads everything, and never changes anything.
    Auditor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publisher, Self::Operator, Self::Auditor];

    /// As the configuration spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether the table lets this role do it.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        permission.roles().contains(&self)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that one may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Publish events, and get the receipts of them.
    Publish,
    /// See the daemon's sources, nodes and keys (without secrets).
    ReadStatus,
    /// Scrape the metrics.
    ReadMetrics,
    /// See what is in effect for a user or a session.
    ReadSubjects,
    /// See events that could not be applied.
    ReadDeadLetters,
    /// Apply such events after all.
    ReplayDeadLetters,
    /// See the audit log.
    ReadAudit,
    /// Forget whom a pseudonym stands for.
    EraseSubjects,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Publish,
        Self::ReadStatus,
        Self::ReadMetrics,
        Self::ReadSubjects,
        Self::ReadDeadLetters,
        Self::ReplayDeadLetters,
        Self::ReadAudit,
        Self::EraseSubjects,
    ];

    /// The table: which roles have it.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        use Role::{Auditor, Operator, Publisher};
        match self {
            Self::Publish => &[Publisher, Operator],
            Self::ReadStatus => &[Publisher, Operator, Auditor],
            Self::ReadMetrics | Self::ReadSubjects | Self::ReadDeadLetters | Self::ReadAudit => {
                &[Operator, Auditor]
            }
            Self::ReplayDeadLetters | Self::EraseSubjects => &[Operator],
        }
    }

    /// Whether using it changes anything.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Publish | Self::ReplayDeadLetters | Self::EraseSubjects => true,
            Self::ReadStatus
            | Self::ReadMetrics
            | Self::ReadSubjects
            | Self::ReadDeadLetters
            | Self::ReadAudit => false,
        }
    }

    /// The roles in words: `publisher or operator`.
    #[must_use]
    pub fn roles_in_words(self) -> String {
        let names: Vec<_> = self.roles().iter().map(|role| role.as_str()).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => "nobody".to_owned(),
        }
    }
}

/// What a route asks of whoever calls it. There is no default: a route cannot be made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: for probes, which learn nothing about users.
    Nothing,
    /// A known caller, of whatever role.
    Caller,
    /// A known caller whose role has the permission.
    Permission(Permission),
}

impl Needs {
    /// Whether a caller of this role satisfies it.
    #[must_use]
    pub fn allow(self, role: Role) -> bool {
        match self {
            Self::Nothing | Self::Caller => true,
            Self::Permission(permission) => role.may(permission),
        }
    }
}
