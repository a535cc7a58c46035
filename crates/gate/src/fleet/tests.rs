//! Several nodes, each with the gate, the memory and the workers of one Envoy, over one ledger: what Redis does, without
//! the way there.

use std::collections::VecDeque;
use std::time::Duration;

use ::fleet::ledger::Ledger;
use ::fleet::terms::{DebtMax, Terms};
use ::fleet::wire::{BucketName, News, Partition, Report, ReportId};
use model::bucket::{Bucket, Rate, RateTag};
use model::hash::SubjectHash;
use model::memory::{MemoryKey, SharedMemory};
use model::push::{self, FleetAnswer, FleetAnswers, FleetReports, Message};
use model::state::{Effect, Override, Register};
use model::testing::Memory;
use model::time::{Clock, MonotonicNanos, UnixMicros};
use serde_json::{Value, json};

use super::link;
use super::memo::FleetMemo;
use super::news::hear;
use super::reporter::{CALL_GAP, Malformed, Place, Reporter};
use crate::decide::{Context, Decision, Freshness, Gate, HeadersDecision, Verdict, WorkerMemo};
use crate::request::testing::Plain;
use crate::testing::{Time, at, base, event, gate, lift, name, state, user, zero};

mod failing;
mod room;
mod taking;

/// One worker of a node.
struct Worker {
    memo: WorkerMemo,
    reporter: Reporter,
    /// The answer that is on its way, and when it comes.
    answer: Option<(MonotonicNanos, Vec<u8>)>,
}

/// One Envoy.
struct Node {
    gate: Gate,
    memory: Memory,
    workers: Vec<Worker>,
    boot_id: String,
}

/// What stands for daemons and Redis, a millisecond away from everybody.
struct World {
    nodes: Vec<Node>,
    ledger: Ledger,
    time: Time,
    /// News on their way, and when they come.
    news: VecDeque<(MonotonicNanos, push::FleetNews)>,
    /// Calls reach nobody, or their answers get lost.
    cut_off: bool,
    loses_answers: bool,
    calls: usize,
    reports: usize,
}

const MS: u64 = 1_000_000;

/// The base configuration with one limit, which holds for the fleet.
fn config(max_tokens: u32, per_second: u32, fleet: Value) -> Value {
    let mut config = base();
    config["storage"] = json!({"slabs": 1_024});
    config["limits"] = json!([{
        "name": "per-user", "key": "user", "max_tokens": max_tokens, "tokens_per_fill": per_second,
        "fill_interval": "1s", "fleet": fleet,
    }]);
    config
}

fn local() -> Value {
    json!({"on_loss": "local"})
}

fn key() -> push::FleetKey {
    push::FleetKey { version: 7, key: vec![9; 16], partitions: 1 }
}

impl Node {
    fn new(config: &Value, number: u8) -> Self {
        let (gate, mut memory) = (gate(config), Memory::default());
        link::join(&mut memory, gate.config());
        link::store(&mut memory, Some(&key()), 4).unwrap();
        let boot_id = format!("{number:032x}").chars().rev().collect();
        let mut node = Self { gate, memory, workers: Vec::new(), boot_id };
        node.add_worker(u32::from(number) << 8);
        node
    }

    fn add_worker(&mut self, tag: u32) {
        let config = self.gate.config();
        let (memo, reporter) = (WorkerMemo::new(config), Reporter::new(config, tag));
        self.workers.push(Worker { memo, reporter, answer: None });
    }

    fn ask(&mut self, worker: usize, user: &str, time: &Time) -> Decision {
        let request = Plain::get("/").with("x-user-id", user);
        let memo = &mut self.workers[worker].memo;
        let mut context = Context { shared: &mut self.memory, clock: time, worker: memo };
        match self.gate.decide_headers(&request, Freshness::Fresh, &mut context) {
            HeadersDecision::Done(decision) => decision,
            HeadersDecision::NeedBody(_) => panic!("nothing has a body"),
        }
    }

    fn with_place<T>(
        &mut self,
        worker: usize,
        with: impl FnOnce(&mut Reporter, &mut Place<'_, Memory>) -> T,
    ) -> T {
        let Worker { memo, reporter, .. } = &mut self.workers[worker];
        let (config, shared, memo) = (self.gate.config(), &mut self.memory, &mut memo.fleet);
        with(reporter, &mut Place { config, shared, memo })
    }

    fn hear(&mut self, user_id: &str, registers: impl IntoIterator<Item = Register>, time: &Time) {
        let state = state(registers);
        crate::testing::apply(&self.gate, &mut self.memory, time, &user(user_id), &state).unwrap();
    }
}

impl World {
    fn new(config: &Value, nodes: u8) -> Self {
        Self {
            nodes: (0..nodes).map(|number| Node::new(config, number + 1)).collect(),
            ledger: Ledger::default(),
            time: Time::default(),
            news: VecDeque::new(),
            cut_off: false,
            loses_answers: false,
            calls: 0,
            reports: 0,
        }
    }

