//! The store as a whole, in real files: what is saved comes back, or its loss is said aloud.

#![allow(clippy::print_stdout, reason = "figures are printed for whoever asks for them")]

mod gone;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use disk::{StoreError, file};
use events::record::Record;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use tempfile::TempDir;

use super::*;
use crate::Opening;

const NOW: UnixMicros = UnixMicros(1_795_348_800_000_000);
const PATIENCE: Duration = Duration::from_secs(20);

fn kept(number: u32) -> KeptEvent {
    let event = format!("{{\"event_id\":\"{number}\",\"text\":\"{}\"}}", "x".repeat(200));
    KeptEvent {
        subject: Subject::user(&format!("user-{number}")).unwrap(),
        event_id: EventId::parse(&number.to_string()).unwrap(),
        record: Record {
            first_heard: UnixMicros(number.into()),
            source: "test".into(),
            event: event.into_bytes().into(),
        },
    }
}

fn open_with(
    directory: &Path,
    rebuild: Option<&Path>,
) -> Result<(Opened, Vec<KeptEvent>), StoreError> {
    let mut events = Vec::new();
    let opened = open(
        Opening { directory, witness: &Witness::default(), rebuild, meters: Meters::default() },
        NOW,
        |event| {
            events.push(event);
            Ok(())
        },
    )?;
    Ok((opened, events))
}

fn opened(directory: &Path) -> (Keeper, Vec<KeptEvent>) {
    let (opened, events) = open_with(directory, None).unwrap();
    (opened.keeper, events)
}

fn refusal(directory: &Path) -> StoreError {
    open_with(directory, None).unwrap_err()
}

fn close(keeper: &Keeper) {
    assert!(keeper.close(PATIENCE));
}

fn wait_durable(keeper: &Keeper, ticket: Ticket) {
    let deadline = Instant::now() + PATIENCE;
    while !keeper.is_durable(ticket) {
        assert!(Instant::now() < deadline, "{:?}", keeper.status());
        std::thread::yield_now();
    }
}

/// A store with some events, and its directory.
fn filled(count: u32) -> (TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("store");
    let (keeper, _) = opened(&directory);
    for number in 0..count {
        let ticket = keeper.save(kept(number));
        if number % 50 == 0 {
            wait_durable(&keeper, ticket);
        }
    }
    keeper.set_position("redis", "7-1");
    close(&keeper);
    (temporary, directory)
}

fn ids(events: &[KeptEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.event_id.as_str().to_owned()).collect()
}

#[test]
fn what_is_saved_comes_back_and_what_is_forgotten_does_not() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("a/store");
    let (first, events) = open_with(&directory, None).unwrap();
    assert_eq!((first.start, events, first.sources_alive), (Start::First, vec![], None));
    let keeper = first.keeper;
    let tickets: Vec<_> = (0..9).map(|number| keeper.save(kept(number))).collect();
    wait_durable(&keeper, tickets[8]);
    assert_eq!((keeper.status().events, keeper.status().state), (9, "healthy"));
    let KeptEvent { subject, event_id, record } = kept(3);
    assert_eq!(keeper.event(&subject, &event_id), Some(record));
    keeper.forget(&subject, &event_id);
    assert_eq!(keeper.event(&subject, &event_id), None, "also while it waits");
    let replaced = (kept(4).subject, kept(4).event_id);
    let ticket = keeper.update(Some(kept(10)), [replaced]);
    assert_eq!(keeper.ticket_of(&kept(10).subject, &kept(10).event_id), ticket);
    keeper.set_position("redis", "5-0");
    keeper.note_sources_alive(NOW);
    close(&keeper);

    let (again, events) = open_with(&directory, None).unwrap();
    assert_eq!((again.start, again.sources_alive), (Start::Loaded, Some(NOW)));
    let expected = [0, 1, 2, 5, 6, 7, 8, 10].map(|number: u32| number.to_string());
    assert_eq!(ids(&events), BTreeSet::from(expected));
    assert!(events.contains(&kept(10)));
    assert_eq!(again.keeper.position("redis").as_deref(), Some("5-0"));
    assert_eq!(again.keeper.position("other"), None);
    close(&again.keeper);
}

#[test]
fn a_store_that_is_gone_or_older_than_it_was_is_refused() {
    let (_temporary, directory) = filled(3);
    let file = directory.join(FILE_NAME);
    let old = std::fs::read(&file).unwrap();
    let (keeper, _) = opened(&directory);
    wait_durable(&keeper, keeper.save(kept(3)));
    close(&keeper);
    std::fs::write(&file, old).unwrap();
    let refused = refusal(&directory);
    assert!(refused.is_loss() && refused.to_string().contains("older than"), "{refused}");
    std::fs::remove_file(&file).unwrap();
    let refused = refusal(&directory);
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
    // Without the small file there is still something that somebody has put there.
    std::fs::rename(directory.join("state.mark"), directory.join("other")).unwrap();
    assert!(matches!(refusal(&directory), StoreError::Missing { .. }));
    // Nothing is there to be salvaged, nor by whom.
    let (rebuilt, events) = open_with(&directory, Some(Path::new("/nowhere"))).unwrap();
    assert_eq!((rebuilt.start, events.len()), (Start::Rebuilt, 0));
    close(&rebuilt.keeper);
}

