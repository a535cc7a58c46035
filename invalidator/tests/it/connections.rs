//! Connections to the door for Envoys: who may stay, and for how long.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use model::push::Message;

use crate::harness::{Daemon, OPERATOR};
use crate::node::{Node, bearer, connect};

/// Far longer than a new connection may stay silent, and shorter than an idle one may stay.
const PATIENCE: Duration = Duration::from_secs(10);

fn head(line: &str, authorization: &str, length: usize) -> String {
    let length = format!("content-length: {length}");
    format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n{length}\r\n\r\n")
}

/// Reads until the daemon closes the connection.
fn until_closed(mut stream: UnixStream) -> String {
    let (start, mut text) = (Instant::now(), String::new());
    stream.read_to_string(&mut text).unwrap();
    assert!(start.elapsed() < PATIENCE, "{text}");
    text
}

#[test]
fn who_connects_and_says_nothing_or_not_all_is_sent_away() {
    let daemon = Daemon::start("");
    let silent = connect(&daemon.socket).unwrap();
    let mut slow = connect(&daemon.socket).unwrap();
    slow.write_all(b"POST /v1/poll HTTP/1.1\r\nhost:").unwrap();
    until_closed(silent);
    until_closed(slow);
}

#[test]
fn who_is_not_a_node_does_not_stay_connected() {
    let daemon = Daemon::start("");
    let requests = [
        (head("POST /v1/poll", "Bearer wrong", 0), "401"),
        (head("GET /v1/poll", "Bearer wrong", 0), "405"),
        (head("GET /", "Bearer wrong", 0), "404"),
    ];
    for (request, status) in requests {
        let mut stream = connect(&daemon.socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let start = Instant::now();
        let answer = until_closed(stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_node_polls_again_and_again_on_one_connection() {
    let daemon = Daemon::start("");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let body = node.next.encode_to_vec();
    let mut stream = connect(&daemon.socket).unwrap();
    let start = Instant::now();
    // Each is held for a second: together for longer than a silent connection would last.
    for _ in 0..4 {
        stream.write_all(head("POST /v1/poll", &bearer(), body.len()).as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
    assert!(start.elapsed() > Duration::from_secs(3));
}

#[test]
fn a_web_page_does_not_reach_the_api_by_a_name_of_its_own() {
    let daemon = Daemon::start("");
    let address = daemon.api.strip_prefix("http://").unwrap();
    let hosts = [
        ("", "200"),
        ("host: localhost\r\n", "200"),
        ("host: evil.example:7700\r\n", "421"),
        ("host: evil.example\r\nhost: localhost\r\n", "421"),
    ];
    for path in ["/v1/status", "/metrics", "/healthz"] {
        for (host, status) in hosts {
            let mut stream = TcpStream::connect(address).unwrap();
            let token = format!("authorization: Bearer {OPERATOR}\r\n");
            let end = "connection: close\r\n\r\n";
            let request = format!("GET {path} HTTP/1.1\r\n{token}{host}{end}");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {host}: {answer}");
            assert!(status == "200" || answer.contains("application/problem+json"), "{answer}");
        }
    }
}
