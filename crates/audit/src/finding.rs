//! What checking a log finds: the first thing that is wrong, and where.

use std::fmt;

use super::line::Point;

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes, or those of a line before or after it, are not what was written.
    Changed,
    /// Lines that were there are not any more.
    Missing,
    /// It stands a second time.
    Duplicated,
    /// It stands in another place than it was written to.
    Reordered,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Reordered => "re-ordered",
        })
    }
}

/// Where a line stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// The line in it, from 1; 0 for the file itself.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub fault: Fault,
    /// Where: the line itself, or where it should be.
    pub place: Place,
    /// The number of the line.
    pub seq: u64,
    /// More about it, in words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: seq {}: {}: {}", self.place, self.seq, self.fault, self.detail)
    }
}

/// What was checked, and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that were read.
    pub lines: u64,
    /// Files that they stood in.
    pub files: usize,
    /// Number of the first line.
    pub first: Option<u64>,
    /// The last line of the chain that holds.
    pub last: Option<Point>,
    /// Entries that the daemon itself says it could not write.
    pub lost: u64,
    /// Lines that say that a last line was torn by a crash.
    pub torn: u64,
    /// Whether the last line was incomplete when it was read.
    pub incomplete: bool,
    /// The first thing that is wrong, if anything is.
    pub finding: Option<Finding>,
}