#[test]
fn a_format_from_the_future_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join(FILE_NAME);
    let format = table::FORMAT + 1;
    drop(file::create(&path, table::KIND, format, |_| Ok(())).unwrap());
    let refused = refusal(temporary.path());
    let message = "holds \"state\" of format 2: this program reads \"state\" of format 1";
    assert!(refused.is_loss() && refused.to_string().contains(message), "{refused}");
}

#[test]
fn one_at_a_time() {
    let (_temporary, directory) = filled(1);
    let (keeper, _) = opened(&directory);
    let refused = refusal(&directory);
    assert!(matches!(refused, StoreError::InUse { .. }) && !refused.is_loss(), "{refused}");
    close(&keeper);
    close(&opened(&directory).0);
}

#[test]
fn a_truncated_file_is_refused() {
    let (_temporary, directory) = filled(100);
    let path = directory.join(FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, 100, 4_096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let refused = refusal(&directory);
        assert!(refused.is_loss(), "{length} bytes: {refused}");
    }
}

/// Whatever is saved or forgotten waits in memory from now on, until the answer is called.
fn broken_disk(keeper: &Keeper) -> impl FnOnce() {
    let path = keeper.path().to_owned();
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    std::fs::write(&path, "something else").unwrap();
    move || std::fs::rename(away, path).unwrap()
}

/// As many events as find room in memory, and those that then do not.
fn fill_memory(keeper: &Keeper) -> Vec<KeptEvent> {
    let mut unkept = Vec::new();
    let mut number = 1_000;
    for bytes in [16_000, 1] {
        loop {
            let mut event = kept(number);
            event.record.event = vec![b'x'; bytes].into();
            number += 1;
            if keeper.save(event.clone()) == Ticket::NEVER {
                unkept.push(event);
                break;
            }
        }
    }
    unkept
}

fn wait_healthy(keeper: &Keeper) {
    let deadline = Instant::now() + PATIENCE;
    while keeper.status().queue > 0 {
        assert!(Instant::now() < deadline, "{:?}", keeper.status());
        std::thread::yield_now();
    }
}

#[test]
fn what_is_overtaken_stays_until_what_overtakes_it_is_kept() {
    let (_temporary, directory) = filled(2);
    let (keeper, _) = opened(&directory);
    let repair = broken_disk(&keeper);
    let waiting = keeper.save(kept(2));
    let unkept = fill_memory(&keeper);
    let identity = |number| (kept(number).subject, kept(number).event_id);
    // One that is on the disk, and one that waits for it.
    let large = KeptEvent { record: unkept[0].record.clone(), ..kept(3) };
    assert_eq!(keeper.update(Some(large.clone()), [identity(1), identity(2)]), Ticket::NEVER);
    repair();
    wait_durable(&keeper, waiting);
    wait_healthy(&keeper);
    let kept_now = |number| keeper.event(&kept(number).subject, &kept(number).event_id);
    assert_eq!((kept_now(1), kept_now(2)), (Some(kept(1).record), Some(kept(2).record)));
    // Overtaken before there was room: it takes with it what it had overtaken.
    let ticket = keeper.update(Some(kept(4)), [identity(3)]);
    wait_durable(&keeper, ticket);
    for event in unkept {
        keeper.save(event);
    }
    close(&keeper);
    let (again, events) = opened(&directory);
    let ids = ids(&events);
    assert!(["1", "2", "3"].iter().all(|gone| !ids.contains(*gone)) && ids.contains("4"));
    close(&again);
}

#[test]
fn what_is_forgotten_while_memory_is_full_does_not_come_back() {
    let (_temporary, directory) = filled(20);
    let (keeper, _) = opened(&directory);
    let repair = broken_disk(&keeper);
    let unkept = fill_memory(&keeper);
    (0..20).for_each(|number| keeper.forget(&kept(number).subject, &kept(number).event_id));
    repair();
    wait_healthy(&keeper);
    for event in unkept {
        keeper.save(event);
    }
    close(&keeper);
    let (again, events) = opened(&directory);
    assert!(events.iter().all(|event| event.event_id.as_str().len() == 4), "they came back");
    close(&again);
}

/// Prints how long it takes; what is too long depends on the machine.
#[test]
fn a_hundred_thousand_events_are_loaded() {
    const EVENTS: u32 = 100_000;
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("store");
    let (keeper, _) = opened(&directory);
    let started = Instant::now();
    let tickets: Vec<_> = (0..EVENTS).map(|number| keeper.save(kept(number))).collect();
    let last = *tickets.last().unwrap();
    wait_durable(&keeper, last);
    let (saved, bytes) = (started.elapsed(), keeper.status().bytes);
    close(&keeper);
    let started = Instant::now();
    let mut count = 0;
    let reopened = open(
        Opening {
            directory: &directory,
            witness: &Witness::default(),
            rebuild: None,
            meters: Meters::default(),
        },
        NOW,
        |_| {
            count += 1;
            Ok(())
        },
    );
    println!(
        "{count} events, {bytes} bytes: saved in {saved:?}, loaded in {:?}",
        started.elapsed()
    );
    assert_eq!(count, EVENTS);
    close(&reopened.unwrap().keeper);
}
