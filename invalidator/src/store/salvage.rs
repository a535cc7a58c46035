//! Reads what can be read of a damaged store.
//!
//! The database library checks a file that it opens in earnest. A damaged one has to be read
//! without that check, and then the library may panic; so it is read on threads that may die.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::Once;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use redb::{Builder, ConcurrencyMode, ReadableDatabase, ReadableTable};
use tracing::warn;

use super::StoreError;
use super::keeper::KeptEvent;
use super::pending::Identity;
use super::table::{self, EVENTS};

/// Name of the threads that may die.
const THREAD: &str = "store-salvage";
/// Where the library's file format has its flags, and the one of them that says that
/// the file was not closed.
const FLAGS_OFFSET: u64 = 9;
const REPAIR_FLAG: u8 = 2;
/// Events on their way from such a thread.
const CHANNEL_EVENTS_MAX: usize = 1_024;

/// The hook that keeps a panic on such a thread from ending the program.
static HOOK: Once = Once::new();

thread_local! {
    /// Where a thread that may die says that there is no more; nothing on every other thread.
    static LAST_WORDS: Cell<Option<SyncSender<Option<KeptEvent>>>> = const { Cell::new(None) };
}

/// Ways to read a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As it is, from the first event to where it is damaged.
    Forwards,
    /// As it is, from the last event to where it is damaged.
    Backwards,
    /// After the library's own repair, which may go back to an older state: if nothing else helps.
    Repaired,
}

/// Every event in the file whose record is whole. `copy` is where a copy may be put for a while.
pub(super) fn read(path: &Path, copy: &Path) -> Result<Vec<KeptEvent>, StoreError> {
    let mut found: BTreeMap<Identity, KeptEvent> = BTreeMap::new();
    for way in [Way::Forwards, Way::Backwards, Way::Repaired] {
        // Opening it may write to it: what the operator may want to look at stays as it is.
        std::fs::copy(path, copy).map_err(StoreError::system(copy))?;
        if way != Way::Repaired {
            make_readable(copy).map_err(StoreError::system(copy))?;
        }
        for event in from_thread(copy, way) {
            found.entry((event.subject.clone(), event.event_id.clone())).or_insert(event);
        }
        std::fs::remove_file(copy).map_err(StoreError::system(copy))?;
        if way == Way::Backwards && !found.is_empty() {
            break;
        }
    }
    Ok(found.into_values().collect())
}

/// A file that was not closed is opened for reading only once it has been repaired, and a damaged
/// one cannot be. What was committed last is where its header says all the same.
fn make_readable(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut flags = [0];
    match file.read_exact_at(&mut flags, FLAGS_OFFSET) {
        Ok(()) => file.write_all_at(&flags.map(|flags| flags & !REPAIR_FLAG), FLAGS_OFFSET),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

fn from_thread(path: &Path, way: Way) -> Vec<KeptEvent> {
    let (sender, receiver) = sync_channel(CHANNEL_EVENTS_MAX);
    let path = path.to_owned();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            rest_in_peace(info);
            others(info);
        }));
    });
    let reader = move || {
        LAST_WORDS.set(Some(sender.clone()));
        if let Err(cause) = send_all(&path, way, &sender) {
            warn!(%cause, "the damaged store cannot be read to its end");
        }
        let _ = sender.send(None);
    };
    let started = thread::Builder::new().name(THREAD.to_owned()).spawn(reader);
    if started.is_ok() { until_none(&receiver) } else { Vec::new() }
}

fn until_none(receiver: &Receiver<Option<KeptEvent>>) -> Vec<KeptEvent> {
    receiver.iter().map_while(|event| event).collect()
}

/// A panic ends the whole program where the program is built so, unless the hook does not return:
/// it does not on a thread that may die. Such a thread stays in the hook for good, so that the hook
/// cannot be replaced any more: it is set once.
fn rest_in_peace(info: &PanicHookInfo<'_>) {
    let Some(last_words) = LAST_WORDS.take() else { return };
    warn!(cause = info.to_string(), "the damaged store cannot be read to its end");
    let _ = last_words.send(None);
    loop {
        thread::park();
    }
}

fn send_all(
    path: &Path,
    way: Way,
    sender: &SyncSender<Option<KeptEvent>>,
) -> Result<(), redb::Error> {
    // Both are kept: closing the database ends its transactions.
    let (read_only, repaired);
    let transaction = if way == Way::Repaired {
        repaired = Builder::new().open(path)?;
        repaired.begin_read()?
    } else {
        // As a reader beside a writer: it believes the header, and needs nothing but the tables.
        let mode = ConcurrencyMode::SingleWriter;
        read_only = Builder::new().set_concurrency_mode(mode).open_read_only(path)?;
        read_only.begin_read()?
    };
    let table = transaction.open_table(EVENTS)?;
    let mut entries = table.iter()?;
    loop {
        let entry = if way == Way::Backwards { entries.next_back() } else { entries.next() };
        let Some(entry) = entry else { return Ok(()) };
        let (key, value) = entry?;
        match table::kept(key.value(), value.value(), path) {
            Ok(event) => drop(sender.send(Some(event))),
            Err(cause) => warn!(%cause, "an event cannot be salvaged"),
        }
    }
}
