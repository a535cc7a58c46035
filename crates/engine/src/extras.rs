//! What a batch carries beside the changes in turn: blocks that cannot wait for theirs, what a node
//! could not store before, and checks of what it should have.
//!
//! All of it is the newest state of some subjects, and merging is idempotent: it may come early,
//! twice, or again with a later batch if a node does not confirm this one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use model::push::batch::Kind;
use model::state::Effect;
use model::time::UnixMicros;

use super::answer::Gathered;
use super::log::SequenceLog;
use super::node::Node;
use super::sent::{Check, Draft, Retry, Sent};
use super::subjects::Subjects;
use super::{BatchBounds, Engine, Now, Ticket};

/// Most changes in one batch ahead of their turn, and most that are tried again.
pub const URGENT_CHANGES_MAX: usize = 128;
/// Most states in one batch to be checked: what a node may be busy with while a block comes.
pub const CHECK_CHANGES_MAX: usize = 256;
/// Size of each of these parts, in bytes; a single change is sent whatever its size.
const EXTRA_BYTES: usize = 64 * 1024;
/// Most subjects looked at for one part.
const EXTRA_SCAN_MAX: usize = 1_024;
/// Most urgent changes from before a snapshot that go ahead of it: with more, a new block would
/// have to wait for old ones.
pub(super) const AHEAD_OF_SNAPSHOT_MAX: usize = 1_024;

/// Whether an event cannot wait behind others. A block cannot: until it is enforced, the subject
/// goes on with what it must not do. Nor can a zero until a given time, which is as good as a
/// block. A mere zero can: whoever comes first gains a bucket of tokens at most. An unblock or
/// another rate that comes late does no harm that it would not have done before.
pub(super) fn is_urgent(effect: &Effect, now: UnixMicros) -> bool {
    match effect {
        Effect::Block(block) => block.until.is_none_or(|end| now < end),
        Effect::Zero(zero) => zero.until.is_some_and(|end| now < end),
        Effect::Lift { .. } | Effect::Override(_) => false,
    }
}

/// What the parts of a batch are made from.
struct Maker<'a> {
    log: &'a SequenceLog,
    subjects: &'a Subjects,
    bounds: BatchBounds,
    is_packed: bool,
}

impl Engine {
    /// Adds to the batch what its node takes beside, and remembers what it carries then.
    pub(super) fn add_extras(&mut self, draft: &mut Draft, ticket: &Ticket, now: Now) {
        let Self { nodes, log, subjects, batch: bounds, batches, scrub, .. } = self;
        let Some(node) = nodes.get_mut(&ticket.key) else { return };
        node.sent = None;
        if !node.takes_extras {
            return;
        }
        let maker = Maker { log, subjects, bounds: *bounds, is_packed: ticket.takes_packed };
        let mut sent = Sent { id: batches.saturating_add(1), ..Sent::default() };
        maker.add_urgent(draft, node, &mut sent);
        if draft.batch.urgent.is_empty() {
            maker.add_retries(draft, node, &mut sent, now.mono);
            maker.add_checks(draft, node, &mut sent, (*scrub, now.mono));
        }
        let is_snapshot = draft.batch.kind() == Kind::Snapshot;
        if is_snapshot || !draft.subjects.is_empty() || sent.retry.is_some() || sent.check.is_some()
        {
            *batches = sent.id;
            draft.batch.id = sent.id;
            sent.subjects = std::mem::take(&mut draft.subjects);
            node.sent = Some(Box::new(sent));
        }
    }
}

