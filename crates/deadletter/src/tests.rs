mod floods;
mod room;

use model::name::EventId;
use model::time::UnixMicros;
use redb::Database;
use system::wall_clock;

use super::inner::QUEUE_MAX;
use super::tables::Written;
use super::*;
use crate::Proof;

fn cause(kind: &str) -> Cause {
    Cause { kind: kind.to_owned(), field: "key".to_owned(), rule: "must be right".to_owned() }
}

fn refused<'a>(kind: &str, proof: Proof, text: &'a str, at: u64) -> Refused<'a> {
    let (bytes, at) = (text.as_bytes(), UnixMicros(at));
    Refused { source: "redis", inbox: None, cause: cause(kind), proof, event_id: None, bytes, at }
}

fn fresh(text: &str, event_id: Option<&str>, at: u64) -> Fresh {
    let event_id = event_id.and_then(EventId::parse);
    Fresh::new(Refused { event_id, ..refused("too_old", Proof::NotAsked, text, at) })
}

fn bounds(letters_max: usize) -> Bounds {
    Bounds { letters_max, ..Bounds::default() }
}

struct File {
    _directory: tempfile::TempDir,
    database: Database,
}

fn file() -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let database = disk::file::open(&path, table::KIND, table::FORMAT).unwrap();
    File { _directory: directory, database }
}

impl File {
    fn put(&self, fresh: &[Fresh], letters_max: usize, now: u64) -> Written {
        table::put(&self.database, fresh, bounds(letters_max), UnixMicros(now)).unwrap()
    }

    fn texts(&self, filter: &Filter, limit: usize) -> Vec<String> {
        let letters = table::list(&self.database, filter, limit).unwrap();
        letters.iter().map(|(_, letter)| String::from_utf8(letter.raw()).unwrap()).collect()
    }
}

#[test]
fn the_same_again_is_one_letter_with_a_count() {
    let file = file();
    let other = Fresh::new(refused("unknown_key", Proof::NotAsked, "a", 3));
    let written = file.put(&[fresh("a", None, 1), fresh("a", None, 5), other], 10, 5);
    assert_eq!(written.stored, 2);
    assert_eq!(file.put(&[fresh("a", None, 4)], 10, 5).stored, 2);
    let letters = table::list(&file.database, &Filter::default(), 10).unwrap();
    let [(id, letter), (_, other)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.count, letter.first_at, letter.last_at), (3, 1, 5));
    assert_eq!((other.count, other.cause.kind.as_str()), (1, "unknown_key"));
    assert_eq!(table::get(&file.database, id).unwrap().as_ref(), Some(letter));
    assert_eq!(table::get(&file.database, "nothing").unwrap(), None);
}

#[test]
fn the_oldest_make_room_and_the_old_go() {
    let file = file();
    let written = file.put(&[fresh("b", Some("e"), 2), fresh("a", Some("e"), 1)], 1, 2);
    assert_eq!((written.stored, written.good_dropped), (1, 1));
    assert_eq!(written.dropped, [("count", 1)].into());
    let of_event = Filter { event_id: Some("e".to_owned()), ..Filter::default() };
    assert_eq!(file.texts(&of_event, 9), ["b"], "also gone from the index");
    let retention = u64::try_from(bounds(1).retention.as_micros()).unwrap();
    assert!(file.put(&[], 1, retention + 2).dropped.is_empty());
    let written = file.put(&[], 1, retention + 3);
    assert_eq!((written.stored, written.bytes, written.good_dropped), (0, 0, 0));
    assert_eq!(written.dropped, [("age", 1)].into());
    assert!(file.texts(&of_event, 9).is_empty());
}

#[test]
fn letters_are_found_by_time_and_event_and_listed_page_by_page() {
    let file = file();
    let letters: Vec<_> = (0..9)
        .map(|n: u64| {
            fresh(&n.to_string(), Some(if n.is_multiple_of(2) { "even" } else { "odd" }), n / 2)
        })
        .collect();
    file.put(&letters, 100, 9);
    let range = Filter { from: Some(UnixMicros(1)), to: Some(UnixMicros(3)), ..Filter::default() };
    let mut within = file.texts(&range, 9);
    within.sort();
    assert_eq!(within, ["2", "3", "4", "5"]);
    let odd = Filter { event_id: Some("odd".to_owned()), ..range.clone() };
    assert_eq!(file.texts(&odd, 9), ["3", "5"]);
    assert!(file.texts(&Filter { event_id: Some("o".to_owned()), ..range }, 9).is_empty());

    let mut filter = Filter::default();
    let mut pages = Vec::new();
    loop {
        let page = table::list(&file.database, &filter, 2).unwrap();
        let Some((id, last)) = page.last() else { break };
        filter.after = Some((last.first_at, id.clone()));
        pages.extend(page.iter().map(|(_, letter)| letter.first_at));
    }
    assert_eq!(pages, [0, 0, 1, 1, 2, 2, 3, 3, 4]);
}

