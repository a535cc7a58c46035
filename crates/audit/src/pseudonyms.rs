//! Who is who in the audit log: random names for users and sessions, and the mapping to their ids.
//!
//! The mapping is the only place that leads from one to the other, so removing an entry from it
//! makes every line about its subject a line about nobody. Removed entries do not stay behind in
//! free pages of the file: it is written anew without them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use disk::{Held, StoreError, file};
use model::subject::Subject;
use model::time::UnixMicros;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use thiserror::Error;

use super::entry::About;

/// Name of the file in the store's directory.
pub const FILE: &str = "pseudonyms.redb";
/// The file while it is written anew.
const NEXT_FILE: &str = "pseudonyms.next.redb";
const KIND: &str = "pseudonyms";
const FORMAT: u64 = 1;
/// `user` or `session` and the id: the pseudonym, and when it was last used in microseconds.
const NAMES: TableDefinition<'_, (&str, &str), (&str, u64)> = TableDefinition::new("names");
/// Random bytes of a pseudonym: no two will ever be the same.
const RANDOM_BYTES: usize = 12;
/// How much older than now the noted last use may be: so it is not written for every line.
const LAST_USE_STEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Most pseudonyms that are at hand without reading the file.
const RECENT_MAX: usize = 16_384;
/// What stands for somebody who was looked for and has no pseudonym.
pub const UNKNOWN: &str = "unknown";

/// Why the mapping cannot be used.
#[derive(Debug, Error)]
pub enum NamesError {
    /// The file cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be read or written.
    #[error("pseudonyms: {0}")]
    Database(#[from] redb::Error),
    /// The system does not do what is needed.
    #[error("pseudonyms: {0}")]
    System(#[from] io::Error),
}

/// The mapping.
#[derive(Debug)]
pub struct Names {
    path: PathBuf,
    names_max: u64,
    held: Mutex<Held>,
    /// Some of those that are on disk.
    recent: Mutex<HashMap<Subject, Arc<str>>>,
}

/// What became of some look-ups.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The pseudonyms, in the order of the subjects.
    pub(super) names: Vec<String>,
    /// How many of them are not kept, since there is no room: they lead to nobody.
    pub(super) unkept: u64,
}

impl Names {
    /// Opens the mapping in the store's directory, or makes an empty one.
    ///
    /// # Errors
    /// If the file is damaged, of another format, or in use.
    pub fn open(directory: &Path, names_max: usize) -> Result<Self, NamesError> {
        let path = directory.join(FILE);
        let held = Mutex::new(Held::new(path.clone(), KIND, FORMAT));
        let names_max = u64::try_from(names_max).unwrap_or(u64::MAX);
        let names = Self { path, names_max, held, recent: Mutex::default() };
        names.check()?;
        names.remove_leftover()?;
        Ok(names)
    }

