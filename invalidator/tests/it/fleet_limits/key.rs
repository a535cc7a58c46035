//! The key that the whole fleet names subjects with.

use super::*;
use crate::harness::{file, free_port, portcullis, private, text};

const KEY: &str = "{portcullis}:fleet-key";
const HEX: &str = "000102030405060708090a0b0c0d0e0f";

#[test]
fn another_key_than_the_fleets_is_refused_and_says_so() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let mut call = one.call(1, 1);
    call.key_version += 1;
    let (status, problem) = one.send(&call).unwrap_err();
    assert_eq!((status, &problem["type"]), (409, &"urn:portcullis:problem:other_key".into()));
    assert_eq!(problem["field"], "key_version", "{problem}");
    assert_eq!(a.metric("portcullis_fleet_calls_total{result=\"other_key\"}"), 1.0);
    assert!(is_about(one.take(1, 1), 1.0), "it was not counted");
}

#[test]
fn a_redis_that_has_lost_the_key_gets_it_back_and_buckets_are_full_once() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let (mut one, mut other) = (Sharing::start(&a, "n-a"), Sharing::start(&b, "n-b"));
    assert!(is_about(one.take(1, 5), 5.0));
    assert_eq!(ask::<i64>(&redis, &["PTTL", KEY]), -1, "it does not expire");
    let kept: String = ask(&redis, &["GET", KEY]);
    ask::<()>(&redis, &["FLUSHALL"]);
    wait_until("the key to be back", || {
        ask::<Option<String>>(&redis, &["GET", KEY]).as_ref() == Some(&kept)
    });
    assert!(is_about(one.take(1, 1), 1.0), "buckets are full once");
    assert!(is_about(other.take(1, 1), 2.0));
}

#[test]
fn another_key_in_redis_is_taken_by_all_nodes() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let (mut one, mut other) = (Sharing::start(&a, "n-a"), Sharing::start(&b, "n-b"));
    let before = one.key.clone();
    ask::<()>(&redis, &["SET", KEY, &format!("7 {HEX}")]);
    wait_until("another key on all nodes", || {
        one.poll();
        other.poll();
        one.key.version == 7 && one.key == other.key
    });
    assert!(is_about(one.take(1, 1), 1.0), "buckets are full once");
    assert!(is_about(other.take(1, 1), 2.0));
    let mut old = one.call(1, 1);
    old.key_version = before.version;
    assert_eq!(one.send(&old).unwrap_err().0, 409);
    assert!(a.metric("portcullis_fleet_key_changes_total") >= 2.0);
    for daemon in [&a, &b] {
        assert!(!daemon.log().contains(HEX), "the key is no line of a log");
    }
}

#[test]
fn a_damaged_key_is_made_anew() {
    let redis = Redis::start(free_port(), &[]);
    for damage in [
        &["SET", KEY, "nonsense"][..],
        &["LPUSH", KEY, "x"],
        &["SET", KEY, &format!("0 {HEX}")],
        &["SET", KEY, &format!("99999999999999999999 {HEX}")],
        &["SET", KEY, &"x".repeat(1_000_000)],
    ] {
        ask::<u64>(&redis, &["DEL", KEY]);
        ask::<redis::Value>(&redis, damage);
        let a = daemon(&redis, "a", "");
        let mut one = Sharing::start(&a, "n-a");
        assert!(is_about(one.take(1, 1), 1.0));
        drop(a);
        ask::<()>(&redis, &["FLUSHALL"]);
    }
}

#[test]
fn a_key_of_a_file_is_the_same_for_all_and_is_watched() {
    let directory = tempfile::tempdir().unwrap();
    let path = private(directory.path(), "key", &format!("{HEX}\n"));
    let more = format!("fleet.key_file = \"{}\"", path.display());
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", &more), daemon(&redis, "b", &more));
    let (mut one, mut other) = (Sharing::start(&a, "n-a"), Sharing::start(&b, "n-b"));
    assert_eq!(one.key, other.key);
    assert_eq!(one.key.key, (0..16).collect::<Vec<u8>>());
    assert_eq!(ask::<u64>(&redis, &["EXISTS", KEY]), 0, "none is made");
    assert!(is_about(one.take(1, 1), 1.0) && is_about(other.take(1, 1), 2.0));
    assert_eq!(a.status()["fleet_limits"]["key_from"], "file");
    private(directory.path(), "key", "rubbish");
    wait_until("the log", || a.log().contains("fleet.key_file cannot be used"));
    assert!(is_about(one.take(2, 1), 1.0), "the one before stays in force");
    private(directory.path(), "key", &HEX.replace("00", "ff"));
    wait_until("another key on all nodes", || {
        one.poll();
        other.poll();
        one.key.key[0] == 0xff && one.key == other.key
    });
    assert!(!a.log().contains(HEX));
}

#[test]
fn a_file_that_is_no_key_keeps_the_daemon_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let open = file(directory.path(), "open", HEX);
    let wrong = private(directory.path(), "wrong", "0123");
    for path in [open, wrong, directory.path().join("none")] {
        let config = file(
            directory.path(),
            "portcullis.toml",
            &format!(
                "[poll]\nlisten = \"unix:{0}/x.sock\"\nsecret = \"0123456789abcdef\"\n\
                 [store]\ndirectory = \"{0}/store\"\n[fleet]\nkey_file = \"{1}\"\n{2}",
                directory.path().display(),
                path.display(),
                crate::harness::tokens()
            ),
        );
        for words in [&["run", "--check", "--config"][..], &["run", "--config"]] {
            let output = portcullis().args(words).arg(&config).output().unwrap();
            let said = text(&output.stderr) + &text(&output.stdout);
            assert!(!output.status.success() && said.contains("fleet.key_file"), "{said}");
        }
    }
}
