//! Limits across the fleet through real daemons and a real Redis: reports by hand, as a node sends them.

mod failures;
mod hostile;
mod key;
mod news;
mod reports;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use model::push::{
    self, Batch, FLEET_PATH, FleetAnswers, FleetBucket, FleetKey, FleetReport, FleetReports,
    FleetUse, Message, Rate,
};
use serde_json::Value;

use crate::harness::{Daemon, Redis, wait_until};
use crate::node::{Node, bearer, connect, exchange_at};

/// Ten tokens, of which one comes back each second.
const RATE: Rate = Rate { max_tokens: 10, tokens_per_fill: 1, fill_interval: 1_000_000_000 };
const CHANNEL: &str = "portcullis.fleet.0";

fn daemon(redis: &Redis, name: &str, more: &str) -> Daemon {
    let config = format!(
        "fleet.name = \"{name}\"\n{more}\n[sources.redis]\nurl = \"{}\"\n\
         ping_interval = \"100ms\"\ndead_after = \"1s\"\n",
        redis.url()
    );
    let daemon = Daemon::start(&config);
    wait_until("Redis", || daemon.get("/readyz").status == 200);
    daemon
}

/// A node with limits across the fleet.
pub(crate) struct Sharing {
    node: Node,
    socket: std::path::PathBuf,
    serial: u64,
    key: FleetKey,
}

impl Sharing {
    /// Polls until it has the key and may report.
    pub(crate) fn start(daemon: &Daemon, name: &str) -> Self {
        let mut node = Node::new(daemon, name, &format!("boot-{name}"));
        node.next.fleet = Some(FleetUse::default());
        let key = FleetKey::default();
        let mut sharing = Self { node, socket: daemon.socket.clone(), serial: 0, key };
        wait_until("the fleet's key", || {
            sharing.poll();
            sharing.key.version != 0
        });
        wait_until("Redis", || daemon.status()["fleet_limits"]["ledger"] == "open");
        sharing
    }

    /// Polls once, and takes the key over if there is one.
    pub(crate) fn poll(&mut self) -> Batch {
        let batch = self.node.poll();
        if let Some(key) = &batch.fleet_key {
            self.key = key.clone();
            self.node.next.fleet.as_mut().unwrap().key_version = key.version;
        }
        batch
    }

    /// A call with one report of takes from the bucket of this subject.
    fn call(&mut self, subject: u8, takes: u32) -> FleetReports {
        self.serial += 1;
        self.call_again(subject, takes, self.serial)
    }

    fn call_again(&self, subject: u8, takes: u32, serial: u64) -> FleetReports {
        FleetReports {
            protocol: 1,
            node: self.node.next.node.clone(),
            boot_id: self.node.next.boot_id.clone(),
            key_version: self.key.version,
            boot: self.node.next.node.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte)),
            reports: vec![report(subject, takes, serial)],
        }
    }

    fn send(&self, call: &FleetReports) -> Result<FleetAnswers, (u16, Value)> {
        let (status, body) = post(&self.socket, &call.encode_to_vec());
        match status {
            200 => Ok(FleetAnswers::decode(body.as_slice()).unwrap()),
            _ => Err((status, serde_json::from_slice(&body).unwrap())),
        }
    }

    /// How long until the bucket is full, in tokens, once so many more were taken.
    pub(crate) fn take(&mut self, subject: u8, takes: u32) -> f64 {
        let call = self.call(subject, takes);
        tokens(&self.send(&call).unwrap())
    }

    /// The same; nothing if it is refused.
    pub(crate) fn try_take(&mut self, subject: u8, takes: u32) -> Option<f64> {
        let call = self.call(subject, takes);
        self.send(&call).ok().map(|answers| tokens(&answers))
    }
}

pub(crate) fn bucket(subject: u8) -> FleetBucket {
    FleetBucket { subject: vec![subject; 16], limit: 1, rate: 2 }
}

fn report(subject: u8, takes: u32, serial: u64) -> FleetReport {
    FleetReport {
        serial,
        bucket: Some(bucket(subject)),
        takes,
        epoch: None,
        emptied: false,
        rate: Some(RATE),
        debt_percent: 100,
    }
}

/// What is missing from the bucket of the one answer, in tokens.
fn tokens(answers: &FleetAnswers) -> f64 {
    let [answer] = answers.answers.as_slice() else { panic!("{answers:?}") };
    answer.remaining_us as f64 / 1e6
}

/// Whether so many tokens are missing, of which some have come back since.
fn is_about(missing: f64, tokens: f64) -> bool {
    missing <= tokens && missing > tokens - 0.9
}

fn post(socket: &std::path::Path, body: &[u8]) -> (u16, Vec<u8>) {
    exchange_at(FLEET_PATH, connect(socket).unwrap(), Some(&bearer()), body).unwrap()
}

/// One command of Redis.
fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut redis.connect()).unwrap()
}
