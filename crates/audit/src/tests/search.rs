//! What a search finds, and how much.

use serde_json::{Value, json};

use super::super::search::{Found, FoundLine, Room, Wanted, search};
use super::*;

const ROOM: Room = Room { lines: 1_000, bytes: 1_000_000 };

/// A log of these lines, sealed one by one; the chain does not matter here.
fn log(lines: &[Value]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for (line, seq) in lines.iter().zip(1..) {
        let mut line = line.clone();
        line["seq"] = json!(seq);
        keyed().write(line.to_string(), &mut bytes);
    }
    fs::write(directory.path().join(directory::LogFile::beginning_with(1).name), bytes).unwrap();
    directory
}

fn find(directory: &TempDir, wanted: &Wanted, room: Room) -> Found {
    search(directory.path(), &keyed(), wanted, room, &|| true).unwrap()
}

fn seqs(found: &Found) -> Vec<u64> {
    found.lines.iter().map(|line| line.seq).collect()
}

fn user(name: &str) -> Wanted {
    Wanted { names: vec![("user".into(), name.into())], event_id: None }
}

fn event(id: &str) -> Wanted {
    Wanted { names: Vec::new(), event_id: Some(id.into()) }
}

fn story() -> Vec<Value> {
    let node = |name: &str, state: &str| json!({"kind": "node", "node": name, "boot_id": "b", "state": state});
    vec![
        json!({"kind": "start"}),
        node("one", "started"),
        node("one", "synchronized"),
        node("two", "synchronized"),
        node("two", "gone"),
        json!({"kind": "call", "event_id": "other", "user": "p2"}),
        json!({"kind": "event", "event_id": "b1", "user": "p1"}),
        json!({"kind": "push", "event_id": "b1", "user": "p1"}),
        json!({"kind": "call", "event_ids": ["x", "b1"]}),
        json!({"kind": "event", "event_id": "u1", "user": "p1"}),
        json!({"kind": "clock", "jump_ms": 9}),
        json!({"kind": "call", "event_id": "u1"}),
        json!({"kind": "event", "event_id": "z", "user": "p2"}),
        json!({"kind": "erase", "pseudonym": "p1"}),
        json!({"kind": "erase", "pseudonym": "p2"}),
        node("one", "gone"),
        node("three", "started"),
        node("three", "synchronized"),
        node("three", "synchronized"),
    ]
}

#[test]
fn lines_about_somebody_come_with_what_was_there_and_what_followed() {
    let directory = log(&story());
    let expected = [1, 3, 7, 8, 9, 10, 11, 12, 14, 17, 18];
    assert_eq!(seqs(&find(&directory, &user("p1"), ROOM)), expected);
    let found = find(&directory, &event("u1"), ROOM);
    assert_eq!(seqs(&found), expected, "whom it is about is known from its line");
    assert_eq!(found.names, [("user".to_owned(), "p1".to_owned())]);
    assert!(found.lines.iter().all(|line| line.is_sealed));
    assert!(seqs(&find(&directory, &event("unheard-of"), ROOM)).is_empty());
    assert!(seqs(&find(&directory, &user("p3"), ROOM)).is_empty());
}

#[test]
fn what_ended_an_event_is_found_also_under_another_pseudonym() {
    let directory = log(&[
        json!({"kind": "event", "event_id": "b1", "user": "p1"}),
        json!({"kind": "event", "event_id": "u1", "user": "p9", "ended": ["b1"]}),
        json!({"kind": "call", "event_id": "u1"}),
        json!({"kind": "event", "event_id": "x", "user": "p9"}),
    ]);
    assert_eq!(seqs(&find(&directory, &event("b1"), ROOM)), [1, 2, 3]);
}

#[test]
fn what_finds_no_room_is_counted_and_what_is_broken_is_told() {
    let directory = log(&story());
    let found = find(&directory, &user("p1"), Room { lines: 3, ..ROOM });
    assert_eq!((seqs(&found), found.left_out), (vec![7, 8, 9], 8));
    let found = find(&directory, &user("p1"), Room { bytes: 400, ..ROOM });
    assert!(found.lines.iter().map(|line| line.text.len()).sum::<usize>() <= 400);
    assert_eq!(found.left_out + found.lines.len() as u64, 11);
    let path = directory.path().join(directory::LogFile::beginning_with(1).name);
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(
        "\"event_id\":\"u1\",\"kind\":\"event\"",
        "\"event_id\":\"u1\",\"kind\":\"event\" ",
    );
    fs::write(&path, format!("{text}not a line\n")).unwrap();
    let found = find(&directory, &user("p1"), ROOM);
    assert_eq!(found.unreadable, 1);
    let broken: Vec<&FoundLine> = found.lines.iter().filter(|line| !line.is_sealed).collect();
    assert_eq!(broken.iter().map(|line| line.seq).collect::<Vec<_>>(), [10]);
}

#[test]
fn nobody_waits_for_ever() {
    let directory = log(&story());
    let error = search(directory.path(), &keyed(), &user("p1"), ROOM, &|| false).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
