//! A store's file, damaged in every way: all of it is read, or its loss is said aloud, and a
//! rebuild gives back what is whole and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use disk::StoreError;
use events::record::Record;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use store::{Keeper, KeptEvent, Meters, Opened, Opening, Start, Witness};
use tempfile::TempDir;

const NOW: UnixMicros = UnixMicros(1_795_348_800_000_000);
const PATIENCE: Duration = Duration::from_secs(20);
const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

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

/// With nothing that speaks for an earlier store.
fn opening<'a>(directory: &'a Path, rebuild: Option<&'a Path>) -> Opening<'a> {
    static NO_WITNESS: LazyLock<Witness> = LazyLock::new(Witness::default);
    Opening { directory, witness: &NO_WITNESS, rebuild, meters: Meters::default() }
}

fn open(directory: &Path, rebuild: bool) -> Result<(Opened, Vec<KeptEvent>), StoreError> {
    let program = rebuild.then_some(Path::new(PROGRAM));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut events = Vec::new();
        let opened = store::open(opening(directory, program), NOW, |event| {
            events.push(event);
            Ok(())
        });
        match opened {
            // What other tests start has a copy of every lock until it is another program.
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            opened => return opened.map(|opened| (opened, events)),
        }
    }
}

fn close(keeper: &Keeper) {
    assert!(keeper.close(PATIENCE));
}

/// A store with some events, and its directory.
fn filled(count: u32) -> (TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("store");
    let (opened, _) = open(&directory, false).unwrap();
    for number in 0..count {
        opened.keeper.save(kept(number));
    }
    opened.keeper.set_position("redis", "7-1");
    close(&opened.keeper);
    (temporary, directory)
}

/// What the next ordinary start reads.
fn read_again(directory: &Path) -> BTreeSet<String> {
    let (opened, events) = open(directory, false).unwrap();
    close(&opened.keeper);
    ids(&events)
}

fn ids(events: &[KeptEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.event_id.as_str().to_owned()).collect()
}

#[test]
fn an_event_that_its_reader_refuses_is_no_silent_loss() {
    let (_temporary, directory) = filled(3);
    let refuse = |event: KeptEvent| match event.event_id.as_str() {
        "1" => Err("breaks a rule".to_owned()),
        _ => Ok(()),
    };
    let refused = store::open(opening(&directory, None), NOW, refuse).unwrap_err();
    assert!(refused.to_string().contains("event 1: breaks a rule"), "{refused}");
    let program = Some(Path::new(PROGRAM));
    let rebuilt = store::open(opening(&directory, program), NOW, refuse).unwrap();
    close(&rebuilt.keeper);
    assert_eq!(read_again(&directory), BTreeSet::from(["0".to_owned(), "2".to_owned()]));
}

#[test]
fn without_the_program_that_salvages_nothing_is_rebuilt_in_silence() {
    let (_temporary, directory) = filled(3);
    let path = directory.join(store::FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let program = Some(Path::new("/nowhere/portcullis"));
    let refused = store::open(opening(&directory, program), NOW, |_| Ok(()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("/nowhere/portcullis"), "{refused}");
    assert!(path.exists(), "moved aside before anything was salvaged");
}

#[test]
fn a_rebuild_that_was_cut_short_has_lost_nothing() {
    let (_temporary, directory) = filled(3);
    std::fs::remove_file(directory.join("state.mark")).unwrap();
    let path = directory.join(store::FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.push(0);
    std::fs::write(&path, &bytes).unwrap();
    // The new store cannot be made, when everything else is done.
    let in_the_way = directory.join("state.redb.new");
    std::fs::create_dir(&in_the_way).unwrap();
    open(&directory, true).unwrap_err();
    assert!(open(&directory, false).unwrap_err().is_loss());
    std::fs::remove_dir(&in_the_way).unwrap();
    let (rebuilt, events) = open(&directory, true).unwrap();
    assert_eq!((rebuilt.start, events.len()), (Start::Rebuilt, 3));
    close(&rebuilt.keeper);
    let aside = format!("state.redb.corrupt-{}", NOW.0 / 1_000_000);
    assert_eq!(std::fs::read(directory.join(aside)).unwrap(), bytes);
    assert_eq!(read_again(&directory).len(), 3);
}

/// Wherever the file is damaged: everything is there, or the store says that it is damaged, and
/// a rebuild gives back nothing that was not there.
#[test]
fn damage_anywhere_is_said_aloud_or_without_effect() {
    const EVENTS: u32 = 300;
    let (_temporary, directory) = filled(EVENTS);
    let whole = std::fs::read(directory.join(store::FILE_NAME)).unwrap();
    let mark = std::fs::read(directory.join("state.mark")).unwrap();
    let all = read_again(&directory);
    assert_eq!(all.len(), EVENTS as usize);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 1).unwrap()
    };
    let (mut refused, mut salvaged_max) = (0, 0);
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
        std::fs::write(temporary.path().join(store::FILE_NAME), &bytes).unwrap();
        std::fs::write(temporary.path().join("state.mark"), &mark).unwrap();
        match open(temporary.path(), false) {
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
                    let (rebuilt, events) = open(temporary.path(), true).unwrap();
                    assert_eq!(rebuilt.start, Start::Rebuilt);
                    assert!(ids(&events).is_subset(&all));
                    salvaged_max = salvaged_max.max(ids(&events).len());
                    assert_eq!(rebuilt.keeper.position("redis"), None);
                    close(&rebuilt.keeper);
                    assert_eq!(read_again(temporary.path()), ids(&events));
                }
            }
        }
    }
    assert!(refused > 25, "the damage was not noticed at all: {refused}");
    assert!(salvaged_max > 0, "nothing was ever salvaged");
}

/// The daemon was killed while it wrote a store anew that had been taken away, mark and all.
#[test]
fn what_was_written_anew_and_has_no_name_yet_is_salvaged() {
    let (_temporary, directory) = filled(3);
    let path = directory.join(store::FILE_NAME);
    std::fs::remove_file(directory.join("state.mark")).unwrap();
    let draft = path.with_extension("redb.again");
    for part in [1.0, 0.5] {
        if path.exists() {
            std::fs::rename(&path, &draft).unwrap();
        }
        let whole = std::fs::read(&draft).unwrap();
        std::fs::write(&draft, &whole[..(whole.len() as f64 * part) as usize]).unwrap();
        assert!(matches!(open(&directory, false), Err(StoreError::Missing { .. })));
        let (rebuilt, events) = open(&directory, true).unwrap();
        assert_eq!(rebuilt.start, Start::Rebuilt);
        assert!(events.len() == 3 || part < 1.0, "{} events", events.len());
        close(&rebuilt.keeper);
        std::fs::remove_file(directory.join("state.mark")).unwrap();
    }
}
