//! The keys file under a running daemon, and the commands that list and rotate what is in it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use model::push::batch::Kind;
use serde_json::Value;

use crate::harness::{Daemon, file, portcullis, private, text, tokens, wait_until};
use crate::node::Node;

/// Stands in every secret here, and must stand nowhere else.
const MARK: &str = "do-not-show-me";

fn key(id: &str, partner: &str) -> String {
    format!("[[keys]]\nid = \"{id}\"\npartner = \"{partner}\"\nsecret = \"{MARK}-{id}\"\n")
}

fn start(text: &str) -> (Daemon, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = private(directory.path(), "keys.toml", text);
    let daemon = Daemon::spawn(&format!("keys.file = {path:?}\npoll.hold = \"2s\"\n"), directory);
    daemon.wait_for_health();
    (daemon, path)
}

fn rotate(path: &Path, arguments: &[&str]) -> Output {
    let mut command = portcullis();
    command.args(["keys", "rotate"]).args(arguments).arg("--file").arg(path).output().unwrap()
}

fn ids(node: &Node) -> Vec<&str> {
    node.keys.iter().map(|key| key.id.as_str()).collect()
}

#[test]
fn a_rotation_reaches_a_held_poll_and_the_old_key_gets_an_end() {
    let (daemon, path) = start(&key("k1", "acme"));
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    assert_eq!(ids(&node), ["k1"], "with the first answer");
    let first = node.next.keys_version;
    let (batch, answered) = std::thread::scope(|scope| {
        let held = scope.spawn(|| (node.poll(), Instant::now()));
        wait_until("the poll to arrive", || daemon.status()["nodes"][0]["keys_version"] == first);
        let rotated = Instant::now();
        let output = rotate(&path, &["acme", "--grace", "24h", "--json"]);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        let (batch, answered) = held.join().unwrap();
        let printed: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        assert_eq!(printed["ended"][0]["id"], "k1");
        assert!(printed["secret"].as_str().unwrap().starts_with("whsec_"));
        (batch, answered - rotated)
    });
    assert_eq!((batch.kind(), batch.changes.len()), (Kind::Heartbeat, 0));
    assert!(answered < Duration::from_millis(1_900), "{answered:?}");
    let new = node.keys.iter().find(|key| key.id.as_str().starts_with("acme-")).unwrap();
    assert_eq!((new.not_before, new.not_after), (None, None));
    let old = node.keys.iter().find(|key| key.id.as_str() == "k1").unwrap();
    assert!(old.not_after.is_some());
    node.poll();
    let status = daemon.status();
    assert_eq!(status["nodes"][0]["keys_version"], status["keys"]["version"]);
    assert!(status["keys"]["version"].as_u64().unwrap() > first);
    assert_eq!(daemon.metric("portcullis_keys{state=\"active\"}"), 2.0);
    let sample = "portcullis_node_keys_current{node=\"edge-1\",boot_id=\"a\"}";
    assert_eq!(daemon.metric(sample), 1.0);
}

#[test]
fn a_broken_file_changes_nothing_and_is_seen_until_it_is_repaired() {
    let (daemon, path) = start(&key("k1", "acme"));
    let failures = || daemon.metric("portcullis_keys_reload_failures_total");
    let mut node = Node::new(&daemon, "edge-1", "a");
    private(path.parent().unwrap(), "keys.toml", &format!("{}oops {MARK}", key("k2", "acme")));
    wait_until("the failure to be counted", || failures() == 1.0);
    node.poll();
    assert_eq!(ids(&node), ["k1"]);
    let status = daemon.status();
    let failure = status["keys"]["failure"].as_str().unwrap();
    assert!(failure.starts_with("keys file line 5: "), "{failure}");
    assert!(daemon.log().contains("keys file cannot be used"), "{}", daemon.log());
    assert_eq!(daemon.metric("portcullis_keys_file_broken"), 1.0);
    assert_eq!(daemon.get("/readyz").status, 200);
    let shown = text(&daemon.cli(&["status"]).stdout);
    assert!(shown.contains("keys     1 key valid; "), "{shown}");
    assert!(shown.contains("NOT IN FORCE: keys file line 5: "), "{shown}");

    std::fs::remove_file(&path).unwrap();
    wait_until("the missing file to be counted", || failures() == 2.0);
    private(path.parent().unwrap(), "keys.toml", &key("k2", "acme"));
    wait_until("the repair", || daemon.status()["keys"]["failure"].is_null());
    node.poll();
    assert_eq!(ids(&node), ["k2"]);
    assert_eq!((failures(), daemon.metric("portcullis_keys_file_broken")), (2.0, 0.0));
    assert!(!daemon.log().contains(MARK));
}

