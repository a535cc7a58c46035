//! Who keeps a name, who loses it, and what stays behind.

use std::time::Duration;

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
    assert_eq!(names.erase(&user("alice"), NOW).unwrap(), std::slice::from_ref(&alice));
    assert_eq!(names.erase(&user("alice"), NOW).unwrap(), [""; 0]);
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
    names.erase(&user("alice-in-wonderland"), NOW).unwrap();
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
    assert_eq!(names.expire(day(3), day(6)).unwrap(), 1);
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

const OLD: &str = "2026-11-01T00:00:00Z";
const NEW: &str = "2027-02-01T00:00:00Z";

fn time(text: &str) -> UnixMicros {
    UnixMicros::parse_rfc3339(text).unwrap()
}

/// Keys that begin at these times, each with another secret.
fn keys(begins: &[&str]) -> SharedKeys {
    let key = |at: &&str| format!("[[keys]]\nbegins = {at}\nsecret = \"{at}-0123456789abcdef\"\n");
    SharedKeys::parse(&begins.iter().map(key).collect::<String>()).unwrap()
}

#[test]
fn with_shared_keys_every_daemon_gives_the_same_name_and_finds_all_that_it_gave() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (names, others) =
        (Names::open(one.path(), 10).unwrap(), Names::open(other.path(), 10).unwrap());
    let random = name(&names, "alice", NOW);
    for names in [&names, &others] {
        names.share(keys(&[OLD, NEW]));
    }
    let before = name(&names, "alice", NOW);
    assert_ne!(before, random);
    assert_eq!(before, name(&others, "alice", NOW));
    assert_eq!(names.recent(&user("alice")).as_deref(), Some(before.as_str()));
    let after = name(&names, "alice", time(NEW));
    assert_eq!(names.recent(&user("alice")).as_deref(), Some(after.as_str()));
    assert_eq!(after, name(&others, "alice", time(NEW)));
    assert_eq!(names.find(&user("alice")).unwrap(), Some(after.clone()));
    let all = [after.clone(), before, random];
    assert_eq!(all_of(&names, NEW), all);
    assert_eq!(all_of(&others, NEW), all[..2]);
    // A key that was destroyed leads to nobody.
    names.share(keys(&[NEW]));
    assert_eq!(all_of(&names, NEW), [all[0].clone(), all[2].clone()]);
}

#[test]
fn who_is_erased_is_found_no_more_and_new_lines_lead_to_no_old_ones() {
    let directory = tempfile::tempdir().unwrap();
    let names = Names::open(directory.path(), 10).unwrap();
    let random = name(&names, "alice", NOW);
    names.share(keys(&[OLD, NEW]));
    let (old, bob) = (name(&names, "alice", NOW), name(&names, "bob", NOW));
    assert_eq!(names.erase(&user("alice"), NOW).unwrap(), [old.clone(), random.clone()]);
    let soon = "2027-01-15T08:00:01Z";
    assert_eq!(all_of(&names, soon), [""; 0]);
    drop(names);
    let names = Names::open(directory.path(), 10).unwrap();
    names.share(keys(&[OLD, NEW]));
    let fresh = name(&names, "alice", NOW);
    assert!(fresh != old && fresh != random);
    assert_eq!(name(&names, "alice", NOW), fresh, "and it stays");
    assert_eq!(all_of(&names, soon), std::slice::from_ref(&fresh));
    assert_eq!(name(&names, "bob", NOW), bob);
    // With the key that comes next all daemons agree again.
    let next = name(&names, "alice", time(NEW));
    assert_eq!(keys(&[NEW]).names(&user("alice"), time(NEW)), std::slice::from_ref(&next));
    assert_eq!(all_of(&names, NEW), [next, fresh]);
    // Once no line can have the erased one any more, it need not be remembered.
    let later = time("2029-01-01T00:00:00Z");
    names.expire(later, later).unwrap();
    assert!(all_of(&names, "2029-01-01T00:00:00Z").contains(&old));
}

/// All that lead to alice.
fn all_of(names: &Names, now: &str) -> Vec<String> {
    names.find_all(&user("alice"), time(now)).unwrap()
}
