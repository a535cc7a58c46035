//! The tables of the mapping, and how they are copied without what is to be gone.

use disk::file;
use model::subject::Subject;
use model::time::UnixMicros;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

/// `user` or `session` and the id: the pseudonym, and when it was last used in microseconds.
pub(super) const NAMES: TableDefinition<'static, (&str, &str), (&str, u64)> =
    TableDefinition::new("names");
/// The same and a pseudonym that it had, which no shared key gives: when it was last used.
pub(super) const FORMER: TableDefinition<'static, (&str, &str, &str), u64> =
    TableDefinition::new("former");
/// Pseudonyms that shared keys give to somebody who was erased: when that was.
pub(super) const ERASED: TableDefinition<'static, &str, u64> = TableDefinition::new("erased");

/// A table, or nothing if nothing was ever written to it.
pub(super) fn opened<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

/// Whether a pseudonym belongs to nobody any more.
pub(super) fn erased(
    table: Option<&impl ReadableTable<&'static str, u64>>,
    name: &str,
) -> Result<bool, redb::Error> {
    Ok(match table {
        Some(table) => table.get(name)?.is_some(),
        None => false,
    })
}

/// What a copy of the tables is to lack, and what it is to have besides.
pub(super) struct Rewrite<'a> {
    /// Everything of this subject.
    pub(super) without: Option<&'a Subject>,
    /// These belong to nobody, from this instant on.
    pub(super) erased: &'a [&'a String],
    pub(super) now: UnixMicros,
    /// What was not used since then.
    pub(super) before: Option<UnixMicros>,
}

impl Rewrite<'_> {
    pub(super) fn copy(&self, old: &Database, next: &Database) -> Result<(), redb::Error> {
        let transaction = file::begin(next)?;
        let from = old.begin_read()?;
        {
            let mut to = transaction.open_table(NAMES)?;
            if let Some(rows) = opened(from.open_table(NAMES))? {
                for row in rows.iter()? {
                    let (key, value) = row?;
                    let (kind, id) = key.value();
                    if self.keeps((kind, id), value.value().1) {
                        to.insert((kind, id), value.value())?;
                    }
                }
            }
            let mut to = transaction.open_table(FORMER)?;
            if let Some(rows) = opened(from.open_table(FORMER))? {
                for row in rows.iter()? {
                    let (key, used) = row?;
                    let (kind, id, name) = key.value();
                    if self.keeps((kind, id), used.value()) {
                        to.insert((kind, id, name), used.value())?;
                    }
                }
            }
            let mut to = transaction.open_table(ERASED)?;
            if let Some(rows) = opened(from.open_table(ERASED))? {
                for row in rows.iter()? {
                    let (name, at) = row?;
                    // Lines with it are past the retention as well.
                    if self.before.is_none_or(|before| before.0 <= at.value()) {
                        to.insert(name.value(), at.value())?;
                    }
                }
            }
            for name in self.erased {
                to.insert(name.as_str(), self.now.0)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn keeps(&self, (kind, id): (&str, &str), used: u64) -> bool {
        let is_of = |subject: &Subject| subject.kind_name() == kind && subject.id() == id;
        !self.without.is_some_and(is_of) && self.before.is_none_or(|before| before.0 <= used)
    }
}