#[test]
fn a_restarted_daemon_gives_its_keys_again_and_one_without_takes_them_away() {
    let (mut daemon, path) = start(&key("k1", "acme"));
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let directory = daemon.end();
    daemon = Daemon::spawn(&format!("keys.file = {path:?}\n"), directory);
    wait_until("the next daemon", || node.try_poll().is_ok());
    assert_eq!(ids(&node), ["k1"]);
    let directory = daemon.end();
    daemon = Daemon::spawn("", directory);
    wait_until("the last daemon", || node.try_poll().is_ok());
    assert_eq!(ids(&node), [""; 0]);
    drop(daemon);
}

#[test]
fn nothing_shows_a_secret() {
    let (daemon, path) = start(&(key("k1", "acme") + &key("k2", "beta")));
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let place = path.to_str().unwrap();
    let config = daemon.directory.path().join("portcullis.toml");
    let listed = text(&daemon.cli(&["keys", "list", "--config", config.to_str().unwrap()]).stdout);
    assert!(listed.contains("k1") && listed.contains("beta"), "{listed}");
    for shown in [
        listed,
        text(&daemon.cli(&["keys", "list", "--file", place, "--json"]).stdout),
        text(&daemon.cli(&["status"]).stdout),
        daemon.get("/v1/status").text,
        daemon.get("/metrics").text,
        daemon.log(),
    ] {
        assert!(!shown.contains(MARK), "{shown}");
    }
    let only = text(&daemon.cli(&["keys", "list", "--file", place, "--partner", "beta"]).stdout);
    assert!(only.contains("k2") && !only.contains("k1"), "{only}");
}

#[test]
fn keys_that_cannot_be_used_end_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let open = file(directory.path(), "open.toml", &key("k1", "acme"));
    std::fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    let empty = private(directory.path(), "empty.toml", "");
    let wrong = private(directory.path(), "wrong.toml", &key("k 1", "acme"));
    let cases = [
        (open.clone(), "keys.file: ", "has mode 0644: others must not read"),
        (empty, "keys.file: ", "is empty, as if it were being written"),
        (wrong, "keys[0].id: ", "must be 1 to 64"),
        ("/nowhere/keys.toml".into(), "keys.file: ", "cannot read /nowhere/keys.toml: No such"),
    ];
    let config = |keys: &Path| {
        let text = format!(
            "poll = {{ listen = \"unix:/run/x.sock\", secret = \"0123456789abcdef\" }}\n\
             store.directory = \"/x\"\nkeys.file = {keys:?}\n"
        );
        file(directory.path(), "portcullis.toml", &(text + &tokens()))
    };
    for (keys, field, rule) in cases {
        for check in [true, false] {
            let mut command = portcullis();
            command.args(["run", "--config"]).arg(config(&keys)).args(check.then_some("--check"));
            let output = command.output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{stderr}");
            assert!(stderr.starts_with(&format!("portcullis: {field}")), "{stderr}");
            assert!(stderr.contains(rule) && !stderr.contains(MARK), "{stderr}");
        }
    }
    let output = rotate(&open, &["acme", "--grace", "1h"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("chmod 0600"), "{}", text(&output.stderr));
}

#[test]
fn rotate_says_what_it_did_and_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.toml");
    let output = rotate(&path, &["acme", "--grace", "24h"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("cannot read "), "{}", text(&output.stderr));
    let output = rotate(&path, &["acme", "--grace", "24h", "--first"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = rotate(&path, &["acme", "--grace", "0s"]);
    let stdout = text(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("id      acme-2"), "{stdout}");
    assert!(lines[1].starts_with("secret  whsec_"), "{stdout}");
    assert!(lines[2].starts_with("ends    acme-2") && lines.len() == 3, "{stdout}");
    wait_until("the old key to have ended", || {
        let mut list = portcullis();
        let list = list.args(["keys", "list", "--file"]).arg(&path).output().unwrap();
        text(&list.stdout).contains("expired")
    });
    for (arguments, message) in [
        (["acme", "--grace", "1"], "must be a whole number and a unit"),
        (["Acme", "--grace", "1h"], "must be 1 to 64 characters"),
        (["nobody", "--grace", "1h"], "partner: no key of nobody in the file; --first makes"),
    ] {
        let output = rotate(&path, &arguments);
        assert_eq!(output.status.code(), Some(64));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}
