//! The letters on disk: by id, and found by time and by the event's id. Plain and synchronous.

use std::collections::BTreeMap;

use policy::time::UnixMicros;
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};

use super::class::Class;
use super::letter::{Fresh, Letter, Replay};
use super::room::{self, Census, Sum};
use crate::config;
use crate::store::file;

/// What the file says that it keeps.
pub(super) const KIND: &str = "dead letters";
/// Version of the tables and of what is in them.
pub(super) const FORMAT: u64 = 1;
/// Most expired letters that one write removes; the next removes more.
const EXPIRED_MAX: usize = 1_000;

/// Most letters that one write removes for want of room; the next removes more.
const REMOVED_MAX: usize = 10_000;

const LETTERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("letters");
const BY_TIME: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("by_time");
const BY_EVENT: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("by_event");
/// The letters of each group by time, and what each group takes.
const BY_GROUP: TableDefinition<'_, (&str, u64, &str), ()> = TableDefinition::new("by_group");
const GROUPS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("groups");

/// What a write has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Letters there are now.
    pub(super) stored: u64,
    /// What they take.
    pub(super) bytes: u64,
    /// Letters that were dropped, by why.
    pub(super) dropped: BTreeMap<&'static str, u64>,
    /// Those of them that were not garbage, nor doubtful.
    pub(super) good_dropped: u64,
}

/// Which letters to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that came first at this time or later.
    pub from: Option<UnixMicros>,
    /// Only those that came first before this time.
    pub to: Option<UnixMicros>,
    /// Only those of the event with this id.
    pub event_id: Option<String>,
    /// Only those after this place in the order of time and id.
    pub after: Option<(u64, String)>,
}

/// A letter with its id.
pub type Named = (String, Letter);

