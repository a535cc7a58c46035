//! When which node is given which keys.

use model::name::Name;
use signing::key::{Key, KeyId, KeySet, Secret};

use super::*;

pub(crate) fn keys(ids: &[&str]) -> KeySet {
    let mut set = KeySet::default();
    for id in ids {
        let key = Key {
            id: KeyId::parse(id).unwrap(),
            partner: Name::parse("acme").unwrap(),
            secret: Secret::new(b"a secret of sufficient length".to_vec()).unwrap(),
            not_before: None,
            not_after: None,
            integrations: Vec::new(),
            profile: None,
        };
        set.add(key).unwrap();
    }
    set
}

/// The version and the ids that a batch carries.
fn carried(batch: &Batch) -> Option<(u64, Vec<&str>)> {
    let keys = batch.keys.as_ref()?;
    Some((keys.version, keys.keys.iter().map(|key| key.id.as_str()).collect()))
}

fn with_keys(boot_id: &str, keys_version: u64) -> Poll {
    Poll { keys_version, ..applied(boot_id, 0) }
}

#[test]
fn a_new_node_gets_the_keys_with_its_first_answer_and_then_no_more() {
    let mut engine = usual();
    assert!(engine.set_keys(keys(&["k1"]), at(0)));
    let first = batch(ask(&mut engine, &poll("a"), 1));
    assert_eq!(first.kind(), Kind::Snapshot);
    let version = at(0).wall.0;
    assert_eq!(carried(&first), Some((version, vec!["k1"])));
    let polled = engine.poll(&with_keys("a", version), at(2)).unwrap();
    assert_eq!((&polled.answer, polled.keys_taken), (&Answer::Hold, Some(version)));
    assert_eq!(engine.heartbeat(&polled.ticket, at(3)).keys, None);
    engine.ingest(block("1", "alice"), at(4)).unwrap();
    let changes = batch(engine.recheck(&polled.ticket, at(4)));
    assert_eq!((changes.changes.len(), changes.keys), (1, None));
    assert_eq!(engine.poll(&with_keys("a", version), at(5)).unwrap().keys_taken, None);
}

#[test]
fn a_change_of_keys_answers_a_held_poll_once() {
    let mut engine = usual();
    engine.set_keys(keys(&["k1"]), at(0));
    ask(&mut engine, &poll("a"), 0);
    let held = engine.poll(&with_keys("a", at(0).wall.0), at(1)).unwrap();
    assert_eq!(held.answer, Answer::Hold);
    assert!(engine.set_keys(keys(&["k1", "k2"]), at(2)));
    let batch = batch(engine.recheck(&held.ticket, at(2)));
    assert_eq!((batch.kind(), batch.sequence, batch.last), (Kind::Heartbeat, 0, false));
    assert_eq!(carried(&batch), Some((at(2).wall.0, vec!["k1", "k2"])));
    assert_eq!(ask(&mut engine, &with_keys("a", at(2).wall.0), 3), Answer::Hold);
}

#[test]
fn a_node_that_does_not_take_the_keys_is_not_answered_in_circles() {
    let mut engine = usual();
    engine.set_keys(keys(&["k1"]), at(0));
    assert!(batch(ask(&mut engine, &poll("a"), 0)).keys.is_some());
    let held = engine.poll(&with_keys("a", 0), at(1)).unwrap();
    assert_eq!(held.answer, Answer::Hold);
    // The answer may have been lost: what is sent anyway brings them again.
    assert!(engine.heartbeat(&held.ticket, at(2)).keys.is_some());
    engine.ingest(block("1", "alice"), at(3)).unwrap();
    assert!(batch(engine.recheck(&held.ticket, at(3))).keys.is_some());
    // And the next set is news again.
    let held = engine.poll(&Poll { applied: 1, ..with_keys("a", 0) }, at(4)).unwrap();
    assert_eq!(held.answer, Answer::Hold);
    engine.set_keys(keys(&["k2"]), at(5));
    assert!(batch(engine.recheck(&held.ticket, at(5))).keys.is_some());
}

#[test]
fn versions_only_go_up_and_the_same_keys_keep_theirs() {
    let mut engine = usual();
    engine.set_keys(keys(&["k1"]), at(5));
    assert!(!engine.set_keys(keys(&["k1"]), at(6)), "nothing has changed");
    // The clock goes back.
    assert!(engine.set_keys(keys(&["k2"]), at(1)));
    let version = engine.status(at(6)).keys.unwrap().version;
    assert_eq!(version, at(5).wall.0 + 1);
}

#[test]
fn keys_of_an_earlier_run_with_a_later_clock_are_replaced_all_the_same() {
    let mut engine = usual();
    engine.set_keys(keys(&["k1"]), at(0));
    let ahead = at(60_000).wall.0;
    let answer = batch(ask(&mut engine, &with_keys("a", ahead), 1));
    assert_eq!(carried(&answer), Some((ahead + 1, vec!["k1"])));
    assert_eq!(ask(&mut engine, &with_keys("a", ahead + 1), 2), Answer::Hold);
    let corrupt = engine.poll(&with_keys("b", u64::MAX), at(3)).unwrap_err();
    assert_eq!(corrupt.to_string(), "keys_version: must be below 2^63");
}

#[test]
fn a_daemon_without_keys_takes_those_of_an_earlier_run_away() {
    let mut engine = usual();
    assert_eq!(batch(ask(&mut engine, &poll("a"), 0)).keys, None);
    assert_eq!(engine.status(at(0)).keys, None);
    let answer = batch(ask(&mut engine, &with_keys("b", 7), 1));
    assert_eq!(carried(&answer), Some((8, Vec::new())));
}

#[test]
fn the_status_shows_who_has_which_keys_and_never_a_secret() {
    let mut engine = usual();
    engine.set_keys(keys(&["k1"]), at(0));
    let version = at(0).wall.0;
    ask(&mut engine, &with_keys("a", version), 1);
    engine.keys_failed("keys file line 3: no".to_owned());
    let status = engine.status(at(2));
    assert_eq!(status.nodes[0].keys_version, version);
    let shown = status.keys.as_ref().unwrap();
    assert_eq!(shown.failure.as_deref(), Some("keys file line 3: no"));
    assert_eq!((shown.keys[0].id.as_str(), shown.keys[0].state), ("k1", "active"));
    let answer = ask(&mut engine, &poll("b"), 3);
    for text in [format!("{engine:?}"), format!("{answer:?}"), format!("{status:?}")] {
        assert!(!text.contains("sufficient") && !text.contains("115, 101, 99"), "{text}");
    }
    engine.set_keys(keys(&["k1"]), at(4));
    assert_eq!(engine.status(at(4)).keys.unwrap().failure, None, "the file is as before again");
}
