//! The store as a whole, in real files: what is saved comes back, or its loss is said aloud.

#![allow(clippy::print_stdout, reason = "figures are printed for whoever asks for them")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use policy::name::EventId;
use policy::record::Record;
use policy::subject::Subject;
use policy::time::UnixMicros;
use tempfile::TempDir;

use super::*;

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

fn open_with(directory: &Path, rebuild: bool) -> Result<(Opened, Vec<KeptEvent>), StoreError> {
    let mut events = Vec::new();
    let opened = open(directory, rebuild, Meters::default(), NOW, |event| {
        events.push(event);
        Ok(())
    })?;
    Ok((opened, events))
}

fn opened(directory: &Path) -> (Keeper, Vec<KeptEvent>) {
    let (opened, events) = open_with(directory, false).unwrap();
    (opened.keeper, events)
}

fn refusal(directory: &Path) -> StoreError {
    open_with(directory, false).unwrap_err()
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
    let (first, events) = open_with(&directory, false).unwrap();
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

    let (again, events) = open_with(&directory, false).unwrap();
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
    let (rebuilt, events) = open_with(&directory, true).unwrap();
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
fn an_event_that_its_reader_refuses_is_no_silent_loss() {
    let (_temporary, directory) = filled(3);
    let refuse = |event: KeptEvent| match event.event_id.as_str() {
        "1" => Err("breaks a rule".to_owned()),
        _ => Ok(()),
    };
    let refused = open(&directory, false, Meters::default(), NOW, refuse).unwrap_err();
    assert!(refused.to_string().contains("event 1: breaks a rule"), "{refused}");
    let rebuilt = open(&directory, true, Meters::default(), NOW, refuse).unwrap();
    close(&rebuilt.keeper);
    assert_eq!(ids(&opened_once(&directory)), BTreeSet::from(["0".to_owned(), "2".to_owned()]));
}

/// Wherever the file is damaged: everything is there, or the store says that it is damaged, and
/// a rebuild gives back nothing that was not there.
#[test]
fn damage_anywhere_is_said_aloud_or_without_effect() {
    const EVENTS: u32 = 300;
    let (_temporary, directory) = filled(EVENTS);
    let whole = std::fs::read(directory.join(FILE_NAME)).unwrap();
    let mark = std::fs::read(directory.join("state.mark")).unwrap();
    let all = ids(&opened_once(&directory));
    assert_eq!(all.len(), EVENTS as usize);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 1).unwrap()
    };
    let (mut refused, mut salvaged_min) = (0, usize::MAX);
    for round in 0..200 {
        let temporary = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        // The first 512 bytes are the most delicate: so many rounds for them.
        let at = if round < 80 { round * 512 / 80 } else { next() % bytes.len() };
        let flip = u8::try_from(next() % 255 + 1).unwrap();
        match round % 4 {
            0 | 1 => bytes[at] ^= flip,
            2 => bytes.iter_mut().skip(at).take(512).for_each(|byte| *byte = 0),
            _ => bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte ^= flip),
        }
        std::fs::write(temporary.path().join(FILE_NAME), &bytes).unwrap();
        std::fs::write(temporary.path().join("state.mark"), &mark).unwrap();
        match open_with(temporary.path(), false) {
            Ok((opened, events)) => {
                assert_eq!(ids(&events), all, "fewer in silence: round {round}, byte {at}");
                assert!(
                    events
                        .iter()
                        .all(|event| *event == kept(event.event_id.as_str().parse().unwrap()))
                );
                close(&opened.keeper);
            }
            Err(error) => {
                assert!(error.is_loss(), "round {round}, byte {at}: {error}");
                refused += 1;
                if refused % 10 == 0 {
                    let (rebuilt, events) = open_with(temporary.path(), true).unwrap();
                    assert_eq!(rebuilt.start, Start::Rebuilt);
                    assert!(ids(&events).is_subset(&all));
                    salvaged_min = salvaged_min.min(ids(&events).len());
                    assert_eq!(rebuilt.keeper.position("redis"), None);
                    close(&rebuilt.keeper);
                    assert_eq!(ids(&opened_once(temporary.path())), ids(&events));
                }
            }
        }
    }
    println!("{refused} of 200 refused; at least {salvaged_min} of {EVENTS} events salvaged");
    assert!(refused > 25, "the damage was not noticed at all: {refused}");
}

fn opened_once(directory: &Path) -> Vec<KeptEvent> {
    let (keeper, events) = opened(directory);
    close(&keeper);
    events
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
    let reopened = open(&directory, false, Meters::default(), NOW, |_| {
        count += 1;
        Ok(())
    });
    println!(
        "{count} events, {bytes} bytes: saved in {saved:?}, loaded in {:?}",
        started.elapsed()
    );
    assert_eq!(count, EVENTS);
    close(&reopened.unwrap().keeper);
}
