//! The command line as a client of the API.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Daemon, OPERATOR, block, event, file, free_port, portcullis, text};
use crate::node::Running;

#[test]
fn commands_say_what_they_did() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    let commands: [&[&str]; 6] = [
        &["block", "alice", "--reason", "fraud", "--scope", "bet", "--for", "24h", "--disclose"],
        &["block", "alice", "--session", "--until", "2099-01-01T00:00:00Z"],
        &["zero", "alice", "--for", "1h"],
        &["override", "alice", "--limit", "per-user", "--max-tokens", "5"],
        &["override", "alice", "--limit", "per-user", "--default"],
        &["unblock", "alice", "--reason", "fraud"],
    ];
    for command in commands {
        let output = daemon.cli(command);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{command:?}");
        let stdout = text(&output.stdout);
        assert!(
            stdout.starts_with("enforced on 1 node of this daemon in "),
            "{command:?}: {stdout}"
        );
    }
    let user = daemon.get("/v1/users/alice").json();
    assert_eq!(user["blocks"], json!([]));
    assert!(user["zero"].is_object());
    assert_eq!(daemon.get("/v1/sessions/alice").json()["blocks"][0]["reason"], "unspecified");
}

#[test]
fn the_same_event_id_has_its_effect_once() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    let command = ["zero", "alice", "--event-id", "ticket-7"];
    assert!(daemon.cli(&command).status.success());
    let again = text(&daemon.cli(&command).stdout);
    assert!(
        again.starts_with("enforced on 1 node of this daemon already: this event was published"),
        "{again}"
    );
}

#[test]
fn what_is_not_enforced_exits_1_and_says_why() {
    let daemon = Daemon::start("");
    let output = daemon.cli(&["block", "alice"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    let stderr = text(&output.stderr);
    let start = "accepted, but NOT enforced by all of this daemon's Envoys: no node is connected to this \
                 daemon (event ";
    assert!(stderr.starts_with(start), "{stderr}");
    let refused = daemon.cli(&["block", "alice", "--reason", "Not A Name"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("refused: payload.reason: must be 1 to 64"));
}

#[test]
fn what_a_newer_event_overrules_exits_2_and_is_not_said_to_be_enforced() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    let directory = tempfile::tempdir().unwrap();
    let publish = |id: &str, number: u64, payload: serde_json::Value| {
        let mut event = event(id, "alice", payload);
        event["sequence"] = number.into();
        let path = file(directory.path(), id, &event.to_string());
        daemon.cli(&["publish", path.to_str().unwrap()])
    };
    let block = json!({ "action": "block", "reason": "fraud" });
    assert!(publish("evt-2", 2, block).status.success());
    let unblock = json!({ "action": "unblock", "reason": "fraud" });
    let output = publish("evt-1", 1, unblock);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    let stderr = text(&output.stderr);
    let start =
        "NOT in effect: the block \"fraud\" (event evt-2, sequence 2) is newer (event evt-1)";
    assert!(stderr.starts_with(start), "{stderr}");
    assert!(stderr.contains("warning: the block \"fraud\" stays in effect"), "{stderr}");
}

#[test]
fn an_unblock_that_lifts_nothing_exits_3_and_says_what_stays() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    assert!(daemon.cli(&["block", "alice", "--reason", "cooling_off"]).status.success());
    let output = daemon.cli(&["unblock", "alice", "--reason", "fraud"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(3), ""));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("changes nothing: there is nothing in effect"), "{stderr}");
    assert!(stderr.contains("warning: the block \"cooling_off\" stays in effect"), "{stderr}");
    assert!(stderr.contains("no block \"fraud\" is in effect"), "{stderr}");
    assert!(daemon.cli(&["unblock", "alice"]).status.success());
    assert_eq!(daemon.cli(&["unblock", "alice"]).status.code(), Some(3));
    let over = daemon.cli(&["block", "alice", "--until", "2020-01-01T00:00:00Z"]);
    assert_eq!(over.status.code(), Some(2));
}

#[test]
fn an_id_that_is_used_for_something_else_exits_4() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    assert!(daemon.cli(&["unblock", "alice", "--event-id", "x"]).status.code() == Some(3));
    let output = daemon.cli(&["block", "alice", "--event-id", "x"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(4), ""));
    assert!(text(&output.stderr).starts_with("refused: event_id: is that of another event"));
    assert_eq!(daemon.get("/v1/users/alice").json()["blocks"], json!([]));
}

#[test]
fn publish_takes_a_file_or_standard_input_and_goes_on_after_a_refusal() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    let mut bad = event("1", "alice", json!({ "action": "block" }));
    bad["schema_version"] = "9.0".into();
    let lines = format!("{bad}\n{}\n", block("2", "bob"));
    let mut child = portcullis()
        .env("PORTCULLIS_API", &daemon.api)
        .env("PORTCULLIS_TOKEN", OPERATOR)
        .args(["publish", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("refused: schema_version: "));
    assert!(text(&output.stdout).starts_with("enforced on 1 node"));

    let directory = tempfile::tempdir().unwrap();
    let pretty = serde_json::to_string_pretty(&event("3", "eve", json!({ "action": "zero" })));
    let path = file(directory.path(), "event.json", &pretty.unwrap());
    let output = daemon.cli(&["publish", "--json", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(receipt["event_id"], "3");

    let broken = file(directory.path(), "broken.json", &format!("{}{{\"a\"", block("4", "u")));
    let output = daemon.cli(&["publish", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).starts_with("portcullis: event 2: not JSON: "));
}

#[test]
fn status_shows_sources_and_nodes() {
    let daemon = Daemon::start("");
    let empty = text(&daemon.cli(&["status"]).stdout);
    assert!(empty.contains("nodes    none: no Envoy has polled yet"), "{empty}");
    let _node = Running::start(&daemon, "edge-1", "boot-a");
    let output = daemon.cli(&["status"]);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    assert!(shown.contains("source   embedded: connected, alive 0 ms ago"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("edge-1  boot-a  connected  0")), "{shown}");
    let json: Value = serde_json::from_slice(&daemon.cli(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["nodes"][0]["node"], "edge-1");
}

#[test]
fn wrong_usage_exits_64() {
    let wrong: [&[&str]; 16] = [
        &[],
        &["ban", "alice"],
        &["block"],
        &["block", "alice", "--for", "soon"],
        &["block", "alice", "--until", "tomorrow"],
        &["block", "alice", "--for", "1h", "--until", "2099-01-01T00:00:00Z"],
        &["override", "alice", "--limit", "x"],
        &["block", "bob "],
        &["unblock", "\tbob"],
        &["zero", " "],
        &["override", "alice", "--limit", "x", "--default", "--max-tokens", "5"],
        &["override", "alice", "--limit", "x", "--default", "--tokens-per-fill", "5"],
        &["override", "alice", "--limit", "x", "--default", "--fill-interval", "5s"],
        &["publish", "/nowhere"],
        &["status", "--api", "ftp://x"],
        &["run"],
    ];
    for arguments in wrong {
        let output = portcullis().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
    for help in ["--help", "--version"] {
        let output = portcullis().arg(help).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn no_daemon_exits_69() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let output = portcullis().args(["status", "--api", &nowhere]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let message = format!("portcullis: cannot reach the daemon at {nowhere}: ");
    assert!(text(&output.stderr).starts_with(&message));
}