impl Maker<'_> {
    fn part(&self, changes_max: usize) -> Gathered {
        let bounds = BatchBounds { changes_max, bytes: EXTRA_BYTES, ..self.bounds };
        Gathered::new(bounds, self.is_packed)
    }

    /// The blocks that are further back than what the batch has in turn.
    fn add_urgent(&self, draft: &mut Draft, node: &mut Node, sent: &mut Sent) {
        let (_, ahead) = node.ahead;
        let in_turn = match draft.batch.kind() {
            Kind::Changes | Kind::Heartbeat => draft.batch.sequence,
            // The states of a snapshot come in another order.
            Kind::Snapshot if node.synced => node.applied,
            Kind::Snapshot => 0,
        };
        sent.ahead = ahead.max(in_turn);
        // Of what is forgotten there is no telling what was urgent: it comes in its turn.
        let forgotten = self.log.forgotten();
        if sent.ahead < forgotten {
            sent.ahead = forgotten;
            node.ahead = (forgotten, forgotten);
        }
        let mut urgent = self.log.urgent_after(sent.ahead).take(EXTRA_SCAN_MAX).peekable();
        if urgent.peek().is_none() {
            return;
        }
        let mut part = self.part(self.bounds.urgent_max);
        // The batch may have been made before the last change of a subject.
        let mut has: HashMap<_, _> = draft.subjects.iter().map(|(at, who)| (who, *at)).collect();
        for (sequence, entry) in urgent {
            // A subject may be forgotten by now: then its state has no effect any more.
            if let Some((state, last_change)) = self.subjects.told(&entry.subject)
                && has.get(&entry.subject).is_none_or(|carried| *carried < sequence)
            {
                if !part.add(&entry.subject, &state, last_change) {
                    break;
                }
                has.insert(&entry.subject, last_change);
            }
            sent.ahead = sequence;
        }
        draft.batch.urgent = part.changes;
        draft.subjects.append(&mut part.subjects);
    }

    /// Some of what the node could not store, if it is time to try again.
    fn add_retries(&self, draft: &mut Draft, node: &Node, sent: &mut Sent, now: Duration) {
        if !node.is_to_retry(now) || draft.batch.kind() == Kind::Snapshot {
            return;
        }
        let mut part = self.part(self.bounds.urgent_max);
        let mut retry = Retry { up_to: node.retried, is_last: true };
        let mut has = HashSet::new();
        for (sequence, subject) in node.to_retry() {
            match self.subjects.told(subject) {
                _ if has.contains(subject) => {}
                Some((state, last_change)) => {
                    if !part.add(subject, &state, last_change) {
                        retry.is_last = false;
                        break;
                    }
                }
                // It is forgotten, and has no effect any more.
                None => draft.subjects.push((sequence, subject.clone())),
            }
            has.insert(subject);
            retry.up_to = sequence;
            if has.len() >= EXTRA_SCAN_MAX {
                retry.is_last = false;
                break;
            }
        }
        draft.batch.urgent = part.changes;
        draft.subjects.append(&mut part.subjects);
        sent.retry = Some(retry);
    }

    /// Some states that the node has, if all is well, as soon as it has applied the batch.
    fn add_checks(
        &self,
        draft: &mut Draft,
        node: &mut Node,
        sent: &mut Sent,
        (per_second, now): (u32, Duration),
    ) {
        let batch = &mut draft.batch;
        let is_able = node.synced && batch.kind() != Kind::Snapshot;
        let passed = now.saturating_sub(node.checked_at);
        let due = passed.as_millis().saturating_mul(per_second.into()) / 1_000;
        let room = self.bounds.changes_max.saturating_sub(batch.changes.len());
        let room = room.min(CHECK_CHANGES_MAX).min(usize::try_from(due).unwrap_or(usize::MAX));
        if !is_able || room == 0 {
            return;
        }
        let mut part = self.part(room);
        let mut last = None;
        let mut is_end = true;
        let rest = self.subjects.after(node.checked.as_ref());
        for (looked_at, (subject, state, last_change)) in rest.enumerate() {
            let is_known = last_change <= batch.sequence && !node.lacks(last_change);
            let has_room = looked_at < EXTRA_SCAN_MAX;
            if !has_room || (is_known && !part.add(subject, state, last_change)) {
                is_end = false;
                break;
            }
            last = Some(subject);
        }
        node.checked_at = now;
        let up_to = last.filter(|_| !is_end).cloned();
        if !part.changes.is_empty() || up_to != node.checked {
            sent.check = Some(Check { up_to });
        }
        batch.check = part.changes;
        draft.subjects.append(&mut part.subjects);
    }
}
