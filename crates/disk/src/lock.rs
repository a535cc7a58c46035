//! One process at a time: an advisory lock on the directory, and who else holds it.

use std::fs::{File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::StoreError;
use super::holder::holder_of;

/// Held as long as this lives; the system lets go of it when the process ends in whatever way.
#[derive(Debug)]
pub struct DirectoryLock {
    directory: File,
}

impl DirectoryLock {
    /// Locks a directory.
    ///
    /// # Errors
    /// If another process has it, or it cannot be opened.
    pub fn take(directory: &Path) -> Result<Self, StoreError> {
        let file = File::open(directory).map_err(StoreError::system(directory))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = holder_of(directory);
                return Err(StoreError::InUse { path: directory.to_owned(), pid });
            }
            // Some file systems cannot lock directories: then the database's own lock has to do.
            Err(TryLockError::Error(cause)) => {
                tracing::debug!(%cause, "the store's directory cannot be locked");
            }
        }
        Ok(Self { directory: file })
    }

    /// Whether it is this directory that is locked, and not one that had its name before.
    pub fn is_of(&self, directory: &Path) -> bool {
        let place = |found: Metadata| (found.dev(), found.ino());
        let (held, named) = (self.directory.metadata(), std::fs::metadata(directory));
        held.ok().zip(named.ok()).is_some_and(|(held, named)| place(held) == place(named))
    }
}

/// Whether another process holds a lock on a file or directory. Nobody is kept from taking one but
/// for the moment of asking.
pub fn is_locked(path: &Path) -> bool {
    let asked = File::open(path).map(|file| file.try_lock_shared());
    matches!(asked, Ok(Err(TryLockError::WouldBlock)))
}
