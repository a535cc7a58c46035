//! What the tests of several modules build on: configurations and gates.

use std::time::Duration;

use model::bucket::Rate;
use model::hash::HashKey;
use model::memory::SharedMemory;
use model::state::{Override, State};
use model::subject::Subject;
use serde_json::{Value, json};

use crate::config::Config;
use crate::decide::Gate;
use crate::node::{Applied, Applier};
pub(crate) use model::testing::*;
use model::time::Clock;

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

/// An override of the base limit to so many tokens, and as many more each second.
pub(crate) fn rate_of(max_tokens: u32) -> Override {
    let rate = Rate::new(max_tokens, max_tokens, Duration::from_secs(1)).unwrap();
    Override { limit: name("per-user"), rate: Some(rate), until: None }
}

/// Writes a state into memory as the poller does.
pub(crate) fn apply(
    gate: &Gate,
    shared: &mut impl SharedMemory,
    clock: &impl Clock,
    subject: &Subject,
    state: &State,
) -> Result<Applied, String> {
    let place = Applier {
        hash_key: gate.hash_key(),
        slabs: gate.config().storage.slabs,
        now: clock.monotonic(),
        wall: clock.wall(),
    };
    place.apply(shared, change(1, subject, state))
}
