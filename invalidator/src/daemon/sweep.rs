//! What is looked for once in a while: nodes that are gone, changes that are overdue, a clock that jumps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::clock::JumpWatch;
use crate::hub::Hub;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks, for as long as the daemon runs.
pub(super) async fn sweep(hub: Arc<Hub>, ack_timeout: Duration) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = JumpWatch::new(hub.now());
    loop {
        ticks.tick().await;
        if let Some(jump_ms) = clock.look(hub.now()) {
            hub.metrics.clock_jumped();
            warn!(jump_ms, "the wall clock has jumped");
        }
        for key in hub.sweep() {
            warn!(node = %key.node, boot_id = %key.boot_id, "node is gone: it polls no more");
            hub.record_node(key, "gone", None);
        }
        let overdue = hub.engine().overdue(ack_timeout, hub.now());
        hub.record_overdue(overdue);
    }
}
