//! Why a store cannot be used: in which file, what is wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{}: in use by {}: one daemon at a time may use it", path.display(), holder(*pid))]
    InUse {
        /// The file or directory.
        path: PathBuf,
        /// Who has it, if the system tells.
        pid: Option<u32>,
    },
    /// Its content is not what was written.
    #[error("{}: damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// It was written by another version of this program, or is another sort of file.
    #[error("{}: holds {found}: this program reads {known}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Kind and version of what it holds.
        found: String,
        /// Kind and version that was expected.
        known: String,
    },
    /// It is gone, from a directory in which it was.
    #[error(
        "{}: missing, though {} was used before: starting without it would forget what it kept",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is gone, and something outside says that there was one.
    #[error(
        "{}: missing, though {} says that a store was there: starting without it would forget what \
         it kept; if a disk is not mounted, mount it",
        path.display(),
        witness.display()
    )]
    Forgotten {
        /// The file.
        path: PathBuf,
        /// What says so.
        witness: PathBuf,
    },
    /// Another file stands where the open one stood.
    #[error(
        "{}: another file has been put in its place, and is not touched: remove it, and what is in \
         force is written there again; or restart, and it is read",
        path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{}: {cause}", path.display())]
    System {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process {pid}"))
}

impl StoreError {
    /// What the system says of this file or directory.
    pub fn system(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| Self::System { path: path.to_owned(), cause }
    }

    /// What is wrong with the content of this file.
    #[must_use]
    pub fn damaged(path: &Path, cause: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), cause: cause.to_string() }
    }

    /// Sorts what the database says: a full or broken disk, another process, or damage.
    pub fn of(path: &Path, cause: impl Into<redb::Error>) -> Self {
        match cause.into() {
            redb::Error::DatabaseAlreadyOpen => {
                Self::InUse { path: path.to_owned(), pid: crate::holder::holder_of(path) }
            }
            redb::Error::Io(cause)
                if cause.kind() != io::ErrorKind::InvalidData
                    && cause.kind() != io::ErrorKind::UnexpectedEof =>
            {
                Self::System { path: path.to_owned(), cause }
            }
            redb::Error::UpgradeRequired(version) => Self::Format {
                path: path.to_owned(),
                found: format!("a database file of version {version}"),
                known: "newer ones".to_owned(),
            },
            cause => Self::damaged(path, cause),
        }
    }

    /// Whether only the operator can say how to go on, since something kept may be lost.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Format { .. }
                | Self::Missing { .. }
                | Self::Forgotten { .. }
        )
    }
}
