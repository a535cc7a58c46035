//! The tables of the state store, and one transaction on them.
//!
//! `events` has a record for each event that is not overtaken yet, by subject and event id. `meta`
//! says how many there are and how often something was committed, so that a file which is whole
//! but not the newest is noticed; and up to where each source has been read.

use std::collections::BTreeMap;
use std::path::Path;

use disk::StoreError;
use disk::file::{self, META};
use events::record::{Record, RecordError};
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::pending::{Batch, Change, Identity};

/// What the state store's file says of itself.
pub(super) const KIND: &str = "state";
/// Version of these tables.
pub(super) const FORMAT: u64 = 1;

pub(super) const EVENTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("events");
const EVENTS_ROW: &str = "events";
const COMMITS_ROW: &str = "commits";
const CREATED_ROW: &str = "created_at";
const POSITION_PREFIX: &str = "position:";
/// Longest position of a source that is read back, in bytes.
const POSITION_BYTES_MAX: usize = 256;

/// One event, as the store gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// Whom it is about.
    pub subject: Subject,
    /// Its id.
    pub event_id: EventId,
    /// The event itself.
    pub record: Record,
}

/// What `meta` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) events: u64,
    pub(super) commits: u64,
    pub(super) created_at: UnixMicros,
    pub(super) positions: BTreeMap<Box<str>, Box<str>>,
}

/// Makes the tables in a new file.
pub(super) fn initialize(database: &Database, now: UnixMicros) -> Result<(), redb::Error> {
    let transaction = file::begin(database)?;
    {
        transaction.open_table(EVENTS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(CREATED_ROW, now.0.to_le_bytes().as_slice())?;
        meta.insert(EVENTS_ROW, 0_u64.to_le_bytes().as_slice())?;
        meta.insert(COMMITS_ROW, 1_u64.to_le_bytes().as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}

/// Writes a batch; it is on the disk as a whole when this returns. Answers with the number of
/// events kept and of commits made.
pub(super) fn commit(database: &Database, batch: &Batch) -> Result<(u64, u64), redb::Error> {
    let transaction = file::begin(database)?;
    let totals = {
        let mut events = transaction.open_table(EVENTS)?;
        for ((subject, event_id), change) in &batch.changes {
            let subject = subject.to_text();
            let key = (subject.as_str(), event_id.as_str());
            match change {
                Change::Save(record) => drop(events.insert(key, &**record)?),
                Change::Forget => drop(events.remove(key)?),
            }
        }
        let mut meta = transaction.open_table(META)?;
        for (source, position) in &batch.positions {
            meta.insert(format!("{POSITION_PREFIX}{source}").as_str(), position.as_bytes())?;
        }
        let commits = meta.get(COMMITS_ROW)?.and_then(|row| number(row.value()));
        let commits = commits.unwrap_or_default().saturating_add(1);
        let count = events.len()?;
        meta.insert(COMMITS_ROW, commits.to_le_bytes().as_slice())?;
        meta.insert(EVENTS_ROW, count.to_le_bytes().as_slice())?;
        (count, commits)
    };
    transaction.commit()?;
    Ok(totals)
}

/// Reads `meta`; nothing if a row is missing that every store has.
pub(super) fn meta(database: &Database) -> Result<Option<Meta>, redb::Error> {
    let table = database.begin_read()?.open_table(META)?;
    let row = |name| Ok::<_, redb::Error>(table.get(name)?.and_then(|row| number(row.value())));
    let (events, commits, created_at) = (row(EVENTS_ROW)?, row(COMMITS_ROW)?, row(CREATED_ROW)?);
    let (Some(events), Some(commits), Some(created_at)) = (events, commits, created_at) else {
        return Ok(None);
    };
    let mut meta = Meta { events, commits, created_at: UnixMicros(created_at), ..Meta::default() };
    for entry in table.iter()? {
        let (name, value) = entry?;
        let Some(source) = name.value().strip_prefix(POSITION_PREFIX) else { continue };
        let value = value.value();
        let text = std::str::from_utf8(value).ok().filter(|_| value.len() <= POSITION_BYTES_MAX);
        let Some(text) = text else { return Ok(None) };
        meta.positions.insert(source.into(), text.into());
    }
    Ok(Some(meta))
}

/// The record of one event, if it is kept and whole.
pub(super) fn get(database: &Database, identity: &Identity) -> Result<Option<Record>, redb::Error> {
    let (subject, event_id) = identity;
    let table = database.begin_read()?.open_table(EVENTS)?;
    let row = table.get((subject.to_text().as_str(), event_id.as_str()))?;
    Ok(row.and_then(|row| Record::decode(row.value()).ok()))
}

/// Gives every kept event to `take`, in the order of subjects.
///
/// # Errors
/// The first that is damaged, or that `take` refuses, or if there are not as many as there were.
pub(super) fn each(
    database: &Database,
    path: &Path,
    expected: u64,
    mut take: impl FnMut(KeptEvent) -> Result<(), String>,
) -> Result<(), StoreError> {
    let of = |cause: redb::Error| StoreError::of(path, cause);
    let read = || Ok::<_, redb::Error>(database.begin_read()?.open_table(EVENTS)?);
    let table = read().map_err(of)?;
    let mut count = 0_u64;
    for entry in table.iter().map_err(|cause| of(cause.into()))? {
        let (key, value) = entry.map_err(|cause| of(cause.into()))?;
        let kept = kept(key.value(), value.value(), path)?;
        let event_id = kept.event_id.clone();
        take(kept)
            .map_err(|cause| StoreError::damaged(path, format!("event {event_id}: {cause}")))?;
        count = count.saturating_add(1);
    }
    if count == expected {
        return Ok(());
    }
    Err(StoreError::damaged(path, format!("it holds {count} events and should hold {expected}")))
}

/// One row as an event.
pub(super) fn kept(
    (subject, event_id): (&str, &str),
    value: &[u8],
    path: &Path,
) -> Result<KeptEvent, StoreError> {
    let record = Record::decode(value).map_err(|cause| of_record(path, cause))?;
    let (subject, event_id) = (Subject::from_text(subject), EventId::parse(event_id));
    let (Some(subject), Some(event_id)) = (subject, event_id) else {
        return Err(StoreError::damaged(path, "a record has a key that is none"));
    };
    Ok(KeptEvent { subject, event_id, record })
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// What is wrong with a record in this file.
pub(super) fn of_record(path: &Path, cause: RecordError) -> StoreError {
    match cause {
        RecordError::Version(version) => StoreError::Format {
            path: path.to_owned(),
            found: format!("a record of version {version}"),
            known: format!("records of version {}", events::record::RECORD_VERSION),
        },
        cause => StoreError::damaged(path, cause),
    }
}
