//! Who keeps a name, who loses it, and what stays behind.

use super::*;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn user(id: &str) -> Subject {
    Subject::user(id).unwrap()
}

fn name(names: &Names, id: &str, now: UnixMicros) -> String {
    names.resolve(&[&About::Named(user(id))], now).unwrap().names.remove(0)
}

#[test]
fn a_subject_keeps_its_name_until_it_is_erased_and_gets_another_one_then() {
    let directory = tempfile::tempdir().unwrap();
    let names = Names::open(directory.path(), 10).unwrap();
    let looked = names.resolve(&[&About::LookedFor(user("alice"))], NOW).unwrap();
    assert_eq!(looked.names, [UNKNOWN]);
    assert_eq!(names.find(&user("alice")).unwrap(), None);
    let (alice, bob) = (name(&names, "alice", NOW), name(&names, "bob", NOW));
    assert_ne!(alice, bob);
    let session = About::Named(Subject::session("alice").unwrap());
    assert_ne!(names.resolve(&[&session], NOW).unwrap().names, [alice.as_str()]);
    drop(names);
    let names = Names::open(directory.path(), 10).unwrap();
    assert_eq!(name(&names, "alice", NOW), alice);
    assert_eq!(names.erase(&user("alice")).unwrap(), Some(alice.clone()));
    assert_eq!(names.erase(&user("alice")).unwrap(), None);
    assert_eq!(names.find(&user("bob")).unwrap(), Some(bob));
    assert_ne!(name(&names, "alice", NOW), alice);
}

#[test]
fn what_is_erased_is_in_no_file_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let names = Names::open(directory.path(), 10).unwrap();
    for id in ["alice-in-wonderland", "bob-the-builder"] {
        name(&names, id, NOW);
    }
    names.erase(&user("alice-in-wonderland")).unwrap();
    drop(names);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |id: &[u8]| bytes.windows(id.len()).any(|window| window == id);
        assert!(!holds(b"alice-in-wonderland"));
        assert!(holds(b"bob-the-builder"));
    }
}

#[test]
fn what_was_not_used_for_long_is_removed_and_what_was_stays() {
    let directory = tempfile::tempdir().unwrap();
    let names = Names::open(directory.path(), 10).unwrap();
    let day = |n: u64| NOW.saturating_add(Duration::from_secs(n * 24 * 60 * 60));
    name(&names, "alice", NOW);
    let bob = name(&names, "bob", NOW);
    assert_eq!(name(&names, "bob", day(5)), bob);
    assert_eq!(names.expire(day(3)).unwrap(), 1);
    assert_eq!(names.find(&user("alice")).unwrap(), None);
    assert_eq!(names.find(&user("bob")).unwrap(), Some(bob));
}

#[test]
fn with_no_room_a_name_leads_to_nobody_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let names = Names::open(directory.path(), 1).unwrap();
    name(&names, "alice", NOW);
    let resolved = names.resolve(&[&About::Named(user("bob"))], NOW).unwrap();
    assert_eq!(resolved.unkept, 1);
    assert_ne!(resolved.names, [UNKNOWN]);
    assert_eq!(names.find(&user("bob")).unwrap(), None);
    assert_eq!(names.count().unwrap(), 1);
}
