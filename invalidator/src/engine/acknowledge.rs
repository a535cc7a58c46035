//! What a poll says about the batch before: applied, except for what could not be stored.

use std::collections::HashSet;
use std::time::Duration;

use policy::push::Refusal;

use super::{BATCH_SCAN_MAX, Engine, NodeKey};

impl Engine {
    /// Notes that a node has applied everything up to `applied`. Answers with the time since each
    /// newly applied change was taken in.
    pub(super) fn acknowledge(
        &mut self,
        key: &NodeKey,
        applied: u64,
        refusals: &[Refusal],
        now: Duration,
    ) -> Vec<Duration> {
        let Some(node) = self.nodes.get_mut(key) else { return Vec::new() };
        let mut latencies = Vec::new();
        let mut stored = HashSet::new();
        // After a snapshot there is no telling when which change arrived.
        let from = if node.synced { node.applied } else { applied };
        if let Some(entries) = self.log.after(from) {
            let new = entries.take_while(|(sequence, _)| *sequence <= applied);
            for (_, entry) in new.take(BATCH_SCAN_MAX) {
                latencies.push(now.saturating_sub(entry.at));
                stored.insert(&entry.subject);
            }
        }
        node.stored(&stored);
        node.applied = applied;
        node.synced = true;
        self.note_refusals(key, refusals, now);
        if let Some(node) = self.nodes.get(key) {
            // What a node remembers counts, not only what this poll refuses: a snapshot's earlier
            // chunks, and a change that is published again, were refused in earlier polls.
            let current = |subject: &_| self.subjects.sequence_of(subject);
            self.waiters.acknowledge(key, node, current, now);
        }
        latencies
    }

    /// Notes which changes a node could not store.
    pub(super) fn note_refusals(&mut self, key: &NodeKey, refusals: &[Refusal], now: Duration) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        for Refusal { sequence, cause } in refusals {
            let subject = self.log.subject_of(*sequence).cloned();
            node.refused(*sequence, subject, cause, now);
        }
    }
}
