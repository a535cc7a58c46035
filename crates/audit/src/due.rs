//! When the writer's chores are due.

use std::time::{Duration, Instant};

use model::time::UnixMicros;
use system::wall_clock;

/// How long nothing is removed after the start and after a jump of the clock: a wrong clock makes
/// everything look old, and there should be time to see it.
pub(super) const RETENTION_PAUSE: Duration = Duration::from_secs(10 * 60);

/// What is due when.
#[derive(Debug)]
pub(super) struct Chores {
    pub(super) retention_due: Instant,
    pub(super) expiry_due: Instant,
    /// Both clocks when they were last compared.
    pub(super) clocks: (Instant, UnixMicros),
}

impl Chores {
    /// With the first pause before anything is removed.
    pub(super) fn new(now: Instant) -> Self {
        let due = now.checked_add(RETENTION_PAUSE).unwrap_or(now);
        Self { retention_due: due, expiry_due: due, clocks: (now, wall_clock()) }
    }
}
