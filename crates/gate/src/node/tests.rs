use std::collections::BTreeMap;

use model::push::batch::Kind;
use model::push::{self, Batch, PROTOCOL, Poll};
use model::state::{Effect, Register, State};
use model::subject::Subject;
use model::testing::{Intruder, Memory};
use model::time::Clock as _;

use super::*;
use crate::decide::Gate;
use crate::slab;
use crate::testing::{Time, base, block, change, event, gate, lift, state, user};

mod extras;
mod firsts;
mod follow;
mod join;
mod keys;
mod lease;
mod poller;
mod races;
mod refusals;
mod zeros;

/// An invalidator that keeps its whole log, and answers as the real one does.
struct Daemon {
    epoch: String,
    states: BTreeMap<Subject, State>,
    log: Vec<Subject>,
    /// Changes in one answer.
    changes_max: usize,
    source_age_ms: Option<u64>,
}

impl Daemon {
    fn new(epoch: &str) -> Self {
        let (states, log) = (BTreeMap::new(), Vec::new());
        Self { epoch: epoch.into(), states, log, changes_max: 3, source_age_ms: Some(0) }
    }

    fn last(&self) -> u64 {
        self.log.len() as u64
    }

    fn ingest(&mut self, subject: &Subject, register: Register) {
        self.states.entry(subject.clone()).or_default().merge(register);
        self.log.push(subject.clone());
    }

    fn batch(&self, kind: Kind, sequence: u64, changes: Vec<push::Change>) -> Batch {
        Batch {
            protocol: PROTOCOL,
            epoch: self.epoch.clone(),
            kind: kind.into(),
            sequence,
            changes,
            source_age_ms: self.source_age_ms,
            ..Batch::default()
        }
    }

    fn answer(&self, poll: &Poll) -> Batch {
        if poll.epoch != self.epoch {
            return self.snapshot(self.last(), None);
        }
        if poll.in_snapshot {
            let after = push::Subject::decode(poll.cursor.as_slice()).unwrap();
            return self.snapshot(poll.applied, Some(&Subject::try_from(after).unwrap()));
        }
        let applied = usize::try_from(poll.applied).unwrap();
        if applied == self.log.len() {
            return self.batch(Kind::Heartbeat, poll.applied, Vec::new());
        }
        let subjects = self.log.iter().zip(1u64..).skip(applied).take(self.changes_max);
        let changes: Vec<_> =
            subjects.map(|(subject, at)| change(at, subject, &self.states[subject])).collect();
        self.batch(Kind::Changes, poll.applied + changes.len() as u64, changes)
    }

    fn snapshot(&self, sequence: u64, after: Option<&Subject>) -> Batch {
        let rest = self.states.iter().filter(|(subject, _)| after.is_none_or(|at| *subject > at));
        let rest: Vec<_> = rest.collect();
        let chunk: Vec<_> = rest.iter().take(self.changes_max).collect();
        let last = rest.len() == chunk.len();
        let cursor = chunk.last().filter(|_| !last);
        Batch {
            cursor: cursor.map_or_else(Vec::new, |(s, _)| push::Subject::from(*s).encode_to_vec()),
            last,
            ..self.batch(
                Kind::Snapshot,
                sequence,
                chunk.iter().map(|(subject, state)| change(sequence, subject, state)).collect(),
            )
        }
    }
}

/// One Envoy: what all its VMs share.
struct Node {
    gate: Gate,
    memory: Memory,
    time: Time,
}

impl Node {
    fn new() -> Self {
        let mut node =
            Self { gate: gate(&base()), memory: Memory::default(), time: Time::default() };
        join(&mut node.memory, node.gate.config().storage, None, [5; 32]).unwrap();
        node
    }

    fn pass_ms(&self, ms: u64) {
        self.time.pass(Duration::from_millis(ms));
    }

    fn now(&self) -> MonotonicNanos {
        self.time.monotonic()
    }

    fn tick(&mut self, poller: &mut Poller, rank: Rank) -> Option<Poll> {
        poller.on_tick(self.gate.config(), &mut self.memory, rank, self.time.monotonic())
    }

    fn vm(&mut self, rank: Rank) -> Vm<'_, Memory, Time> {
        Vm { gate: &self.gate, shared: &mut self.memory, clock: &self.time, rank }
    }

    fn answer(&mut self, poller: &mut Poller, rank: Rank, batch: &Batch) -> Report {
        let body = batch.encode_to_vec();
        poller.on_answer(&body, self.vm(rank)).unwrap()
    }

    fn freshness(&mut self) -> Freshness {
        let stale_after = self.gate.config().invalidator.as_ref().unwrap().stale_after;
        FreshnessCache::new(stale_after).get(&mut self.memory, self.time.monotonic())
    }

    /// Polls until there is nothing new; gives the last poll, which waits for an answer.
    fn follow(&mut self, poller: &mut Poller, daemon: &Daemon) -> Poll {
        self.pass_ms(1_100);
        let mut poll = self.tick(poller, Rank::Singleton).unwrap();
        for _ in 0..1_000 {
            let batch = daemon.answer(&poll);
            if batch.kind() == Kind::Heartbeat {
                return poll;
            }
            poll = self.answer(poller, Rank::Singleton, &batch).next.unwrap();
        }
        panic!("no end to changes");
    }

    /// What stands in memory about a subject.
    fn stored(&mut self, subject: &Subject) -> State {
        let hash = self.gate.hash_key().subject(subject.as_ref());
        let (slab, _) = self.memory.read(MemoryKey::Slab(hash.slab(16)));
        let status = slab::find(slab.as_deref(), hash).unwrap().map(|e| e.status.to_vec());
        State::unpack(&status.unwrap_or_default()).unwrap()
    }

    fn is_blocked(&mut self, subject: &Subject) -> bool {
        let now = self.time.wall();
        self.stored(subject).blocks(now).next().is_some()
    }
}

fn poller(holder: u64) -> Poller {
    Poller::new(holder, "edge-1".into())
}

fn blocked(id: &str, occurred_s: i64) -> Register {
    event(id, occurred_s, Effect::Block(block("fraud")))
}
