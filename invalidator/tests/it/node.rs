//! A node that speaks the push protocol: what the filter in Envoy does, without Envoy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use model::push::batch::Kind;
use model::push::{self, Batch, Message, Poll};
use model::state::State;
use model::subject::Subject;
use signing::key::KeySet;

use crate::harness::{Daemon, SECRET, wait_until};

const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends a poll; the answer's status and body.
pub(crate) fn exchange(
    stream: impl Read + Write,
    authorization: Option<&str>,
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    exchange_at(push::PATH, stream, authorization, body)
}

/// Sends a request to the door for nodes; the answer's status and body.
pub(crate) fn exchange_at(
    path: &str,
    mut stream: impl Read + Write,
    authorization: Option<&str>,
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let authorization =
        authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    // The daemon may answer, and close, before it has read everything.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    Ok((status, answer[end + 4..].to_vec()))
}

pub(crate) fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(stream)
}

pub(crate) fn bearer() -> String {
    format!("Bearer {SECRET}")
}

pub(crate) struct Node {
    socket: PathBuf,
    pub(crate) next: Poll,
    pub(crate) states: BTreeMap<Subject, State>,
    pub(crate) source_age_ms: Option<u64>,
    /// The keys as last pushed.
    pub(crate) keys: KeySet,
}

impl Node {
    pub(crate) fn new(daemon: &Daemon, name: &str, boot_id: &str) -> Self {
        let next = Poll {
            protocol: 1,
            node: name.into(),
            boot_id: boot_id.into(),
            route_groups: vec!["bet".into()],
            limits: vec!["per-user".into()],
            ..Poll::default()
        };
        let socket = daemon.socket.clone();
        let keys = KeySet::default();
        Self { socket, next, states: BTreeMap::new(), source_age_ms: None, keys }
    }

    /// The poll as bytes, and a connection that it has been sent on.
    pub(crate) fn ask(&self) -> std::io::Result<Batch> {
        let body = self.next.encode_to_vec();
        let (status, body) = exchange(connect(&self.socket)?, Some(&bearer()), &body)?;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        Ok(Batch::decode(body.as_slice()).unwrap())
    }

    pub(crate) fn poll(&mut self) -> Batch {
        self.try_poll().unwrap()
    }

    /// Polls once, and applies the answer.
    pub(crate) fn try_poll(&mut self) -> std::io::Result<Batch> {
        let batch = self.ask()?;
        for change in batch.changes.clone() {
            let subject = Subject::try_from(change.subject.clone().unwrap()).unwrap();
            let state = State::try_from(change).unwrap();
            self.states.entry(subject).or_default().merge_state(state);
        }
        if let Some(keys) = batch.keys.clone() {
            assert!(keys.version > self.next.keys_version, "an older set: {keys:?}");
            self.next.keys_version = keys.version;
            self.keys = KeySet::try_from(keys).unwrap();
        }
        self.next.epoch.clone_from(&batch.epoch);
        self.next.applied = batch.sequence;
        self.next.in_snapshot = batch.kind() == Kind::Snapshot && !batch.last;
        self.next.cursor.clone_from(&batch.cursor);
        self.source_age_ms = batch.source_age_ms;
        Ok(batch)
    }

    /// Polls until told to stop, also while the daemon is away.
    pub(crate) fn run(mut self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if self.try_poll().is_err() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            self
        });
        Running { stop, thread: Some(thread) }
    }
}

/// A node that polls on a thread of its own.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Node>>,
}

impl Running {
    /// Starts a node, and waits until the daemon knows that it has a whole snapshot.
    pub(crate) fn start(daemon: &Daemon, name: &str, boot_id: &str) -> Self {
        let running = Node::new(daemon, name, boot_id).run();
        wait_until("the node to be synchronized", || is_synced(daemon, boot_id));
        running
    }

    /// Stops after the poll that is under way.
    pub(crate) fn stop(mut self) -> Node {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn is_synced(daemon: &Daemon, boot_id: &str) -> bool {
    let status = daemon.status();
    let mut nodes = status["nodes"].as_array().unwrap().iter();
    nodes.any(|node| node["boot_id"] == boot_id && node["synced"] == true)
}
