//! Changes as they are told to whoever keeps a record of them, and those that nodes owe an answer.

use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;

use super::log::Entry;
use super::{Engine, NodeKey, Now};

/// Most changes per node that are said to be overdue at once; the others come the next time.
const OVERDUE_MAX: usize = 256;

/// A change, and how long ago it was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its sequence.
    pub sequence: u64,
    /// Whom it is about.
    pub subject: Subject,
    /// The event that made it.
    pub event_id: EventId,
    /// Time since it was taken in.
    pub after: Duration,
}

impl Change {
    pub(super) fn of(sequence: u64, entry: &Entry, now: Duration) -> Self {
        let (subject, event_id) = (entry.subject.clone(), entry.event_id.clone());
        Self { sequence, subject, event_id, after: now.saturating_sub(entry.at) }
    }
}

/// A change that a connected node has not acknowledged in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The node.
    pub node: NodeKey,
    /// The change.
    pub change: Change,
}

impl Engine {
    /// A change, unless it is forgotten.
    #[must_use]
    pub fn change(&self, sequence: u64, now: Now) -> Option<Change> {
        self.log.get(sequence).map(|entry| Change::of(sequence, entry, now.mono))
    }

    /// What connected nodes have not acknowledged within `patience`, each once, and a bounded number
    /// at a time. Nodes that are still getting their snapshot are left out.
    pub fn overdue(&mut self, patience: Duration, now: Now) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        let log = &self.log;
        for (key, node) in self.nodes.connected_mut(now.mono).filter(|(_, node)| node.synced) {
            let after = node.applied.max(node.overdue).max(log.forgotten());
            let Some(entries) = log.after(after) else { continue };
            let is_late = |at: Duration| now.mono.saturating_sub(at) >= patience;
            let late = entries.take_while(|(_, entry)| is_late(entry.at)).take(OVERDUE_MAX);
            for (sequence, entry) in late {
                node.overdue = sequence;
                // Not yet its turn, but it went ahead.
                if log.is_urgent(sequence) && node.has_ahead(sequence) {
                    continue;
                }
                let change = Change::of(sequence, entry, now.mono);
                overdue.push(Overdue { node: key.clone(), change });
            }
        }
        overdue
    }
}
