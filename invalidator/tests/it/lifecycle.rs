//! Start and stop: exit codes, sockets, and what SIGTERM lets end in peace.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use model::push::batch::Kind;

use crate::harness::{Daemon, block, file, free_port, portcullis, text, tokens, wait_until};
use crate::node::{Node, Running, is_synced};

#[test]
fn wrong_configurations_exit_64_and_name_the_field() {
    let directory = tempfile::tempdir().unwrap();
    let poll = "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n\
                [store]\ndirectory = \"/x\"\n";
    let cases = [
        (String::new(), "config: missing field `poll`"),
        ("poll = ".to_owned(), "config line 1:"),
        (format!("{poll}[api]\nlisten = \"0.0.0.0:1\""), "api.listen: must be a loopback"),
        (format!("{poll}[sources.redis]\nurl = \"amqp://x\""), "sources.redis.url: must be redis"),
        (format!("{poll}[surprise]"), "surprise: unknown field"),
    ];
    for (config, message) in cases {
        let path = file(directory.path(), "wrong.toml", &(config + &tokens()));
        let output = portcullis().args(["run", "--config"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with(&format!("portcullis: {message}")), "{stderr}");
    }
    let output = portcullis().args(["run", "--config", "/nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("portcullis: config: cannot read /nowhere.toml"), "{stderr}");
}

#[test]
fn a_configuration_can_be_checked_without_running() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n\
                  [store]\ndirectory = \"/var/lib/portcullis\"\n";
    let path = file(directory.path(), "good.toml", &(config.to_owned() + &tokens()));
    let output = portcullis().args(["run", "--check", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).ends_with("good.toml: the configuration is valid\n"));
}

#[test]
fn an_address_that_is_taken_exits_69() {
    let first = Daemon::start("");
    let port = first.api.rsplit(':').next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        (format!("unix:{}", first.socket.display()), free_port().to_string(), "poll.listen"),
        (format!("127.0.0.1:{}", free_port()), port.to_owned(), "api.listen"),
        ("unix:/nowhere/poll.sock".to_owned(), free_port().to_string(), "poll.listen"),
    ];
    for (poll, port, field) in cases {
        let config = format!(
            "[poll]\nlisten = \"{poll}\"\nsecret = \"0123456789abcdef\"\n\
             [api]\nlisten = \"127.0.0.1:{port}\"\n[store]\ndirectory = \"{}\"\n{}",
            directory.path().join("store").display(),
            tokens()
        );
        let path = file(directory.path(), "taken.toml", &config);
        let output = portcullis().args(["run", "--config"]).arg(&path).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{stderr}");
        assert!(stderr.contains(&format!("portcullis: {field}: cannot listen on ")), "{stderr}");
    }
    assert_eq!(first.get("/healthz").status, 200);
    Node::new(&first, "edge-1", "a").poll();
}

#[test]
fn the_socket_has_its_mode_and_a_leftover_of_a_killed_daemon_is_replaced() {
    let mut killed = Daemon::start("");
    let mode = std::fs::metadata(&killed.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    killed.process.0.kill().unwrap();
    killed.process.0.wait().unwrap();
    assert!(killed.socket.exists());
    let directory = std::mem::replace(&mut killed.directory, tempfile::tempdir().unwrap());
    let next = Daemon::spawn("", directory);
    wait_until("the next daemon", || Node::new(&next, "edge-1", "a").try_poll().is_ok());
}

#[test]
fn sigterm_answers_held_polls_and_publishers_and_exits_0() {
    let mut daemon = Daemon::start("api.ack_timeout = \"300ms\"\n[log]\nformat = \"text\"\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    // A node that takes part, and one that has polled once and never acknowledges.
    let held = Running::start(&daemon, "edge-2", "b");
    node.poll();
    let answer = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| daemon.post(&block("evt-1", "alice")));
        wait_until("the event", || daemon.status()["sequence"] == 1);
        daemon.process.signal("-TERM");
        publisher.join().unwrap()
    });
    assert_eq!(answer.status, 202, "the publisher still gets an answer");
    assert_eq!(answer.json()["nodes"][0]["node"], "edge-2");
    assert_eq!(daemon.process.exit_code(), Some(0));
    assert!(!daemon.socket.exists());
    assert!(daemon.log().contains("daemon stopped"));
    drop(held);
}

#[test]
fn sigterm_answers_a_held_poll_at_once() {
    let mut daemon = Daemon::start("poll.hold = \"2s\"\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let start = Instant::now();
    let batch = std::thread::scope(|scope| {
        let held = scope.spawn(|| node.poll());
        wait_until("the poll to arrive", || is_synced(&daemon, "a"));
        daemon.process.signal("-TERM");
        held.join().unwrap()
    });
    assert_eq!(batch.kind(), Kind::Heartbeat);
    assert!(start.elapsed() < Duration::from_millis(1_500));
    assert_eq!(daemon.process.exit_code(), Some(0));
}

#[test]
fn a_client_that_never_finishes_its_request_does_not_keep_the_daemon() {
    let mut daemon = Daemon::start("api.ack_timeout = \"10ms\"\n");
    let address = daemon.api.strip_prefix("http://").unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"GET /healthz HT").unwrap();
    assert_eq!(daemon.get("/healthz").status, 200);
    daemon.process.signal("-TERM");
    assert_eq!(daemon.process.exit_code(), Some(0));
}

#[test]
fn a_restarted_daemon_gives_its_nodes_a_snapshot_of_its_new_epoch() {
    let mut daemon = Daemon::start("");
    daemon.post(&block("evt-1", "alice"));
    let mut node = Node::new(&daemon, "edge-1", "a");
    let before = node.poll();
    let next = Daemon::spawn("", daemon.end());
    let mut after = None;
    wait_until("the next daemon", || {
        after = node.try_poll().ok();
        after.is_some()
    });
    let after = after.unwrap();
    assert_ne!(before.epoch, after.epoch);
    assert_eq!((after.kind(), after.sequence, after.last), (Kind::Snapshot, 1, true));
    assert_eq!((after.changes.len(), node.states.len()), (1, 1));
    drop(next);
}
