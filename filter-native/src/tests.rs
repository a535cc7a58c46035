//! The module in an Envoy of the test's own ([`crate::fake`]), by the hooks that Envoy calls.

#![allow(unsafe_code, reason = "it calls as Envoy does")]

mod allocations;
mod bodies;
mod following;
mod routes;
mod streams;

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::push::{Batch, Message as _, PROTOCOL, Poll};
use model::state::Effect;
use model::testing::{block, change, event, state, user};
use serde_json::{Value, json};

use crate::abi::Config;
use crate::base::Base;
use crate::fake::{self, Exchange, counted, envoy};
use crate::hooks::testing::*;

use crate::stream::Stream;

/// One limit per user of 3 tokens; an invalidator; payments that must be signed.
fn configuration() -> Value {
    json!({
        "identity": {"user": [{"header": "x-user-id"}], "missing_user": "allow"},
        "limits": [{"name": "per-user", "key": "user", "max_tokens": 3,
                    "tokens_per_fill": 1, "fill_interval": "1h"}],
        "invalidator": {"cluster": "daemon", "secret": "0123456789abcdef", "stale_after": "5s"},
        "fail_policy": {"never_synced": "allow", "stale": "deny",
                        "slab_full": "deny", "contention": "deny"},
        "storage": {"slabs": 16},
        "integrations": [{"name": "payments", "match": [{"path": {"prefix": "/pay"}}],
                          "body_bytes_max": 100, "signature": {"profile": "portcullis"}}],
        "keys": [{"id": "k1", "partner": "acme", "secret": "a secret of acme"}],
        "replay": {"slabs": 16},
        "held": {"time_max": "1s"},
    })
}

/// Tests share one process, as configurations do: one at a time, and each begins with an Envoy of its own.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    envoy(|envoy| *envoy = fake::Envoy::default());
    turn
}

/// A configuration of the filter, as Envoy has it; it ends with this.
struct Gate {
    envoy: Config,
    module: *const Base,
}

impl Gate {
    /// Takes a configuration, of which Envoy then takes no more metrics.
    fn new(name: &str, configuration: &Value) -> Self {
        Self::try_new(name, &configuration.to_string()).expect("a configuration that is taken")
    }

    fn try_new(name: &str, json: &str) -> Option<Self> {
        let envoy_side = fake::config();
        envoy(|envoy| envoy.is_frozen = false);
        let module = config_new(envoy_side, name, json);
        envoy(|envoy| envoy.is_frozen = true);
        (!module.is_null()).then_some(Self { envoy: envoy_side, module })
    }

    /// A stream begins. Gives the module's part of it.
    fn open(&self, exchange: &mut Exchange) -> *mut Stream {
        filter_new(self.module, exchange.pointer())
    }

    /// A request without a body: its status here, 200 if it goes on.
    fn ask(&self, exchange: &mut Exchange) -> u32 {
        let stream = self.open(exchange);
        let action = request_headers(exchange.pointer(), stream, true);
        filter_destroy(stream);
        let status = exchange.answer().map_or(200, |(status, _)| status);
        assert_eq!(action == 0, status == 200, "stopped means answered");
        status
    }

    /// The newest request of this thread's Envoy is answered.
    fn answer(&self, body: &[u8]) {
        let id = envoy(|envoy| envoy.sent.len());
        callout_done(self.envoy, id as u64, 200, body);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        config_destroy(self.module);
    }
}

/// What the newest request of this thread's Envoy says, if it is a poll.
fn newest_poll() -> Poll {
    envoy(|envoy| Poll::decode(envoy.sent.last().unwrap().1.as_slice()).unwrap())
}
