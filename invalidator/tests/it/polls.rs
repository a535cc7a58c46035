//! The door for Envoys: who gets in, and what happens to polls that are held.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use model::push::batch::Kind;
use model::push::{Batch, Message};

use crate::harness::{Daemon, SECRET, block, free_port, tokens, wait_until};
use crate::node::{Node, Running, bearer, connect, exchange};

#[test]
fn a_poll_without_the_secret_gets_nothing() {
    let daemon = Daemon::start("");
    daemon.post(&block("evt-1", "alice"));
    let poll = Node::new(&daemon, "edge-1", "a").next.encode_to_vec();
    let wrong = [
        None,
        Some("Bearer ".to_owned()),
        Some("Bearer a-secret-for-the-testz".to_owned()),
        Some(format!("Bearer {SECRET}{SECRET}")),
        Some(format!("Basic {SECRET}")),
    ];
    for authorization in &wrong {
        let stream = connect(&daemon.socket).unwrap();
        let answer = exchange(stream, authorization.as_deref(), &poll).unwrap();
        assert_eq!(answer, (401, Vec::new()), "{authorization:?}");
    }
    assert_eq!(daemon.metric("portcullis_poll_auth_failures_total"), 5.0);
    for _ in 0..195 {
        let stream = connect(&daemon.socket).unwrap();
        assert_eq!(exchange(stream, None, &poll).unwrap().0, 401);
    }
    assert_eq!(daemon.metric("portcullis_poll_auth_failures_total"), 200.0);
    let lines = daemon.log().matches("poll with a missing or wrong secret").count();
    assert!((100..200).contains(&lines), "{lines} lines");
    assert_eq!(daemon.status()["nodes"].as_array().unwrap().len(), 0);
}

#[test]
fn a_node_for_which_there_is_no_room_is_counted_and_publishers_are_warned() {
    let daemon = Daemon::start("[limits]\nnodes_max = 1\n");
    let _node = Running::start(&daemon, "edge-1", "a");
    let other = Node::new(&daemon, "edge-2", "b").next.encode_to_vec();
    let stream = connect(&daemon.socket).unwrap();
    assert_eq!(exchange(stream, Some(&bearer()), &other).unwrap().0, 503);
    assert_eq!(daemon.metric("portcullis_nodes_refused_total"), 1.0);
    let receipt = daemon.post(&block("evt-1", "alice")).json();
    let warning = receipt["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("limits.nodes_max: a node was turned away"), "{warning}");
}

#[test]
fn polls_that_break_the_protocol_are_refused() {
    let daemon = Daemon::start("");
    let good = Node::new(&daemon, "edge-1", "a").next;
    let bodies = [
        (b"\xff\xff\xff".to_vec(), 400, "portcullis.push.v1.Poll"),
        (Vec::new(), 400, "protocol"),
        (model::push::Poll { protocol: 2, ..good.clone() }.encode_to_vec(), 400, "protocol"),
        (model::push::Poll { node: "a b".into(), ..good.clone() }.encode_to_vec(), 400, "node"),
        (model::push::Poll { boot_id: String::new(), ..good }.encode_to_vec(), 400, "boot_id"),
        (vec![0; 300_000], 413, "262144"),
    ];
    for (body, status, part) in bodies {
        let mut answer = None;
        // The answer to a body that is too long overtakes the body, and the rest of that may then
        // meet a closed connection before the answer has been read.
        wait_until("an answer", || {
            let stream = connect(&daemon.socket).unwrap();
            answer = exchange(stream, Some(&bearer()), &body).ok();
            answer.is_some()
        });
        let (code, text) = answer.unwrap();
        assert_eq!(code, status);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(daemon.metric("portcullis_polls_malformed_total"), 5.0);
}

#[test]
fn a_poll_is_held_and_then_answered_with_a_heartbeat() {
    let daemon = Daemon::start("");
    let mut node = Node::new(&daemon, "edge-1", "a");
    assert_eq!(node.poll().kind(), Kind::Snapshot);
    let start = Instant::now();
    let batch = node.poll();
    assert_eq!((batch.kind(), batch.source_age_ms), (Kind::Heartbeat, Some(0)));
    assert!(start.elapsed() >= Duration::from_millis(900));
}

#[test]
fn polls_work_over_tcp_too() {
    let port = free_port();
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[poll]\nlisten = \"127.0.0.1:{port}\"\nsecret = \"{SECRET}\"\n\
         [api]\nlisten = \"127.0.0.1:{}\"\n[store]\ndirectory = \"{}\"\n{}",
        free_port(),
        directory.path().join("store").display(),
        tokens()
    );
    let path = crate::harness::file(directory.path(), "tcp.toml", &config);
    let child = crate::harness::portcullis()
        .args(["run", "--config"])
        .arg(path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _process = crate::harness::Process(child);
    wait_until("the listener", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let daemon = Daemon::start("");
    let poll = Node::new(&daemon, "edge-1", "a").next.encode_to_vec();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (status, body) = exchange(stream, Some(&bearer()), &poll).unwrap();
    assert_eq!(status, 200);
    assert_eq!(Batch::decode(body.as_slice()).unwrap().kind(), Kind::Snapshot);
}

#[test]
fn an_envoy_that_goes_away_while_held_leaves_nothing_behind() {
    let daemon = Daemon::start("api.ack_timeout = \"100ms\"\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let body = node.next.encode_to_vec();
    let mut stream = connect(&daemon.socket).unwrap();
    let head = format!(
        "POST /v1/poll HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n",
        bearer(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    wait_until("the poll to arrive", || crate::node::is_synced(&daemon, "a"));
    drop(stream);
    wait_until("the node to be gone", || daemon.status()["nodes"][0]["connected"] == false);
    assert_eq!(daemon.metric("portcullis_nodes"), 0.0);
    let receipt = daemon.post(&block("evt-1", "alice")).json();
    assert_eq!(receipt["pending"].as_array().unwrap().len(), 0);
    let warning = receipt["warnings"][0].as_str().unwrap();
    assert!(warning.contains("edge-1 was connected until recently"), "{warning}");
    wait_until("the log line", || daemon.log().contains("node is gone"));
}

#[test]
fn a_newer_poll_supersedes_the_older_one() {
    let daemon = Daemon::start("poll.hold = \"2s\"\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let older = scope.spawn(|| (node.ask().unwrap(), start.elapsed()));
        wait_until("the older poll to arrive", || crate::node::is_synced(&daemon, "a"));
        let newer = scope.spawn(|| node.ask().unwrap());
        let (batch, elapsed) = older.join().unwrap();
        assert_eq!(batch.kind(), Kind::Heartbeat);
        assert!(elapsed < Duration::from_millis(1_500), "{elapsed:?}");
        let published = daemon.post(&block("evt-1", "alice"));
        assert_eq!(newer.join().unwrap().changes.len(), 1, "{}", published.text);
    });
}

#[test]
fn a_large_state_arrives_in_chunks() {
    let daemon = Daemon::start("");
    let events: Vec<_> =
        (0..1_200).map(|n| block(&format!("e{n}"), &format!("user-{n}"))).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = crate::harness::file(directory.path(), "events", &events.join("\n"));
    daemon.cli(&["publish", path.to_str().unwrap()]);
    let mut node = Node::new(&daemon, "edge-1", "a");
    let mut chunks = 0;
    loop {
        let batch = node.poll();
        chunks += 1;
        assert_eq!(batch.kind(), Kind::Snapshot);
        assert!(batch.changes.len() <= 512);
        if batch.last {
            break;
        }
    }
    assert_eq!((chunks, node.states.len()), (3, 1_200));
}