    fn remove_leftover(&self) -> io::Result<()> {
        match std::fs::remove_file(self.path.with_file_name(NEXT_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether the file is where it was, and writes it anew if it is gone.
    pub(super) fn check(&self) -> Result<(), NamesError> {
        self.lock().get()?;
        Ok(())
    }

    fn with<T>(
        &self,
        then: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, NamesError> {
        let mut held = self.lock();
        let done = then(&*held.get()?);
        if done.is_err() {
            // The library refuses everything until the file is opened anew.
            held.close();
        }
        Ok(done?)
    }

    /// A subject's pseudonym, if it has one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, subject: &Subject) -> Result<Option<String>, NamesError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(NAMES) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            let row = table.get((subject.kind_name(), subject.id()))?;
            Ok(row.map(|row| row.value().0.to_owned()))
        })
    }

    /// A subject's pseudonym, if it is at hand: never waits for the disk.
    pub(super) fn recent(&self, subject: &Subject) -> Option<Arc<str>> {
        self.lock_recent().get(subject).map(Arc::clone)
    }

    fn lock_recent(&self) -> MutexGuard<'_, HashMap<Subject, Arc<str>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps at hand what is on disk.
    fn remember(&self, abouts: &[&About], names: &[String]) {
        let mut recent = self.lock_recent();
        for (about, name) in abouts.iter().zip(names).filter(|(_, name)| *name != UNKNOWN) {
            if recent.len() >= RECENT_MAX {
                recent.clear();
            }
            if !recent.contains_key(about.subject()) {
                recent.insert(about.subject().clone(), name.as_str().into());
            }
        }
    }

    /// How many subjects have one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn count(&self) -> Result<u64, NamesError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            match transaction.open_table(NAMES) {
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
                table => Ok(table?.len()?),
            }
        })
    }

    /// The pseudonyms of some subjects. Who was named by an event gets one; it is on disk when this
    /// returns, so that no line ever has one that leads to nobody.
    ///
    /// # Errors
    /// If the file cannot be written: nothing has changed then.
    pub(super) fn resolve(
        &self,
        abouts: &[&About],
        now: UnixMicros,
    ) -> Result<Resolved, NamesError> {
        if let Some(names) = self.resolve_known(abouts, now)? {
            self.remember(abouts, &names);
            return Ok(Resolved { names, unkept: 0 });
        }
        let mut fresh = Vec::new();
        for _ in abouts {
            fresh.push(random().map_err(io::Error::from)?);
        }
        let resolved = self.with(|database| {
            let transaction = file::begin(database)?;
            let mut resolved = Resolved::default();
            {
                let mut table = transaction.open_table(NAMES)?;
                for (about, fresh) in abouts.iter().zip(fresh) {
                    let key = (about.subject().kind_name(), about.subject().id());
                    let known = table.get(key)?.map(|row| row.value().0.to_owned());
                    let name = match (known, about) {
                        (None, About::LookedFor(_)) => UNKNOWN.to_owned(),
                        (None, About::Named(_)) if table.len()? >= self.names_max => {
                            resolved.unkept = resolved.unkept.saturating_add(1);
                            fresh
                        }
                        (known, About::Named(_)) => {
                            let name = known.unwrap_or(fresh);
                            table.insert(key, (&*name, now.0))?;
                            name
                        }
                        (Some(name), About::LookedFor(_)) => name,
                    };
                    resolved.names.push(name);
                }
            }
            transaction.commit()?;
            Ok(resolved)
        })?;
        // One that is not kept is another one the next time.
        if resolved.unkept == 0 {
            self.remember(abouts, &resolved.names);
        }
        Ok(resolved)
    }

    /// The pseudonyms if nothing has to be written for them.
    fn resolve_known(
        &self,
        abouts: &[&About],
        now: UnixMicros,
    ) -> Result<Option<Vec<String>>, NamesError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(NAMES) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            let mut names = Vec::new();
            for about in abouts {
                let row = table.get((about.subject().kind_name(), about.subject().id()))?;
                let row = row.as_ref().map(|row| row.value());
                match (about, row) {
                    (About::Named(_), Some((name, used)))
                        if now.since(UnixMicros(used)) < LAST_USE_STEP =>
                    {
                        names.push(name.to_owned());
                    }
                    (About::LookedFor(_), Some((name, _))) => names.push(name.to_owned()),
                    (About::LookedFor(_), None) => names.push(UNKNOWN.to_owned()),
                    (About::Named(_), _) => return Ok(None),
                }
            }
            Ok(Some(names))
        })
    }

    /// Takes a subject's pseudonym away, and gives it; nothing if there was none.
    ///
    /// # Errors
    /// If the file cannot be written: the subject has it still.
    pub(super) fn erase(&self, subject: &Subject) -> Result<Option<String>, NamesError> {
        let Some(name) = self.find(subject)? else { return Ok(None) };
        let (kind, id) = (subject.kind_name(), subject.id());
        let rewritten = self.rewrite(|key, _| key != (kind, id));
        // Also after an error, which may have come when the file was replaced already.
        self.lock_recent().remove(subject);
        rewritten?;
        Ok(Some(name))
    }

    /// Removes those that were not used since then, and says how many.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn expire(&self, before: UnixMicros) -> Result<u64, NamesError> {
        let is_expired = |used: u64| used < before.0;
        let expired = self.with(|database| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(NAMES) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
                table => table?,
            };
            let mut expired: u64 = 0;
            for row in table.iter()? {
                expired = expired.saturating_add(u64::from(is_expired(row?.1.value().1)));
            }
            Ok(expired)
        })?;
        if expired > 0 {
            let rewritten = self.rewrite(|_, used| !is_expired(used));
            self.lock_recent().clear();
            rewritten?;
        }
        Ok(expired)
    }

    /// Writes the file anew with what is to be kept, and puts it in the place of the old one.
    fn rewrite(&self, keep: impl Fn((&str, &str), u64) -> bool) -> Result<(), NamesError> {
        let mut held = self.lock();
        self.remove_leftover()?;
        let draft = self.path.with_file_name(NEXT_FILE);
        let old = held.get()?;
        let next = file::open(&draft, KIND, FORMAT)?;
        copy(&old, &next, keep)?;
        std::fs::rename(&draft, &self.path)?;
        held.replace(next)?;
        let directory = self.path.parent().unwrap_or(&self.path);
        Ok(super::directory::sync(directory)?)
    }
}

fn copy(
    old: &Database,
    next: &Database,
    keep: impl Fn((&str, &str), u64) -> bool,
) -> Result<(), redb::Error> {
    let transaction = file::begin(next)?;
    {
        let mut to = transaction.open_table(NAMES)?;
        let from = old.begin_read()?.open_table(NAMES)?;
        for row in from.iter()? {
            let (key, value) = row?;
            if keep(key.value(), value.value().1) {
                to.insert(key.value(), value.value())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("p{}", base16ct::lower::encode_string(&bytes)))
}

#[cfg(test)]
mod tests;