    fn now(&self) -> MonotonicNanos {
        self.time.monotonic()
    }

    fn is_allowed(&mut self, node: usize, user: &str) -> bool {
        self.nodes[node].ask(0, user, &self.time).verdict == Verdict::Allow
    }

    /// How many of so many requests at a node go on.
    fn allowed(&mut self, node: usize, user: &str, tries: usize) -> usize {
        (0..tries).filter(|_| self.is_allowed(node, user)).count()
    }

    fn remaining(&mut self, node: usize, user: &str) -> u32 {
        let decision = self.nodes[node].ask(0, user, &self.time);
        decision.quotas.first().unwrap().1.remaining
    }

    /// A millisecond: answers and news that have come are taken in, and what is due is reported.
    fn tick(&mut self) {
        self.time.pass(Duration::from_millis(1));
        let now = self.now();
        while self.news.front().is_some_and(|(at, _)| *at <= now) {
            let (_, news) = self.news.pop_front().unwrap();
            for node in &mut self.nodes {
                let news = std::slice::from_ref(&news);
                hear(node.gate.config(), &mut node.memory, news, now);
            }
        }
        for node in 0..self.nodes.len() {
            for worker in 0..self.nodes[node].workers.len() {
                self.work(node, worker, now);
            }
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        (0..ms).for_each(|_| self.tick());
    }

    fn work(&mut self, at: usize, worker: usize, now: MonotonicNanos) {
        let node = &mut self.nodes[at];
        if node.workers[worker].answer.as_ref().is_some_and(|(at, _)| *at <= now) {
            let (_, body) = node.workers[worker].answer.take().unwrap();
            let body = Some(body.as_slice()).filter(|body| !body.is_empty());
            node.with_place(worker, |reporter, place| reporter.on_answer(body, place, now))
                .unwrap();
        }
        let boot_id = node.boot_id.clone();
        let called = node
            .with_place(worker, |reporter, place| reporter.call(place, ("edge", &boot_id), now));
        let Some(reports) = called.reports else { return };
        self.calls += 1;
        self.reports += reports.reports.len();
        let mut body = Vec::new();
        if !self.cut_off {
            let answers = self.count(&reports, now);
            if !self.loses_answers {
                body = answers.encode_to_vec();
            }
        }
        self.nodes[at].workers[worker].answer = Some((now + 2 * MS, body));
    }

    /// What Redis does, by a clock of its own.
    fn count(&mut self, reports: &FleetReports, now: MonotonicNanos) -> FleetAnswers {
        assert_eq!(reports.key_version, 7);
        let redis = UnixMicros(self.time.wall().0 + 40_000_000_000);
        let mut answers = Vec::new();
        for one in &reports.reports {
            let bucket = one.bucket.clone().unwrap();
            let subject = SubjectHash(bucket.subject.as_slice().try_into().unwrap());
            let epoch = one.epoch.unwrap_or_default();
            let rate = Rate::try_from(one.rate.unwrap()).unwrap();
            assert_eq!(rate.tag().0, bucket.rate);
            let partition = Partition(0);
            let report = Report {
                id: ReportId { partition, boot: reports.boot, serial: one.serial },
                bucket: BucketName::new(partition, subject, bucket.limit, RateTag(bucket.rate)),
                takes: one.takes,
                epoch: ::fleet::epoch::Epoch {
                    // The place of an event is by Redis's clock.
                    at: UnixMicros(
                        epoch.at.saturating_add(40_000_000_000 * u64::from(epoch.id != 0)),
                    ),
                    id: epoch.id,
                },
                begins: match one.emptied {
                    true => ::fleet::epoch::Begins::Emptied,
                    false => ::fleet::epoch::Begins::Full,
                },
                terms: Terms { rate, debt: DebtMax::percent(one.debt_percent).unwrap() },
            };
            let (answer, news) = self.ledger.report(&report, redis);
            let at_of = |at: u64, id: u64| at - 40_000_000_000 * u64::from(id != 0);
            let wire = |epoch: ::fleet::epoch::Epoch| {
                (epoch.id != 0)
                    .then(|| push::FleetEpoch { at: at_of(epoch.at.0, epoch.id), id: epoch.id })
            };
            let epoch = wire(answer.epoch);
            answers.push(FleetAnswer {
                serial: one.serial,
                epoch,
                remaining_us: answer.remaining_us,
            });
            if let Some(News { answer, .. }) = news {
                let remaining_us = answer.remaining_us;
                let one = push::FleetNews { bucket: Some(bucket), epoch, remaining_us };
                self.news.push_back((now + 2 * MS, one));
            }
        }
        FleetAnswers { answers, fleet_nodes: 4 }
    }
}
