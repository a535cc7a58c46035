//! Notices that the log is not where it was: the current file, its directory or the lock was
//! removed, renamed or replaced while the daemon has them open. What is gone is written anew from
//! what is still open; another file in its place is not touched.

use std::io;

use disk::{Anchor, Standing, give_name};

use super::current::Current;
use super::directory;
use super::files::Files;

/// Where the current file is written anew before it has its name.
const DRAFT: &str = "current.new";

impl Files {
    /// Looks whether everything is where it was. Says in words what was gone and is there again.
    ///
    /// # Errors
    /// If it cannot be put back, or something else stands there.
    pub(super) fn check(&mut self) -> io::Result<Option<String>> {
        if !self.keeping.directory.try_exists()? {
            directory::create(&self.keeping.directory)?;
        }
        self.check_lock()?;
        let Some(current) = &self.current else { return Ok(None) };
        let name = &current.log.name;
        match current.anchor.standing()? {
            Standing::There if current.anchor.look()?.bytes < current.length => {
                Err(io::Error::other(format!("{name} was cut short by somebody else")))
            }
            Standing::There => Ok(None),
            Standing::Other => {
                let what = "another file stands in its place, and is not touched: remove it";
                Err(io::Error::other(format!("{name}: {what}")))
            }
            Standing::Gone => {
                let cause = format!("{name} was gone, and was written anew");
                let log = current.log.clone();
                let draft = self.keeping.directory.join(DRAFT);
                current.anchor.copy_to(&draft)?;
                give_name(&draft, &self.keeping.directory.join(&log.name))?;
                directory::sync(&self.keeping.directory)?;
                let (file, _) = directory::open_to_append(&self.keeping.directory, &log)?;
                let anchor = Anchor::of(&self.keeping.directory.join(&log.name))?;
                let (length, begun) = (current.length, current.begun);
                self.current = Some(Current::new(file, anchor, log, length, begun));
                Ok(Some(cause))
            }
        }
    }

    fn check_lock(&mut self) -> io::Result<()> {
        if self.lock.1.standing()? == Standing::There {
            return Ok(());
        }
        let directory = &self.keeping.directory;
        let lock = directory::lock(directory)?;
        let lock = lock.ok_or_else(|| {
            io::Error::other(format!("{} is in use by another process", directory.display()))
        })?;
        self.lock = (lock, Anchor::of(&directory::lock_path(directory))?);
        Ok(())
    }
}
