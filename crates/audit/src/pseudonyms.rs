//! Who is who in the audit log: pseudonyms for users and sessions, and the mapping to their ids.
//!
//! Without keys that daemons share a pseudonym is random, and the mapping is the only place that leads from one to the
//! other, so removing an entry from it makes every line about its subject a line about nobody. Removed entries do not
//! stay behind in free pages of the file: it is written anew without them.
//!
//! With such keys ([`shared`]) pseudonyms are computed. Who was erased is remembered by the pseudonyms that belong to
//! nobody now, and gets a random one until another key begins, so that no new line leads to the old ones.

mod resolve;
mod shared;
mod tables;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use disk::{Held, StoreError, file};
use model::subject::Subject;
use model::time::UnixMicros;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use thiserror::Error;

use super::entry::About;
pub use shared::SharedKeys;
use tables::{ERASED, FORMER, NAMES, Rewrite, erased, opened};

/// Name of the file in the store's directory.
pub const FILE: &str = "pseudonyms.redb";
/// The file while it is written anew.
const NEXT_FILE: &str = "pseudonyms.next.redb";
const KIND: &str = "pseudonyms";
const FORMAT: u64 = 1;
/// Bytes of a pseudonym: no two will ever be the same.
const PSEUDONYM_BYTES: usize = 12;
/// Most pseudonyms that are at hand without reading the file.
const RECENT_MAX: usize = 16_384;
/// What sorts behind every pseudonym.
const LAST: &str = "q";
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
    recent: Mutex<Recent>,
    shared: RwLock<Arc<SharedKeys>>,
}

/// Pseudonyms that are at hand.
#[derive(Debug, Default)]
struct Recent {
    names: HashMap<Subject, Arc<str>>,
    /// Since when the key has been in use under which they were given.
    since: Option<UnixMicros>,
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
        let (recent, shared) = (Mutex::default(), RwLock::default());
        let names = Self { path, names_max, held, recent, shared };
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

    /// Puts keys in force that all daemons share.
    pub fn share(&self, keys: SharedKeys) {
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        *self.lock_recent() = Recent::default();
    }

    /// The keys that all daemons share.
    #[must_use]
    pub fn shared(&self) -> Arc<SharedKeys> {
        Arc::clone(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A subject's pseudonym, if it has one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, subject: &Subject) -> Result<Option<String>, NamesError> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let Some(table) = opened(transaction.open_table(NAMES))? else { return Ok(None) };
            let row = table.get((subject.kind_name(), subject.id()))?;
            Ok(row.map(|row| row.value().0.to_owned()))
        })
    }

    /// Every pseudonym under which lines can be about a subject, the newest first: the one it has, those that it had,
    /// and those that it has by keys that daemons share. None that was erased.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find_all(&self, subject: &Subject, now: UnixMicros) -> Result<Vec<String>, NamesError> {
        let mut names: Vec<String> = self.find(subject)?.into_iter().collect();
        let computed = self.shared().names(subject, now);
        let (kind, id) = (subject.kind_name(), subject.id());
        self.with(|database| {
            let transaction = database.begin_read()?;
            let erased_names = opened(transaction.open_table(ERASED))?;
            for name in computed {
                if !erased(erased_names.as_ref(), &name)? {
                    names.push(name);
                }
            }
            if let Some(former) = opened(transaction.open_table(FORMER))? {
                for row in former.range((kind, id, "")..=(kind, id, LAST))? {
                    names.push(row?.0.value().2.to_owned());
                }
            }
            Ok(())
        })?;
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    /// A subject's pseudonym, if it is at hand: never waits for the disk.
    pub(super) fn recent(&self, subject: &Subject) -> Option<Arc<str>> {
        self.lock_recent().names.get(subject).map(Arc::clone)
    }

    fn lock_recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps at hand what is on disk.
    fn remember(&self, abouts: &[&About], names: &[String], now: UnixMicros) {
        let since = self.shared().in_use_since(now);
        let mut recent = self.lock_recent();
        if recent.since != since {
            // Another key has begun.
            *recent = Recent { since, ..Recent::default() };
        }
        for (about, name) in abouts.iter().zip(names).filter(|(_, name)| *name != UNKNOWN) {
            if recent.names.len() >= RECENT_MAX {
                recent.names.clear();
            }
            if recent.names.get(about.subject()).is_none_or(|known| **known != **name) {
                recent.names.insert(about.subject().clone(), name.as_str().into());
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
            opened(transaction.open_table(NAMES))?.map_or(Ok(0), |table| Ok(table.len()?))
        })
    }

    /// Takes a subject's pseudonyms away, and gives them, the one that it had last first; none if there was none. Those
    /// that shared keys give belong to nobody from now on.
    ///
    /// # Errors
    /// If the file cannot be written: the subject has them still.
    pub(super) fn erase(
        &self,
        subject: &Subject,
        now: UnixMicros,
    ) -> Result<Vec<String>, NamesError> {
        let names = self.find_all(subject, now)?;
        let computed = self.shared().names(subject, now);
        let erased: Vec<&String> = names.iter().filter(|name| computed.contains(name)).collect();
        if names.is_empty() {
            return Ok(names);
        }
        let rewritten =
            self.rewrite(Rewrite { without: Some(subject), erased: &erased, now, before: None });
        // Also after an error, which may have come when the file was replaced already.
        self.lock_recent().names.remove(subject);
        rewritten?;
        Ok(names)
    }

    /// Removes those that were not used since then, and says how many.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn expire(&self, before: UnixMicros, now: UnixMicros) -> Result<u64, NamesError> {
        let is_expired = |used: u64| used < before.0;
        let expired = self.with(|database| {
            let transaction = database.begin_read()?;
            let mut expired: u64 = 0;
            if let Some(table) = opened(transaction.open_table(NAMES))? {
                for row in table.iter()? {
                    expired = expired.saturating_add(u64::from(is_expired(row?.1.value().1)));
                }
            }
            if let Some(table) = opened(transaction.open_table(FORMER))? {
                for row in table.iter()? {
                    expired = expired.saturating_add(u64::from(is_expired(row?.1.value())));
                }
            }
            Ok(expired)
        })?;
        if expired > 0 {
            let before = Some(before);
            let rewritten = self.rewrite(Rewrite { without: None, erased: &[], now, before });
            *self.lock_recent() = Recent::default();
            rewritten?;
        }
        Ok(expired)
    }

    /// Writes the file anew with what is to be kept, and puts it in the place of the old one.
    fn rewrite(&self, what: Rewrite<'_>) -> Result<(), NamesError> {
        let mut held = self.lock();
        self.remove_leftover()?;
        let draft = self.path.with_file_name(NEXT_FILE);
        let old = held.get()?;
        let next = file::open(&draft, KIND, FORMAT)?;
        what.copy(&old, &next)?;
        std::fs::rename(&draft, &self.path)?;
        held.replace(next)?;
        let directory = self.path.parent().unwrap_or(&self.path);
        Ok(super::directory::sync(directory)?)
    }
}

#[cfg(test)]
mod tests;
