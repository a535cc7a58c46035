//! The whole crate against a proxy in memory ([`crate::testing`]).

use model::push::batch::Kind;
use model::push::{Batch, PROTOCOL};
use model::state::{Effect, Register};
use model::subject::Subject;
use model::testing::{EPOCH_S, block, change, event, state};
use serde_json::{Value, json};
use signing::Profile;
use signing::key::{KeyId, Secret};
use signing::signer::{Unsigned, sign};

use crate::SetUpError;
use crate::host::Action;
use crate::testing::{Exchange, Lacks, Proxy, Vm};

mod contention;
mod counters;
mod ending;
mod first;
mod held;
mod polls;
mod reports;
mod set_up;
mod streams;

/// One limit per user of 3 tokens, one more each second; an invalidator; payments that must be signed.
fn base() -> Value {
    json!({
        "identity": {"user": [{"header": "x-user-id"}], "missing_user": "allow"},
        "route_groups": [{"name": "bet", "match": [{"path": {"prefix": "/bet"}}]}],
        "limits": [{"name": "per-user", "key": "user", "max_tokens": 3,
                    "tokens_per_fill": 1, "fill_interval": "1s"}],
        "invalidator": {"cluster": "daemon", "secret": "0123456789abcdef", "stale_after": "5s"},
        "fail_policy": {"never_synced": "allow", "stale": "deny",
                        "slab_full": "deny", "contention": "deny"},
        "storage": {"slabs": 16},
        "integrations": [{"name": "payments", "match": [{"path": {"prefix": "/pay"}}],
                          "body_bytes_max": 10, "signature": {"profile": "portcullis"}}],
        "keys": [{"id": "k1", "partner": "acme", "secret": SECRET}],
        "replay": {"slabs": 16},
    })
}

const SECRET: &str = "a secret of acme";

const BODY: &[u8] = b"{\"a\":1}";

/// The base configuration with one place (a JSON pointer) set.
fn base_with(pointer: &str, value: Value) -> Value {
    let mut config = base();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(last.to_owned(), value);
    config
}

fn start<'a>(proxy: &'a Proxy, config: &Value) -> Vm<'a> {
    Vm::start(proxy, config.to_string().as_bytes()).unwrap()
}

/// A worker of a node that has heard all there is to know.
fn start_synced<'a>(proxy: &'a Proxy, config: &Value) -> Vm<'a> {
    let mut vm = start(proxy, config);
    vm.tick_after(50);
    vm.answer_with(&batch(&[]));
    vm
}

fn alice(path: &str) -> Exchange {
    Exchange::get(path).with("x-user-id", "alice")
}

/// A payment, signed for this body.
fn signed(nonce: &str, body: &[u8]) -> Exchange {
    let (id, secret) = (KeyId::parse("k1").unwrap(), Secret::new(SECRET.into()).unwrap());
    let (timestamp, nonce) = (EPOCH_S, Some(nonce));
    let content =
        Unsigned { method: "GET", authority: "edge", path: "/pay", body, timestamp, nonce };
    let lines = sign(Profile::Portcullis, &id, &secret, &content).unwrap();
    let request = Exchange::get("/pay").from("10.0.0.1:80");
    lines.into_iter().fold(request, |request, (name, value)| request.with(name, &value))
}

/// What an invalidator says that has had these changes.
fn batch(changes: &[(&Subject, Register)]) -> Batch {
    let changes: Vec<_> = changes
        .iter()
        .zip(1..)
        .map(|((subject, register), at)| change(at, subject, &state([register.clone()])))
        .collect();
    Batch {
        protocol: PROTOCOL,
        epoch: "e".into(),
        kind: Kind::Snapshot.into(),
        sequence: changes.len() as u64,
        last: true,
        changes,
        source_age_ms: Some(0),
        ..Batch::default()
    }
}

fn blocked(reason: &str) -> Register {
    event(&format!("evt-{reason}"), 0, Effect::Block(block(reason)))
}
