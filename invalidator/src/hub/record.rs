//! What nodes do, for the audit log.

use audit::entry::{About, Fact, NodeFact, PushFact, text};
use engine::{Change, NodeKey, Overdue, Polled, Progress};
use model::push::{Poll, Refusal};

use super::Hub;

impl Hub {
    /// Notes what a poll has brought: what is enforced now, what could not be stored, and where
    /// the node stands.
    pub fn record_poll(&self, poll: &Poll, polled: &Polled) {
        let (node, boot_id) = (poll.node.as_str(), poll.boot_id.as_str());
        let key = || NodeKey { node: node.into(), boot_id: boot_id.into() };
        if let Some(progress) = polled.progress {
            let (state, sequence) = match progress {
                Progress::Started => ("started", None),
                Progress::Synchronized => ("synchronized", Some(poll.applied)),
            };
            self.record_node(key(), state, sequence);
            if progress == Progress::Started {
                self.doubt_first_start(poll);
            }
        }
        let refused = |sequence| poll.refused.iter().any(|refusal| refusal.sequence == sequence);
        let acknowledged = || polled.acknowledged.iter().filter(|one| !refused(one.sequence));
        let now = self.now();
        // Most polls acknowledge nothing.
        let idles = match polled.acknowledged.as_slice() {
            [] => Vec::new(),
            _ => self.engine().idles(&key(), acknowledged(), now),
        };
        for (change, idles) in acknowledged().zip(idles) {
            match idles {
                Some(cause) => self.record_push("refused", key(), change, Some(&cause.to_owned())),
                None => self.record_push("enforced", key(), change, None),
            }
        }
        for Refusal { sequence, cause } in &polled.refused {
            let change = self.engine().change(*sequence, self.now());
            match change {
                Some(change) => self.record_push("refused", key(), &change, Some(cause)),
                None => {
                    let NodeKey { node, boot_id } = key();
                    let cause = Some(text(cause));
                    let (sequence, event_id, ms) = (*sequence, None, None);
                    let result = "refused";
                    let fact = PushFact { result, node, boot_id, sequence, event_id, ms, cause };
                    self.audit.note(None, Fact::Push(fact));
                }
            }
        }
    }

    /// A node that has been told something by another run, while our store is new, speaks for an
    /// earlier life of ours: what that knew is in the node, and nobody else will hear of it. With
    /// a replica that is no matter, since nobody is told that all is known before it has been read.
    fn doubt_first_start(&self, poll: &Poll) {
        if !self.keeper.is_new() || self.replica.is_some() || poll.epoch.is_empty() {
            return;
        }
        if self.overview().engine.epoch != poll.epoch {
            let node = &poll.node;
            let why = format!("node {node} was served by a daemon that had another store");
            self.keeper.note_doubt(&why);
        }
    }

    /// Notes what a node has not acknowledged in time.
    pub fn record_overdue(&self, overdue: Vec<Overdue>) {
        for Overdue { node, change } in overdue {
            self.record_push("pending", node, &change, None);
        }
    }

    /// Notes that a node came, caught up or went.
    pub fn record_node(&self, key: NodeKey, state: &'static str, sequence: Option<u64>) {
        let NodeKey { node, boot_id } = key;
        self.audit.note(None, Fact::Node(NodeFact { node, boot_id, state, sequence }));
    }

    fn record_push(
        &self,
        result: &'static str,
        key: NodeKey,
        change: &Change,
        cause: Option<&String>,
    ) {
        let fact = Fact::Push(PushFact {
            result,
            node: key.node,
            boot_id: key.boot_id,
            sequence: change.sequence,
            event_id: Some(change.event_id.clone().into()),
            ms: Some(in_ms(change.after)),
            cause: cause.map(|cause| text(cause)),
        });
        self.audit.note(Some(About::LookedFor(change.subject.clone())), fact);
    }
}

/// Milliseconds, to the microsecond.
fn in_ms(span: std::time::Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
