//! What is looked for once in a while: nodes that are gone, changes that are overdue, a clock that jumps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::clock::JumpWatch;
use crate::shared::Shared;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks, for as long as the daemon runs.
pub(super) async fn sweep(shared: Arc<Shared>, ack_timeout: Duration) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = JumpWatch::new(shared.now());
    loop {
        ticks.tick().await;
        if let Some(jump_ms) = clock.look(shared.now()) {
            shared.metrics.clock_jumped();
            warn!(jump_ms, "the wall clock has jumped");
        }
        for key in shared.sweep() {
            warn!(node = %key.node, boot_id = %key.boot_id, "node is gone: it polls no more");
            shared.record_node(key, "gone", None);
        }
        let overdue = shared.engine().overdue(ack_timeout, shared.now());
        shared.record_overdue(overdue);
    }
}
