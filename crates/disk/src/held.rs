//! A database file beside the state store: opened when it is needed, and looked at each time, so that
//! nothing is written into a file that has lost its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::Database;
use tracing::{error, warn};

use super::anchor::{Anchor, Standing, give_name};
use super::{StoreError, directory, file};

/// See the module's description.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    kind: &'static str,
    format: u64,
    /// What the path has to name, once it was opened.
    anchor: Option<Anchor>,
    /// Nothing while it has to be opened again.
    database: Option<Arc<Database>>,
}

impl Held {
    /// Not opened yet; `kind` and `format` as in [`file::open`].
    #[must_use]
    pub fn new(path: PathBuf, kind: &'static str, format: u64) -> Self {
        Self { path, kind, format, anchor: None, database: None }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database. If its file is gone it is written anew from what is still open of it; another
    /// file in its place is never touched.
    ///
    /// # Errors
    /// If it cannot be opened, made or written anew, or another file stands in its place.
    pub fn get(&mut self) -> Result<Arc<Database>, StoreError> {
        let system = StoreError::system(&self.path);
        let standing = self.anchor.as_ref().map(Anchor::standing).transpose().map_err(system)?;
        match (standing, &self.anchor) {
            (Some(Standing::Other), _) => Err(StoreError::Replaced { path: self.path.clone() }),
            (Some(Standing::Gone), Some(anchor)) => {
                error!(file = %self.path.display(), "the file is gone: it is written anew");
                let database = rewrite(anchor, &self.path, self.kind, self.format)?;
                self.replace(database)
            }
            _ => match &self.database {
                Some(database) => Ok(Arc::clone(database)),
                None => self.replace(file::open(&self.path, self.kind, self.format)?),
            },
        }
    }

    /// Lets go of the database after an error: it is opened, and so checked, again.
    pub fn close(&mut self) {
        self.database = None;
    }

    /// Puts another database in its place, which has its name by now.
    ///
    /// # Errors
    /// If the file cannot be found again.
    pub fn replace(&mut self, database: Database) -> Result<Arc<Database>, StoreError> {
        self.anchor = Some(Anchor::of(&self.path).map_err(StoreError::system(&self.path))?);
        let database = Arc::new(database);
        self.database = Some(Arc::clone(&database));
        Ok(database)
    }
}

/// What is in a file without a name, under its name again. What is damaged is made new and empty:
/// this is for what is not needed to enforce anything.
fn rewrite(anchor: &Anchor, path: &Path, kind: &str, format: u64) -> Result<Database, StoreError> {
    let draft = file::draft_of(path);
    directory::make(path.parent().unwrap_or(path))?;
    anchor.copy_to(&draft).map_err(StoreError::system(&draft))?;
    let database = match file::existing(&draft, kind, format) {
        Err(cause) if cause.is_loss() => {
            warn!(file = %path.display(), %cause, "nothing of it can be read: it begins anew");
            return file::create(path, kind, format, |_| Ok(()));
        }
        database => database?,
    };
    give_name(&draft, path).map_err(StoreError::system(path))?;
    file::sync_directory_of(path)?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use redb::ReadableDatabase;

    use super::*;
    use crate::file::{META, begin};

    fn put(held: &mut Held, number: u8) {
        let database = held.get().unwrap();
        let transaction = begin(&database).unwrap();
        transaction.open_table(META).unwrap().insert("number", [number].as_slice()).unwrap();
        transaction.commit().unwrap();
    }

    fn number(held: &mut Held) -> u8 {
        let meta = held.get().unwrap().begin_read().unwrap().open_table(META).unwrap();
        meta.get("number").unwrap().unwrap().value()[0]
    }

    #[test]
    fn a_file_without_its_name_is_written_anew_with_all_that_was_in_it() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().join("store");
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("some.redb");
        let mut held = Held::new(path.clone(), "some", 1);
        put(&mut held, 1);
        std::fs::remove_file(&path).unwrap();
        put(&mut held, 2);
        std::fs::rename(&directory, temporary.path().join("away")).unwrap();
        assert_eq!(number(&mut held), 2);
        // Also if it is not open when that is noticed.
        held.close();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(number(&mut held), 2);
        drop(held);
        assert_eq!(number(&mut Held::new(path, "some", 1)), 2);
    }

    #[test]
    fn another_file_in_its_place_is_not_touched() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("some.redb");
        let mut held = Held::new(path.clone(), "some", 1);
        put(&mut held, 1);
        let away = temporary.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        std::fs::write(&path, "other").unwrap();
        assert!(matches!(held.get(), Err(StoreError::Replaced { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        std::fs::rename(&away, &path).unwrap();
        assert_eq!(number(&mut held), 1);
    }
}
