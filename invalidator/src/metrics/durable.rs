//! What is shown of the store and the clock.

use store::StoreStatus;

use super::Metrics;

impl Metrics {
    pub(super) fn register_store(&mut self) {
        self.store.register(&mut self.registry);
        let r = &mut self.registry;
        r.register("store_events", "Events kept on the disk", self.store_events.clone());
        r.register("store_bytes", "Size of the store's file", self.store_bytes.clone());
        let help = "Changes that wait to be written to the store";
        r.register("store_queue", help, self.store_queue.clone());
        let help = "Events in force that are not kept: too much has waited for the disk";
        r.register("store_unkept_events", help, self.store_unkept.clone());
        let help = "1 while the store cannot be written";
        r.register("store_failing", help, self.store_failing.clone());
        let help = "1 while something says that an earlier store was lost";
        r.register("store_doubtful", help, self.store_doubtful.clone());
        let help = "Times that the wall clock did not move as the time did";
        r.register("clock_jumps", help, self.clock_jumps.clone());
    }

    pub(super) fn set_store_gauges(&self, status: &StoreStatus) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.store_events.set(i64::try_from(status.events).unwrap_or(i64::MAX));
        self.store_bytes.set(i64::try_from(status.bytes).unwrap_or(i64::MAX));
        self.store_queue.set(number(status.queue));
        self.store_unkept.set(number(status.unkept));
        self.store_failing.set(status.cause.is_some().into());
        self.store_doubtful.set(status.doubt.is_some().into());
    }

    /// Counts a jump of the wall clock.
    pub fn clock_jumped(&self) {
        self.clock_jumps.inc();
    }
}
