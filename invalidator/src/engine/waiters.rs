//! Publishers that wait until every connected node has acknowledged a change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policy::subject::Subject;

use super::NodeKey;
use super::report::{Acknowledged, Receipt, Refused};

/// Names one waiter; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(u64);

#[derive(Debug)]
struct Waiter {
    subject: Subject,
    sequence: u64,
    since: Duration,
    pending: BTreeSet<NodeKey>,
    receipt: Receipt,
}

/// The waiters; their number is bounded by that of the API's requests, which own them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiters: BTreeMap<WaiterId, Waiter>,
    next: u64,
}

impl Waiters {
    pub(super) fn start(
        &mut self,
        subject: Subject,
        sequence: u64,
        applied: Vec<NodeKey>,
        pending: Vec<NodeKey>,
        now: Duration,
    ) -> WaiterId {
        let nodes = applied.iter().map(|key| acknowledged(key, 0.0)).collect();
        let receipt = Receipt { nodes, ..Receipt::default() };
        let pending = pending.into_iter().collect();
        let id = WaiterId(self.next);
        self.next = self.next.saturating_add(1);
        self.waiters.insert(id, Waiter { subject, sequence, since: now, pending, receipt });
        id
    }

    /// Notes that a node has applied everything up to `applied`, except for the changes of the
    /// subjects in `unstored`.
    pub(super) fn acknowledge(
        &mut self,
        key: &NodeKey,
        applied: u64,
        unstored: &[(Option<Subject>, String)],
        now: Duration,
    ) {
        for waiter in self.waiters.values_mut() {
            if waiter.sequence > applied || !waiter.pending.remove(key) {
                continue;
            }
            let cause = unstored
                .iter()
                .find(|(subject, _)| subject.as_ref() == Some(&waiter.subject))
                .map(|(_, cause)| cause.clone());
            let ms = whole_micros_in_ms(now.saturating_sub(waiter.since));
            waiter.receipt.elapsed_ms = ms;
            match cause {
                Some(cause) => {
                    waiter.receipt.refused.push(Refused { node: key.node.to_string(), cause });
                }
                None => waiter.receipt.nodes.push(acknowledged(key, ms)),
            }
        }
    }

    pub(super) fn is_complete(&self, id: WaiterId) -> bool {
        self.waiters.get(&id).is_none_or(|waiter| waiter.pending.is_empty())
    }

    pub(super) fn finish(&mut self, id: WaiterId) -> Option<Receipt> {
        let Waiter { pending, mut receipt, .. } = self.waiters.remove(&id)?;
        receipt.pending = pending.into_iter().map(|key| key.node.into()).collect();
        receipt.enforced =
            !receipt.nodes.is_empty() && receipt.pending.is_empty() && receipt.refused.is_empty();
        Some(receipt)
    }
}

fn acknowledged(key: &NodeKey, ms: f64) -> Acknowledged {
    Acknowledged { node: key.node.to_string(), boot_id: key.boot_id.to_string(), ms }
}

/// Milliseconds, to the microsecond: more digits would be noise.
fn whole_micros_in_ms(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
