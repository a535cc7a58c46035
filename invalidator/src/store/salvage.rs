//! Reads what can be read of a damaged store.
//!
//! The database library checks a file that it opens in earnest. A damaged one has to be read
//! without that check, and then the library may panic; so it is read on threads that may die.

use std::collections::BTreeMap;
use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use redb::{Builder, ReadOnlyDatabase, ReadableDatabase, ReadableTable};
use tracing::warn;

use super::StoreError;
use super::keeper::KeptEvent;
use super::pending::Identity;
use super::table::{self, EVENTS};

/// Name of the threads that may die.
const THREAD: &str = "store-salvage";
/// Events on their way from such a thread.
const CHANNEL_EVENTS_MAX: usize = 1_024;

/// Every event in the file whose record is whole. `copy` is where a copy may be put for a while.
pub(super) fn read(path: &Path, copy: &Path) -> Result<Vec<KeptEvent>, StoreError> {
    let mut found: BTreeMap<Identity, KeptEvent> = BTreeMap::new();
    for backwards in [false, true] {
        // Opening it may write to it: what the operator may want to look at stays as it is.
        std::fs::copy(path, copy).map_err(StoreError::system(copy))?;
        for event in from_thread(copy, backwards) {
            found.insert((event.subject.clone(), event.event_id.clone()), event);
        }
        std::fs::remove_file(copy).map_err(StoreError::system(copy))?;
    }
    Ok(found.into_values().collect())
}

fn from_thread(path: &Path, backwards: bool) -> Vec<KeptEvent> {
    let (sender, receiver) = sync_channel(CHANNEL_EVENTS_MAX);
    let path = path.to_owned();
    let last_words = sender.clone();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| on_panic(info, &last_words)));
    let reader = move || {
        if let Err(cause) = send_all(&path, backwards, &sender) {
            warn!(%cause, "the damaged store cannot be read to its end");
        }
        let _ = sender.send(None);
    };
    let started = thread::Builder::new().name(THREAD.to_owned()).spawn(reader);
    let events = if started.is_ok() { until_none(&receiver) } else { Vec::new() };
    panic::set_hook(hook);
    events
}

fn until_none(receiver: &Receiver<Option<KeptEvent>>) -> Vec<KeptEvent> {
    receiver.iter().map_while(|event| event).collect()
}

/// A panic ends the whole program where the program is built so, unless the hook does not return.
fn on_panic(info: &PanicHookInfo<'_>, last_words: &SyncSender<Option<KeptEvent>>) {
    let cause = info.to_string();
    if thread::current().name() != Some(THREAD) {
        tracing::error!(cause, "panic");
        return;
    }
    warn!(cause, "the damaged store cannot be read to its end");
    let _ = last_words.send(None);
    loop {
        thread::park();
    }
}

fn send_all(
    path: &Path,
    backwards: bool,
    sender: &SyncSender<Option<KeptEvent>>,
) -> Result<(), redb::Error> {
    // Read-only where that is possible: a repair may fail, or roll back more than needed.
    let read_only: Result<ReadOnlyDatabase, _> = Builder::new().open_read_only(path);
    let transaction = match read_only {
        Ok(database) => database.begin_read()?,
        Err(_) => Builder::new().open(path)?.begin_read()?,
    };
    let table = transaction.open_table(EVENTS)?;
    let mut entries = table.iter()?;
    loop {
        let entry = if backwards { entries.next_back() } else { entries.next() };
        let Some(entry) = entry else { return Ok(()) };
        let (key, value) = entry?;
        match table::kept(key.value(), value.value(), path) {
            Ok(event) => drop(sender.send(Some(event))),
            Err(cause) => warn!(%cause, "an event cannot be salvaged"),
        }
    }
}
