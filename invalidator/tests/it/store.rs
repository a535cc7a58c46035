//! What the daemon knows survives it: kill -9, a full disk, a damaged file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use model::subject::Subject;
use serde_json::{Value, json};
use store::{self, Meters, Opening, Witness};
use system::wall_clock;

use crate::harness::{Daemon, block, occurred_at, portcullis, text, wait_until};
use crate::node::{Node, Running};

/// Nobody listens there.
const NO_REDIS: &str = "[sources.redis]\nurl = \"redis://127.0.0.1:1\"\n";

/// kill -9, and what is left of it.
fn killed(mut daemon: Daemon) -> tempfile::TempDir {
    daemon.process.0.kill().unwrap();
    daemon.process.0.wait().unwrap();
    std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap())
}

fn store_of(directory: &Path) -> std::path::PathBuf {
    directory.join("store").join(store::FILE_NAME)
}

/// Runs a daemon that does not start: its exit code and what it says.
fn refusal(directory: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = portcullis();
    command.args(["run", "--config"]).arg(directory.join("portcullis.toml")).args(more);
    let output = command.output().unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn after_kill_9_and_without_redis_every_acknowledged_block_is_pushed_again() {
    let daemon = Daemon::start(NO_REDIS);
    let node = Running::start(&daemon, "edge-1", "a");
    let answer = daemon.post(&block("evt-1", "alice"));
    assert_eq!((answer.status, &answer.json()["durable"]), (202, &json!(true)), "{}", answer.text);
    let directory = killed(daemon);
    drop(node);
    let daemon = Daemon::spawn(NO_REDIS, directory);
    daemon.wait_for_health();
    let shown = daemon.get("/v1/users/alice").json();
    assert_eq!(shown["blocks"][0]["event_id"], "evt-1");
    let mut node = Node::new(&daemon, "edge-1", "b");
    node.poll();
    assert!(node.states.contains_key(&Subject::user("alice").unwrap()));
    assert_eq!(daemon.status()["store"]["events"], 1);
    assert!(daemon.log().contains("store loaded"), "{}", daemon.log());
    // The same event once more is known, and durable already.
    let again = daemon.post(&block("evt-1", "alice")).json();
    assert_eq!((&again["result"], &again["durable"]), (&json!("duplicate"), &json!(true)));
}

#[test]
fn what_is_overtaken_stays_on_disk_for_a_while_and_has_no_effect() {
    let mut daemon = Daemon::start("");
    assert!(daemon.log().contains("first start: the store is new and empty"));
    for round in 0..20 {
        let mut lift = crate::harness::event(
            &format!("lift-{round}"),
            "alice",
            json!({ "action": "unblock" }),
        );
        lift["occurred_at"] = occurred_at(99 - 2 * round).into();
        let mut again =
            crate::harness::event(&format!("block-{round}"), "alice", json!({ "action": "block" }));
        again["occurred_at"] = occurred_at(100 - 2 * round).into();
        daemon.post(&again.to_string());
        daemon.post(&lift.to_string());
    }
    // To be recognized if it comes again; the time for which it stays is a unit test's.
    wait_until("everything to be kept", || daemon.status()["store"]["events"] == 40);
    assert_eq!(daemon.status()["store"]["state"], "healthy");
    let blocks = |daemon: &Daemon| daemon.get("/v1/users/alice").json()["blocks"].clone();
    assert_eq!(blocks(&daemon), json!([]));
    let commits = daemon.metric("portcullis_store_commit_seconds_count");
    assert!(commits >= 20.0, "{}", daemon.get("/metrics").text);
    let kept = daemon.end();
    let daemon = Daemon::spawn("", kept);
    daemon.wait_for_health();
    assert_eq!(blocks(&daemon), json!([]));
}

/// The process stopped anywhere in a commit, and its file as the disk would have it then.
#[test]
fn the_file_as_it_is_at_any_moment_has_everything_acknowledged_until_then() {
    let daemon = Daemon::start("");
    let acknowledged = Mutex::new(BTreeSet::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = format!("evt-{number}");
                let answer = daemon.post(&block(&id, &format!("user-{number}")));
                assert_eq!(answer.json()["durable"], true, "{}", answer.text);
                acknowledged.lock().unwrap().insert(id);
            }
        });
        for round in 1..=10 {
            wait_until("more events", || acknowledged.lock().unwrap().len() >= round * 20);
            daemon.process.signal("-STOP");
            let before = acknowledged.lock().unwrap().clone();
            let copy = tempfile::tempdir().unwrap();
            std::fs::copy(store_of(daemon.directory.path()), copy.path().join(store::FILE_NAME))
                .unwrap();
            daemon.process.signal("-CONT");
            let mut found = BTreeSet::new();
            let opened = store::open(
                Opening {
                    directory: copy.path(),
                    witness: &Witness::default(),
                    rebuild: None,
                    meters: Meters::default(),
                },
                wall_clock(),
                |kept| {
                    found.insert(kept.event_id.as_str().to_owned());
                    Ok(())
                },
            );
            opened.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert!(before.is_subset(&found), "round {round}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_damaged_store_ends_the_start_with_65_and_the_way_out() {
    let daemon = Daemon::start("");
    for number in 0..50 {
        daemon.post(&block(&format!("evt-{number}"), &format!("user-{number}")));
    }
    let directory = killed(daemon);
    let path = store_of(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = b"evt-25";
    let at = bytes.windows(needle.len()).rposition(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    // Not where nothing looks any more: all of them.
    let places: Vec<_> =
        (0..bytes.len() - 6).filter(|at| bytes[*at..].starts_with(needle)).collect();
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&path, bytes).unwrap();
    let (code, stderr) = refusal(directory.path(), &[]);
    assert_eq!(code, Some(65), "{stderr}");
    let first = format!("portcullis: store.directory: {}: damaged: ", path.display());
    assert!(stderr.contains(&first) && stderr.contains("--rebuild-store"), "{stderr}");

    let config = directory.path().join("portcullis.toml");
    let mut rebuilt = Daemon::spawn("", directory);
    assert_eq!(rebuilt.process.exit_code(), Some(65));
    let log = std::fs::File::create(rebuilt.directory.path().join("log")).unwrap();
    let mut command = portcullis();
    command.args(["run", "--rebuild-store", "--config"]).arg(config).stderr(log);
    rebuilt.process = crate::harness::Process(command.spawn().unwrap());
    rebuilt.wait_for_health();
    assert!(rebuilt.log().contains("store rebuilt: some events may be missing"));
    let status = rebuilt.status();
    let kept = status["store"]["events"].as_u64().unwrap();
    assert!((1..50).contains(&kept), "{}", rebuilt.log());
    let names = std::fs::read_dir(rebuilt.directory.path().join("store")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let is_aside =
        |name: &std::ffi::OsString| name.to_string_lossy().starts_with("state.redb.corrupt-");
    assert_eq!(names.iter().filter(|name| is_aside(name)).count(), 1, "{names:?}");
    // Once is enough: the next start is an ordinary one.
    let directory = killed(rebuilt);
    let next = Daemon::spawn("", directory);
    next.wait_for_health();
    assert_eq!(next.status()["store"]["events"], kept);
}

#[test]
fn a_store_that_is_gone_ends_the_start_with_65() {
    let daemon = Daemon::start("");
    let directory = killed(daemon);
    std::fs::remove_file(store_of(directory.path())).unwrap();
    let (code, stderr) = refusal(directory.path(), &[]);
    assert_eq!(code, Some(65), "{stderr}");
    assert!(stderr.contains("state.redb: missing, though ") && stderr.contains("used before"));
    assert!(!store_of(directory.path()).exists());
}

#[test]
fn a_second_daemon_on_the_same_directory_is_told_whose_it_is() {
    let daemon = Daemon::start("");
    let (code, stderr) = refusal(daemon.directory.path(), &[]);
    assert_eq!(code, Some(69), "{stderr}");
    let message = format!("in use by the process {}", daemon.process.0.id());
    assert!(stderr.contains(&message), "{stderr}");
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["durable"], true);
}

#[test]
fn a_full_disk_is_an_alarm_and_enforcement_goes_on() {
    let daemon = Daemon::start("api.ack_timeout = \"200ms\"\n");
    let node = Running::start(&daemon, "edge-1", "a");
    assert_eq!(daemon.post(&block("evt-1", "alice")).status, 200);
    // Nothing at all can be written any more.
    daemon.limit_files("0");
    let answer = daemon.post(&block("evt-2", "bob"));
    let receipt = answer.json();
    assert_eq!(answer.status, 202, "{receipt}");
    assert_eq!((&receipt["enforced"], &receipt["durable"]), (&json!(true), &json!(false)));
    wait_until("the alarm", || daemon.status()["store"]["state"] == "failing");
    let ready = daemon.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("store is failing: "), "{}", ready.text);
    assert_eq!(daemon.metric("portcullis_store_failing"), 1.0);
    assert!(daemon.metric("portcullis_store_commit_failures_total") >= 1.0);
    let status = text(&daemon.cli(&["status"]).stdout);
    assert!(status.contains("NOT WRITABLE"), "{status}");
    daemon.limit_files("unlimited");
    wait_until("recovery", || daemon.status()["store"]["state"] == "healthy");
    assert_eq!(daemon.status()["store"]["queue"], 0);
    assert_eq!(daemon.status()["store"]["cause"], Value::Null);
    let again = daemon.post(&block("evt-2", "bob"));
    assert_eq!((again.status, &again.json()["durable"]), (200, &json!(true)));
    drop(node);
    let directory = killed(daemon);
    let next = Daemon::spawn("", directory);
    next.wait_for_health();
    for user in ["alice", "bob"] {
        assert_eq!(next.get(&format!("/v1/users/{user}")).status, 200);
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_noticed_without_an_event() {
    let daemon = Daemon::start("");
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["durable"], true);
    daemon.limit_files("0");
    wait_until("the alarm", || daemon.status()["store"]["state"] == "failing");
    assert!(daemon.get("/readyz").text.contains("store is failing: "));
    let cause = daemon.status()["store"]["cause"].to_string();
    assert!(cause.contains("state.mark"), "{cause}");
    daemon.limit_files("unlimited");
    wait_until("recovery", || daemon.get("/readyz").status == 200);
}
