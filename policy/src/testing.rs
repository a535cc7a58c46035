//! What the tests of several modules build on: configurations, clocks, events.

use std::cell::Cell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bucket::Rate;
use crate::config::Config;
use crate::gate::Gate;
use crate::hash::HashKey;
use crate::memory::Shared;
use crate::name::{EventId, Name};
use crate::node::{Applied, Place};
use crate::push;
use crate::state::{Block, Effect, Override, Register, Scope, State, Version, Zero};
use crate::subject::Subject;
use crate::time::Clock;
use crate::time::{MonotonicNanos, UnixMicros};

/// When every test begins, on the clock of buckets, in seconds: the machine has been up for a
/// while.
pub(crate) const UP_S: u64 = 100_000;

/// When every test begins, on the clock of expiries, in seconds.
pub(crate) const EPOCH_S: u64 = 1_800_000_000;

/// Two clocks that move together, and only when told to.
#[derive(Debug, Default)]
pub(crate) struct Time(pub(crate) Cell<Duration>);

impl Time {
    pub(crate) fn pass(&self, span: Duration) {
        self.0.set(self.0.get() + span);
    }
}

impl Clock for Time {
    fn monotonic(&self) -> MonotonicNanos {
        u64::try_from((Duration::from_secs(UP_S) + self.0.get()).as_nanos()).unwrap()
    }

    fn wall(&self) -> UnixMicros {
        at(0).saturating_add(self.0.get())
    }
}

/// So many seconds after the beginning of the test, or before.
pub(crate) fn at(seconds: i64) -> UnixMicros {
    UnixMicros(EPOCH_S.checked_add_signed(seconds).unwrap() * 1_000_000)
}

/// One limit per user of 3 tokens, one more each second; two route groups; users, sessions and
/// partners; an invalidator.
pub(crate) fn base() -> Value {
    json!({
        "identity": {
            "user": [{"header": "x-user-id"}],
            "session": [{"cookie": "sid"}],
            "partner": [{"header": "x-partner"}],
            "missing_user": "allow",
        },
        "route_groups": [
            {"name": "bet", "match": [{"path": {"prefix": "/bet"}}]},
            {"name": "public", "match": [{"path": {"exact": "/"}}]},
        ],
        "limits": [limit("per-user", json!("user"), 3)],
        "invalidator": {"cluster": "c", "secret": "0123456789abcdef", "stale_after": "5s"},
        "fail_policy": {"never_synced": "deny", "stale": "deny",
                        "slab_full": "deny", "contention": "deny"},
        "storage": {"slabs": 16},
    })
}

/// A limit of so many tokens, one more each second.
pub(crate) fn limit(name: &str, key: Value, max_tokens: u32) -> Value {
    json!({"name": name, "key": key, "max_tokens": max_tokens,
           "tokens_per_fill": 1, "fill_interval": "1s"})
}

pub(crate) fn config(value: &Value) -> Config {
    Config::parse(value.to_string().as_bytes()).unwrap()
}

pub(crate) fn gate(value: &Value) -> Gate {
    Gate::new(config(value), HashKey::new([7; HashKey::BYTES]))
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn user(id: &str) -> Subject {
    Subject::user(id).unwrap()
}

/// An event of this id, so many seconds after the beginning of the test, without a sequence.
pub(crate) fn event(id: &str, occurred_s: i64, effect: Effect) -> Register {
    let event_id = EventId::parse(id).unwrap();
    Register { version: Version { sequence: None, at: at(occurred_s), event_id }, effect }
}

pub(crate) fn block(reason: &str) -> Block {
    Block { reason: name(reason), scope: Scope::All, until: None, disclose: false }
}

pub(crate) fn zero() -> Zero {
    Zero { scope: Scope::All, at: at(0), until: None }
}

pub(crate) fn lift(reason: Option<&str>) -> Effect {
    Effect::Lift { reason: reason.map(name) }
}

/// An override of the base limit to so many tokens, and as many more each second.
pub(crate) fn rate_of(max_tokens: u32) -> Override {
    let rate = Rate::new(max_tokens, max_tokens, Duration::from_secs(1)).unwrap();
    Override { limit: name("per-user"), rate: Some(rate), until: None }
}

pub(crate) fn scope(groups: &[&str]) -> Scope {
    Scope::of(groups.iter().map(|group| name(group)).collect())
}

pub(crate) fn state(registers: impl IntoIterator<Item = Register>) -> State {
    let mut state = State::default();
    for register in registers {
        state.merge(register);
    }
    state
}

pub(crate) fn change(sequence: u64, subject: &Subject, state: &State) -> push::Change {
    let (subject, state) = (Some(subject.into()), Some(state.into()));
    push::Change { sequence, subject, state, packed: Vec::new() }
}

/// Writes a state into memory as the poller does.
pub(crate) fn apply(
    gate: &Gate,
    shared: &mut impl Shared,
    clock: &impl Clock,
    subject: &Subject,
    state: &State,
) -> Result<Applied, String> {
    let place = Place {
        hash_key: gate.hash_key(),
        slabs: gate.config().storage.slabs,
        now: clock.monotonic(),
        wall: clock.wall(),
    };
    place.apply(shared, change(1, subject, state))
}
