//! Publishers that wait until every connected node has acknowledged a change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::subject::Subject;

use super::NodeKey;
use super::node::{Asked, Node, Standing};
use super::report::{Acknowledged, Receipt, Refused};

/// Names one waiter; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(u64);

#[derive(Debug)]
struct Waiter {
    subject: Subject,
    sequence: u64,
    is_urgent: bool,
    since: Duration,
    pending: BTreeSet<NodeKey>,
    receipt: Receipt,
}

impl Waiter {
    fn note(&mut self, key: &NodeKey, standing: Standing<'_>, ms: f64) {
        self.pending.remove(key);
        let node = || key.node.to_string();
        match standing {
            Standing::Pending => {
                self.pending.insert(key.clone());
            }
            Standing::Stored => {
                let boot_id = key.boot_id.to_string();
                self.receipt.nodes.push(Acknowledged { node: node(), boot_id, ms });
            }
            Standing::Unstored(cause) => {
                self.receipt.refused.push(Refused { node: node(), cause: cause.to_owned() });
            }
        }
    }
}

/// The waiters; their number is bounded by that of the API's requests, which own them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiters: BTreeMap<WaiterId, Waiter>,
    next: u64,
}

impl Waiters {
    /// Starts a waiter, given how each connected node stands to the change.
    pub(super) fn start<'a>(
        &mut self,
        asked: Asked<'a>,
        standings: impl Iterator<Item = (&'a NodeKey, Standing<'a>)>,
        now: Duration,
    ) -> WaiterId {
        let (pending, receipt) = (BTreeSet::new(), Receipt::default());
        let Asked { subject, sequence, is_urgent, .. } = asked;
        let subject = subject.clone();
        let mut waiter = Waiter { subject, sequence, is_urgent, since: now, pending, receipt };
        for (key, standing) in standings {
            waiter.note(key, standing, 0.0);
        }
        let id = WaiterId(self.next);
        self.next = self.next.saturating_add(1);
        self.waiters.insert(id, waiter);
        id
    }

    /// Notes how far a node has got, given the sequence of each subject's last change.
    pub(super) fn acknowledge(
        &mut self,
        key: &NodeKey,
        node: &Node,
        current: impl Fn(&Subject) -> Option<u64>,
        now: Duration,
    ) {
        for waiter in self.waiters.values_mut().filter(|waiter| waiter.pending.contains(key)) {
            let current = current(&waiter.subject).unwrap_or(waiter.sequence);
            let Waiter { subject, sequence, is_urgent, .. } = &*waiter;
            let (sequence, is_urgent) = (*sequence, *is_urgent);
            let standing = node.standing(Asked { subject, sequence, current, is_urgent });
            if standing != Standing::Pending {
                let ms = whole_micros_in_ms(now.saturating_sub(waiter.since));
                waiter.receipt.elapsed_ms = ms;
                waiter.note(key, standing, ms);
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

/// Milliseconds, to the microsecond: more digits would be noise.
fn whole_micros_in_ms(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