struct Tables<'a> {
    letters: Table<'a, &'static str, &'static [u8]>,
    by_time: Table<'a, (u64, &'static str), ()>,
    by_event: Table<'a, (&'static str, &'static str), ()>,
    by_group: Table<'a, (&'static str, u64, &'static str), ()>,
    /// What each group takes: read from the file at first, and written to it in the end.
    census: Census,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
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
    fn finish(self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut groups = transaction.open_table(GROUPS)?;
        groups.retain(|_, _| false)?;
        for (group, sum) in self.census.iter().filter(|(_, sum)| sum.letters > 0) {
            groups.insert(group.as_str(), (sum.letters, sum.bytes))?;
        }
        Ok(())
    }

    fn get(&self, id: &str) -> Result<Option<Letter>, redb::Error> {
        let row = self.letters.get(id)?;
        row.map(|row| decode(row.value())).transpose()
    }

    fn put(&mut self, id: &str, letter: &Letter) -> Result<(), redb::Error> {
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

    fn oldest(&self) -> Result<Option<(u64, String)>, redb::Error> {
        let row = self.by_time.first()?;
        Ok(row.map(|(key, _)| (key.value().0, key.value().1.to_owned())))
    }

    fn oldest_of(&self, group: &str) -> Result<Option<(u64, String)>, redb::Error> {
        let Some(row) = self.by_group.range((group, 0, "")..)?.next() else { return Ok(None) };
        let (key, _) = row?;
        let (of, at, id) = key.value();
        Ok((of == group).then(|| (at, id.to_owned())))
    }

    fn remove(&mut self, (first_at, id): &(u64, String)) -> Result<(), redb::Error> {
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
    fn make_room(
        &mut self,
        bounds: &config::DeadLetters,
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

fn decode(bytes: &[u8]) -> Result<Letter, redb::Error> {
    Letter::decode(bytes).map_err(|error| corrupted(&error))
}

fn corrupted(error: &serde_json::Error) -> redb::Error {
    redb::Error::Corrupted(format!("a letter cannot be read or written: {error}"))
}

/// Adds letters, counts those that are there, and drops what is beyond the bounds.
pub(super) fn put(
    database: &Database,
    fresh: &[Fresh],
    bounds: config::DeadLetters,
    now: UnixMicros,
) -> Result<Written, redb::Error> {
    let transaction = file::begin(database)?;
    let mut written = Written::default();
    {
        let mut tables = Tables::open(&transaction)?;
        for fresh in fresh {
            let id = fresh.id();
            match tables.get(id)? {
                Some(mut letter) => {
                    letter.came_again(fresh);
                    tables.put(id, &letter)?;
                }
                None => tables.put(id, &fresh.clone().into())?,
            }
        }
        let expired_before = now.saturating_sub(bounds.retention).0;
        for _ in 0..EXPIRED_MAX {
            let Some(oldest) = tables.oldest()?.filter(|(at, _)| *at < expired_before) else {
                break;
            };
            tables.remove(&oldest)?;
            *written.dropped.entry("age").or_default() += 1;
        }
        tables.make_room(&bounds, &mut written)?;
        let Sum { letters, bytes } = room::everything(&tables.census);
        (written.stored, written.bytes) = (letters, bytes);
        tables.finish(&transaction)?;
    }
    transaction.commit()?;
    Ok(written)
}

/// Notes tries to replay letters; those that are gone meanwhile are left out.
pub(super) fn note(database: &Database, replays: &[(String, Replay)]) -> Result<(), redb::Error> {
    let transaction = file::begin(database)?;
    {
        let mut tables = Tables::open(&transaction)?;
        for (id, replay) in replays {
            if let Some(mut letter) = tables.get(id)? {
                letter.note(replay.clone());
                tables.put(id, &letter)?;
            }
        }
        tables.finish(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}

/// One letter.
pub(super) fn get(database: &Database, id: &str) -> Result<Option<Letter>, redb::Error> {
    let letters = match database.begin_read()?.open_table(LETTERS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        letters => letters?,
    };
    let row = letters.get(id)?;
    row.map(|row| decode(row.value())).transpose()
}

/// At most `limit` letters, the oldest first.
pub(super) fn list(
    database: &Database,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Named>, redb::Error> {
    let transaction = database.begin_read()?;
    let letters = match transaction.open_table(LETTERS) {
        // Nothing has been written to a new file.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        letters => letters?,
    };
    let read = |id: &str| -> Result<Option<Letter>, redb::Error> {
        letters.get(id)?.map(|row| decode(row.value())).transpose()
    };
    let (from, to) = (filter.from.unwrap_or_default().0, filter.to.map_or(u64::MAX, |to| to.0));
    let in_time = |at: u64| (from..to).contains(&at) || (at == to && filter.to.is_none());
    let is_after = |at: u64, id: &str| {
        filter.after.as_ref().is_none_or(|(after, last)| (at, id) > (*after, last.as_str()))
    };
    let mut found = Vec::new();
    if let Some(event_id) = filter.event_id.as_deref() {
        let by_event = transaction.open_table(BY_EVENT)?;
        for row in by_event.range((event_id, "")..)? {
            let (key, _) = row?;
            let (of, id) = key.value();
            if of != event_id {
                break;
            }
            let Some(letter) = read(id)? else { continue };
            if in_time(letter.first_at) && is_after(letter.first_at, id) {
                found.push((id.to_owned(), letter));
            }
        }
        found.sort_by(|(a, x), (b, y)| (x.first_at, a).cmp(&(y.first_at, b)));
        found.truncate(limit);
        return Ok(found);
    }
    let by_time = transaction.open_table(BY_TIME)?;
    let start = filter.after.as_ref().map_or(from, |(after, _)| from.max(*after));
    for row in by_time.range((start, "")..)? {
        let (key, _) = row?;
        let (at, id) = key.value();
        if found.len() >= limit || !in_time(at) {
            break;
        }
        if is_after(at, id)
            && let Some(letter) = read(id)?
        {
            found.push((id.to_owned(), letter));
        }
    }
    Ok(found)
}

/// Removes letters, given when they came first and their ids.
pub(super) fn remove(database: &Database, letters: &[(u64, String)]) -> Result<(), redb::Error> {
    let transaction = file::begin(database)?;
    {
        let mut tables = Tables::open(&transaction)?;
        for letter in letters {
            tables.remove(letter)?;
        }
        tables.finish(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}
