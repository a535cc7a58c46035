//! The letters on disk: by id, and found by time and by the event's id. Plain and synchronous.

use std::collections::BTreeMap;

use disk::file;
use model::time::UnixMicros;
use redb::{Database, ReadableDatabase};

use super::letter::{Fresh, Letter, Replay};
use super::room::{self, Sum};
use super::tables::{BY_EVENT, BY_TIME, LETTERS, Tables, decode};
use crate::Bounds;

/// What the file says that it keeps.
pub(super) const KIND: &str = "dead letters";
/// Version of the tables and of what is in them.
pub(super) const FORMAT: u64 = 1;
/// Most expired letters that one write removes; the next removes more.
const EXPIRED_MAX: usize = 1_000;

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

/// Adds letters, counts those that are there, and drops what is beyond the bounds.
pub(super) fn put(
    database: &Database,
    fresh: &[Fresh],
    bounds: Bounds,
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
