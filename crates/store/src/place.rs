//! Where the store is: whether its file, its mark and its directory are still those that were
//! opened. Where they are not, the store is written anew from the file that is still open.
//!
//! Used by the writer alone, before each commit, after it, and once a second when there is none.

use std::path::PathBuf;
use std::sync::Arc;

use disk::{Anchor, DirectoryLock, Look, Standing, StoreError, directory, file, give_name};
use redb::Database;
use tracing::{error, info, warn};

use super::inner::Inner;
use super::mark::MarkFile;
use super::open;
use super::table::{self, FORMAT, KIND};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Place {
    anchor: Anchor,
    /// The file as this process has left it.
    left: Look,
    mark_path: PathBuf,
    mark: Anchor,
    /// Held until the writer has ended.
    lock: DirectoryLock,
}

impl Place {
    /// Of a store that has just been opened.
    pub(super) fn of(
        path: &std::path::Path,
        mark_path: PathBuf,
        lock: DirectoryLock,
    ) -> Result<Self, StoreError> {
        let anchor = Anchor::of(path).map_err(StoreError::system(path))?;
        let left = anchor.look().map_err(StoreError::system(path))?;
        let mark = Anchor::of(&mark_path).map_err(StoreError::system(&mark_path))?;
        Ok(Self { anchor, left, mark_path, mark, lock })
    }

    /// Looks whether everything is where it was, and puts it there if it is gone.
    ///
    /// # Errors
    /// If that is not possible, something else stands there, or the disk cannot be written.
    pub(super) fn check(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let standing = self.anchor.standing().map_err(StoreError::system(&inner.path))?;
        match standing {
            Standing::There => self.check_content(inner)?,
            Standing::Gone => self.rewrite(inner)?,
            Standing::Other => {
                inner.set_lost(true);
                return Err(StoreError::Replaced { path: inner.path.clone() });
            }
        }
        self.check_mark(inner)?;
        inner.set_lost(false);
        Ok(())
    }

    /// Notes how this process has left the file.
    pub(super) fn left(&mut self, inner: &Inner) -> Result<u64, StoreError> {
        self.left = self.anchor.look().map_err(StoreError::system(&inner.path))?;
        Ok(self.left.bytes)
    }

    /// A file that may have been written by somebody else is believed only once it has been checked as a whole. It may also
    /// have been the database itself: while it reads, it moves pages of its own out of memory if they are too many.
    fn check_content(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let look = self.anchor.look().map_err(StoreError::system(&inner.path))?;
        if look == self.left {
            return Ok(());
        }
        inner.close_database();
        let checked = file::existing(&inner.path, KIND, FORMAT)
            .and_then(|database| has_all(&database, inner).map(|()| database));
        match checked {
            Ok(database) => {
                inner.set_database(Some(Arc::new(database)));
                if inner.health().failure.is_none() {
                    let file = inner.path.display();
                    info!(%file, "the store's file was written between two commits: it has been checked, and is whole");
                }
                self.left(inner).map(|_| ())
            }
            Err(cause) => {
                if cause.is_loss() {
                    inner.set_lost(true);
                }
                Err(cause)
            }
        }
    }

    /// Everything that was ever committed, under its name again. The system keeps what was in the
    /// file as long as it is open here, also when a commit has failed meanwhile.
    fn rewrite(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let path = &inner.path;
        if inner.set_lost(true) {
            let file = path.display();
            error!(%file, "the store's file is gone: in force, but nothing of it is on the disk");
        }
        let directory = path.parent().unwrap_or(path);
        directory::make(directory)?;
        let taken = match self.lock.is_of(directory) {
            true => None,
            false => Some(DirectoryLock::take(directory)?),
        };
        inner.close_database();
        let draft = open::beside(path, open::REWRITTEN);
        self.anchor.copy_to(&draft).map_err(StoreError::system(&draft))?;
        let database = file::existing(&draft, KIND, FORMAT)?;
        has_all(&database, inner)?;
        give_name(&draft, path).map_err(StoreError::system(path))?;
        file::sync_directory_of(path)?;
        self.anchor = Anchor::of(path).map_err(StoreError::system(path))?;
        if let Some(lock) = taken {
            self.lock = lock;
        }
        inner.set_database(Some(Arc::new(database)));
        self.left(inner)?;
        inner.note_rewrite();
        info!(file = %path.display(), "the store is written anew, with everything in force");
        Ok(())
    }

    /// The mark is written each time: so a disk that has become read-only is noticed without an
    /// event.
    fn check_mark(&mut self, inner: &Inner) -> Result<(), StoreError> {
        let path = &self.mark_path;
        let system = || StoreError::system(path);
        let standing = self.mark.standing().map_err(system())?;
        if standing != Standing::There {
            warn!(file = %path.display(), "the store's mark is gone: it is written anew");
            if standing == Standing::Other {
                std::fs::remove_file(path).map_err(system())?;
            }
            let file = MarkFile::open(path).map_err(system())?;
            self.mark = Anchor::of(path).map_err(system())?;
            inner.set_mark_file(file);
        }
        inner.write_mark(|_| {}).map_err(system())
    }
}

/// Whether a file has everything that was committed to it.
fn has_all(database: &Database, inner: &Inner) -> Result<(), StoreError> {
    let meta = table::meta(database).map_err(|cause| StoreError::of(&inner.path, cause))?;
    let (found, least) = (meta.unwrap_or_default().commits, inner.health().mark.commits);
    if found >= least {
        return Ok(());
    }
    let cause = format!("somebody has changed it: it has seen {found} commits of {least}");
    Err(StoreError::damaged(&inner.path, cause))
}