#[test]
fn a_long_event_is_cut_and_says_so() {
    let file = file();
    let text = "x".repeat(RAW_BYTES_MAX + 1);
    file.put(&[fresh(&text, None, 1), fresh(&"y".repeat(RAW_BYTES_MAX), None, 2)], 10, 2);
    let letters = table::list(&file.database, &Filter::default(), 10).unwrap();
    let cut: Vec<_> = letters
        .iter()
        .map(|(_, letter)| (letter.raw().len(), letter.bytes, letter.is_truncated()))
        .collect();
    assert_eq!(cut, [(16384, 16385, true), (16384, 16384, false)]);
    let long = "z".repeat(GARBAGE_BYTES_MAX + 1);
    file.put(&[Fresh::new(refused("malformed", Proof::NotAsked, &long, 3))], 10, 3);
    let letters = table::list(&file.database, &Filter::default(), 10).unwrap();
    let (_, letter) = letters.last().unwrap();
    assert_eq!((letter.raw().len(), letter.bytes, letter.is_truncated()), (1024, 1025, true));
}

#[test]
fn replays_are_kept_with_the_letter() {
    let file = file();
    let letter = fresh("a", None, 1);
    file.put(std::slice::from_ref(&letter), 10, 1);
    let replay = |at, cause| Replay {
        at,
        operator: "me".to_owned(),
        reason: "test".to_owned(),
        result: "x".to_owned(),
        cause,
    };
    let note = |replay| table::note(&file.database, &[(letter.id().to_owned(), replay)]).unwrap();
    let kept = || table::get(&file.database, letter.id()).unwrap().unwrap();
    for at in 0..20 {
        note(replay(at, Some(cause("invalid"))));
    }
    assert_eq!(kept().replays.len(), letter::REPLAYS_MAX);
    assert_eq!(kept().replayed(), None);
    note(replay(20, None));
    assert_eq!(kept().replayed().map(|replay| replay.at), Some(20));
    // It coming again does not undo that.
    file.put(&[fresh("a", None, 30)], 10, 30);
    assert_eq!((kept().count, kept().replays.len()), (2, letter::REPLAYS_MAX));
}

#[test]
fn a_file_that_cannot_be_used_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    std::fs::write(&path, "no database").unwrap();
    let metrics = DeadLetterMetrics::default();
    let letters = DeadLetters::start(directory.path(), bounds(10), metrics).unwrap();
    letters.keep(refused("too_old", Proof::NotAsked, "a", wall_clock().0));
    assert_eq!(letters.list(&Filter::default(), 10).map(|_| ()), Err(Unavailable));
    // As the log asks for.
    std::fs::remove_file(&path).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let kept = || letters.list(&Filter::default(), 10).is_ok_and(|letters| letters.len() == 1);
    while !kept() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for the letter");
        letters.flush(Duration::from_millis(100));
    }
}

#[test]
fn whoever_is_erased_does_not_come_back_with_letters_that_still_waited() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = DeadLetterMetrics::default();
    let letters = DeadLetters::start(directory.path(), bounds(1_000), metrics).unwrap();
    letters.flush(Duration::from_secs(20));
    for number in 0..200 {
        let text = format!("alice {number}");
        letters.keep(refused("too_old", Proof::NotAsked, &text, wall_clock().0));
    }
    let alice = model::subject::Subject::user("alice").unwrap();
    assert_eq!(letters.erase(&alice), Ok(200));
    letters.flush(Duration::from_secs(20));
    assert!(letters.list(&Filter::default(), 1).unwrap().is_empty());
}

#[test]
fn neither_debug_form_shows_what_was_sent() {
    let letter = fresh("alice@example.com", None, 1);
    let text = format!("{letter:?} {:?}", Letter::from(letter.clone()));
    assert!(!text.contains("alice"), "{text}");
}

#[test]
fn whoever_asks_whether_letters_are_written_costs_the_disk_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = DeadLetterMetrics::default();
    let letters = DeadLetters::start(directory.path(), Bounds::default(), metrics).unwrap();
    assert!(letters.settled(Duration::ZERO), "there is none");
    letters.keep(refused("too_old", Proof::NotAsked, "a", wall_clock().0));
    assert!(letters.settled(Duration::from_secs(20)));
    assert_eq!(letters.list(&Filter::default(), 9).unwrap().len(), 1);
    // Nobody's place is taken by asking while the disk takes nothing.
    let held = letters.inner.held.lock().unwrap();
    letters.keep(refused("too_old", Proof::NotAsked, "b", wall_clock().0));
    for _ in 0..2 * TASKS_MAX {
        assert!(!letters.settled(Duration::from_micros(1)));
    }
    let last = (0..QUEUE_MAX[3] - 1).map(|number| format!("c{number}")).collect::<Vec<_>>();
    for text in &last {
        letters.keep(refused("too_old", Proof::NotAsked, text, wall_clock().0));
    }
    drop(held);
    assert!(letters.settled(Duration::from_secs(20)));
    assert_eq!(letters.list(&Filter::default(), 9_999).unwrap().len(), last.len() + 2);
}
