//! A node with its memory, its clocks and its requests, and the events that it is told.

use std::collections::HashMap;
use std::time::Duration;

use gate::claim::Claim;
use gate::config::Config;
use gate::decide::{Context, Decision, Freshness, Gate, HeadersDecision, WorkerMemo};
use gate::node::{Poller, Rank, Vm, join};
use gate::request::Request;
use model::hash::HashKey;
use model::memory::{Mark, MemoryKey, Mismatch, SharedMemory};
use model::push::{self, Batch, Change, Message};
use model::state::State;
use model::subject::Subject;
use model::time::{Clock, MonotonicNanos, UnixMicros};
use signing::headers::Headers;

/// When everything happens, in seconds since the Unix epoch.
pub(crate) const NOW_S: u64 = 1_800_000_000;

/// The same, as events and expiries see it.
pub(crate) const NOW: UnixMicros = UnixMicros(NOW_S * 1_000_000);

const CONFIG: &str = r#"{
    "identity": {"user": [{"header": "x-user-id"}], "missing_user": "allow"},
    "route_groups": [
        {"name": "bet", "match": [{"path": {"prefix": "/bet"}}]},
        {"name": "withdraw", "match": [{"path": {"prefix": "/withdraw"}}]}
    ],
    "limits": [
        {"name": "per-user", "key": "user",
         "max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
        {"name": "rare", "key": "user", "match": [{"path": {"prefix": "/rare"}}],
         "max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1h"}
    ],
    "invalidator": {"cluster": "c", "secret": "0123456789abcdef", "stale_after": "5s"},
    "fail_policy": {"never_synced": "deny", "stale": "deny",
                    "slab_full": "deny", "contention": "deny"}
}"#;

/// One clock: each reading is a microsecond after the one before, so that buckets refill.
#[derive(Default)]
pub(crate) struct Ticking(std::cell::Cell<u64>);

impl Clock for Ticking {
    fn monotonic(&self) -> MonotonicNanos {
        self.0.set(self.0.get() + 1_000);
        Duration::from_secs(24 * 60 * 60).as_nanos() as u64 + self.0.get()
    }

    fn wall(&self) -> UnixMicros {
        NOW
    }
}

/// Shared memory in a map.
#[derive(Default)]
pub(crate) struct Memory(HashMap<MemoryKey, (Vec<u8>, u32)>);

impl SharedMemory for Memory {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        match self.0.get(&key) {
            Some((value, mark)) => (Some(value.clone()), Mark::Present(*mark)),
            None => (None, Mark::Absent),
        }
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        let (present, next) = match self.0.get(&key) {
            Some((_, mark)) => (Mark::Present(*mark), mark.wrapping_add(1)),
            None => (Mark::Absent, 1),
        };
        if present != mark {
            return Err(Mismatch);
        }
        self.0.insert(key, (value.to_vec(), next));
        Ok(())
    }
}

/// A request that is its headers.
pub(crate) struct Plain(pub(crate) Headers);

impl Plain {
    /// A request with as many headers as a browser's.
    pub(crate) fn get(path: &str, user: &str) -> Self {
        Self(headers(&[
            (":authority", "www.example.com"),
            (":method", "GET"),
            (":path", path),
            (":scheme", "https"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip, deflate, br"),
            ("accept-language", "en"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"),
            ("x-forwarded-for", "192.0.2.17"),
            ("x-user-id", user),
        ]))
    }
}

pub(crate) fn headers(lines: &[(&str, &str)]) -> Headers {
    lines.iter().copied().collect()
}

impl Request for Plain {
    fn headers(&self) -> &Headers {
        &self.0
    }

    fn jwt_claim(&self, _: &str, _: &str) -> Claim {
        Claim::Absent
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        None
    }
}

/// One Envoy process, as far as decisions know.
pub(crate) struct Node {
    gate: Gate,
    memory: Memory,
    clock: Ticking,
    worker: WorkerMemo,
    poller: Poller,
}

impl Node {
    /// One that has never heard anything.
    pub(crate) fn new() -> Self {
        let gate = Gate::new(Config::parse(CONFIG.as_bytes()).unwrap(), HashKey::new([7; 16]));
        let mut memory = Memory::default();
        join(&mut memory, gate.config().storage, None, [5; 32]).unwrap();
        let worker = WorkerMemo::new(gate.config());
        let poller = Poller::new(1, "edge-1".into());
        Self { gate, memory, clock: Ticking::default(), worker, poller }
    }

    /// Applies an encoded batch as it comes from the invalidator.
    pub(crate) fn hear(&mut self, batch: &[u8]) {
        let Self { gate, memory, clock, poller, .. } = self;
        let poll = poller.on_tick(gate.config(), memory, Rank::Singleton, clock.monotonic());
        assert!(poll.is_some());
        let vm = Vm { gate, shared: memory, clock, rank: Rank::Singleton };
        poller.on_answer(batch, vm).unwrap();
    }

    /// Decides on a request that has no body.
    pub(crate) fn decide(&mut self, request: &Plain) -> Decision {
        let Self { gate, memory, clock, worker, .. } = self;
        let mut context = Context { shared: memory, clock, worker };
        match gate.decide_headers(request, Freshness::Fresh, &mut context) {
            HeadersDecision::Done(decision) => decision,
            HeadersDecision::NeedBody(_) => panic!("nothing here has to be signed"),
        }
    }
}

/// The n-th user.
pub(crate) fn user(n: usize) -> String {
    format!("user-{n:06}")
}

/// An event that blocks a user in one route group.
pub(crate) fn block(user: &str, scope: &str) -> String {
    format!(
        r#"{{"event_id": "0192f3a0-7c1e-7d2a-9b1e-{user}", "event_type": "user.cooling_off",
             "schema_version": "1.0", "occurred_at": "2027-01-15T08:00:00.000Z",
             "key": {{"user_id": "{user}"}},
             "payload": {{"action": "block", "scope": ["{scope}"], "for": "24h",
                          "reason": "cooling_off", "disclose": true}}}}"#
    )
}

/// A batch, encoded, of the states of so many users, each with one block of route group `bet`.
pub(crate) fn batch(users: usize) -> Vec<u8> {
    let change = |n: usize| {
        let event = events::Event::parse(block(&user(n), "bet").as_bytes(), NOW).unwrap();
        let mut state = State::default();
        state.merge(event.register);
        let subject = Subject::user(&user(n)).unwrap();
        let subject = Some((&subject).into());
        Change { sequence: n as u64 + 1, subject, packed: state.pack(), ..Change::default() }
    };
    let batch = Batch {
        protocol: push::PROTOCOL,
        epoch: "epoch".into(),
        kind: push::batch::Kind::Snapshot.into(),
        sequence: users as u64,
        last: true,
        changes: (0..users).map(change).collect(),
        source_age_ms: Some(0),
        ..Batch::default()
    };
    batch.encode_to_vec()
}
