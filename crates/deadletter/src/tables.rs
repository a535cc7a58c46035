//! The tables of the letters, and what each group of letters takes in them. Plain and synchronous.

use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use super::class::Class;
use super::letter::Letter;
use super::room::{self, Census, Sum};
use super::table::Written;
use crate::Bounds;

/// Most letters that one write removes for want of room; the next removes more.
const REMOVED_MAX: usize = 10_000;

pub(super) const LETTERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("letters");
pub(super) const BY_TIME: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("by_time");
pub(super) const BY_EVENT: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("by_event");
/// The letters of each group by time, and what each group takes.
const BY_GROUP: TableDefinition<'_, (&str, u64, &str), ()> = TableDefinition::new("by_group");
const GROUPS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("groups");

/// The tables, open for writing.
pub(super) struct Tables<'a> {
    letters: Table<'a, &'static str, &'static [u8]>,
    by_time: Table<'a, (u64, &'static str), ()>,
    by_event: Table<'a, (&'static str, &'static str), ()>,
    by_group: Table<'a, (&'static str, u64, &'static str), ()>,
    /// What each group takes: read from the file at first, and written to it in the end.
    pub(super) census: Census,
}

impl<'a> Tables<'a> {
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        let mut tables = Self {
            letters: transaction.open_table(LETTERS)?,
            by_time: transaction.open_table(BY_TIME)?,
            by_event: transaction.open_table(BY_EVENT)?,
            by_group: transaction.open_table(BY_GROUP)?,
            census: Census::default(),
        };
        for row in transaction.open_table(GROUPS)?.iter()? {
            let (group, sum) = row?;
            let (letters, bytes) = sum.value();
            tables.census.insert(group.value().to_owned(), Sum { letters, bytes });
        }
        if room::everything(&tables.census).letters != tables.letters.len()? {
            tables.count_again()?;
        }
        Ok(tables)
    }

    /// A file that an older version has written to.
    fn count_again(&mut self) -> Result<(), redb::Error> {
        self.census.clear();
        self.by_group.retain(|_, ()| false)?;
        for row in self.letters.iter()? {
            let (id, row) = row?;
            let letter = decode(row.value())?;
            let group = letter.group();
            self.by_group.insert((group.as_str(), letter.first_at, id.value()), ())?;
            self.census.entry(group).or_default().add(size(row.value()));
        }
        Ok(())
    }

    /// Writes down what each group takes.
    pub(super) fn finish(self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut groups = transaction.open_table(GROUPS)?;
        groups.retain(|_, _| false)?;
        for (group, sum) in self.census.iter().filter(|(_, sum)| sum.letters > 0) {
            groups.insert(group.as_str(), (sum.letters, sum.bytes))?;
        }
        Ok(())
    }

    pub(super) fn get(&self, id: &str) -> Result<Option<Letter>, redb::Error> {
        let row = self.letters.get(id)?;
        row.map(|row| decode(row.value())).transpose()
    }

    pub(super) fn put(&mut self, id: &str, letter: &Letter) -> Result<(), redb::Error> {
        let bytes = letter.encode().map_err(|error| corrupted(&error))?;
        let before = self.letters.insert(id, bytes.as_slice())?.map(|row| size(row.value()));
        let group = letter.group();
        self.by_time.insert((letter.first_at, id), ())?;
        self.by_group.insert((group.as_str(), letter.first_at, id), ())?;
        if let Some(event_id) = letter.event_id.as_deref() {
            self.by_event.insert((event_id, id), ())?;
        }
        let sum = self.census.entry(group).or_default();
        if let Some(before) = before {
            sum.take(before);
        }
        sum.add(size(&bytes));
        Ok(())
    }

    pub(super) fn oldest(&self) -> Result<Option<(u64, String)>, redb::Error> {
        let row = self.by_time.first()?;
        Ok(row.map(|(key, _)| (key.value().0, key.value().1.to_owned())))
    }

    fn oldest_of(&self, group: &str) -> Result<Option<(u64, String)>, redb::Error> {
        let Some(row) = self.by_group.range((group, 0, "")..)?.next() else { return Ok(None) };
        let (key, _) = row?;
        let (of, at, id) = key.value();
        Ok((of == group).then(|| (at, id.to_owned())))
    }

    pub(super) fn remove(&mut self, (first_at, id): &(u64, String)) -> Result<(), redb::Error> {
        self.by_time.remove((*first_at, id.as_str()))?;
        let removed = self.letters.remove(id.as_str())?;
        let removed = removed.map(|row| Ok((decode(row.value())?, size(row.value())))).transpose();
        let Some((letter, bytes)) = removed.map_err(|error: redb::Error| error)? else {
            return Ok(());
        };
        if let Some(event_id) = letter.event_id.as_deref() {
            self.by_event.remove((event_id, id.as_str()))?;
        }
        let group = letter.group();
        self.by_group.remove((group.as_str(), letter.first_at, id.as_str()))?;
        self.census.entry(group).or_default().take(bytes);
        Ok(())
    }

    /// Removes what is beyond the bounds.
    pub(super) fn make_room(
        &mut self,
        bounds: &Bounds,
        written: &mut Written,
    ) -> Result<(), redb::Error> {
        for _ in 0..REMOVED_MAX {
            let Some((group, why)) = room::victim(&self.census, bounds) else { return Ok(()) };
            let Some(oldest) = self.oldest_of(&group)? else {
                // The counts are not those of the letters: somebody else has written to the file.
                return self.count_again();
            };
            self.remove(&oldest)?;
            let dropped = written.dropped.entry(why).or_default();
            *dropped = dropped.saturating_add(1);
            if !Class::of_group(&group).is_low() {
                written.good_dropped = written.good_dropped.saturating_add(1);
            }
        }
        Ok(())
    }
}

fn size(row: &[u8]) -> u64 {
    u64::try_from(row.len()).unwrap_or(u64::MAX)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Letter, redb::Error> {
    Letter::decode(bytes).map_err(|error| corrupted(&error))
}

fn corrupted(error: &serde_json::Error) -> redb::Error {
    redb::Error::Corrupted(format!("a letter cannot be read or written: {error}"))
}
