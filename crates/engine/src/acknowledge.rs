//! What a poll says about the batch before: applied, except for what could not be stored.

use std::time::Duration;

use model::push::{Poll, Refusal};

use super::answer::Position;
use super::sent::Sent;
use super::{BATCH_SCAN_MAX, Change, Engine, Ticket};

/// What one poll has brought, for whoever counts.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Each change that it acknowledges.
    pub(super) acknowledged: Vec<Change>,
    /// Which of its refusals were not known.
    pub(super) refused: Vec<Refusal>,
    /// How many states the node has found missing since its last poll.
    pub(super) repaired: u64,
}

impl Engine {
    /// Notes what a node has applied, and what of it it could not store.
    pub(super) fn acknowledge(&mut self, ticket: &Ticket, poll: &Poll, now: Duration) -> Heard {
        let mut heard = Heard::default();
        let Some(node) = self.nodes.get_mut(&ticket.key) else { return heard };
        let before = node.repaired.replace(poll.repaired).unwrap_or(poll.repaired);
        heard.repaired = poll.repaired.saturating_sub(before);
        let sent = node.sent.take();
        if ticket.position == Position::Fresh {
            heard.refused.clone_from(&poll.refused);
            return heard;
        }
        let is_news = |refusal: &&Refusal| !node.lacks(refusal.sequence);
        heard.refused = poll.refused.iter().filter(is_news).cloned().collect();
        // Any other batch got lost, or a VM that is gone may have applied it: it does not count.
        let sent = sent.filter(|sent| sent.id == poll.batch);
        if let Position::Applied(applied) = ticket.position {
            self.acknowledge_turn(ticket, applied, &mut heard, now);
        }
        if let Some(sent) = &sent {
            self.acknowledge_sent(ticket, sent, &mut heard, now);
        }
        self.note_refusals(ticket, &poll.refused, sent.as_deref(), now);
        if let Some(node) = self.nodes.get_mut(&ticket.key) {
            if let Some(retry) = sent.as_ref().and_then(|sent| sent.retry) {
                node.retried = retry.up_to;
                if retry.is_last {
                    node.retry_ends(now);
                }
            }
            // What a node remembers counts, not only what this poll refuses: a snapshot's earlier
            // chunks, and a change that is published again, were refused in earlier polls.
            let current = |subject: &_| self.subjects.sequence_of(subject);
            self.waiters.acknowledge(&ticket.key, node, current, now);
        }
        heard
    }

    /// Notes that a node has applied everything up to `applied`.
    fn acknowledge_turn(
        &mut self,
        ticket: &Ticket,
        applied: u64,
        heard: &mut Heard,
        now: Duration,
    ) {
        let Some(node) = self.nodes.get_mut(&ticket.key) else { return };
        let mut stored = Vec::new();
        // After a snapshot there is no telling when which change arrived.
        let from = if node.synced { node.applied } else { applied };
        if let Some(entries) = self.log.after(from) {
            let new = entries.take_while(|(sequence, _)| *sequence <= applied);
            for (sequence, entry) in new.take(BATCH_SCAN_MAX) {
                if !(self.log.is_urgent(sequence) && node.has_ahead(sequence)) {
                    heard.acknowledged.push(Change::of(sequence, entry, now));
                }
                stored.push(&entry.subject);
            }
        }
        node.stored(stored.into_iter());
        node.applied = applied;
        node.synced = true;
    }

    /// Notes that a node has applied a whole batch, also what was in it beside the changes in turn.
    fn acknowledge_sent(&mut self, ticket: &Ticket, sent: &Sent, heard: &mut Heard, now: Duration) {
        let Some(node) = self.nodes.get_mut(&ticket.key) else { return };
        node.stored(sent.subjects.iter().map(|(_, subject)| subject));
        let (from, ahead) = node.ahead;
        let new = self.log.urgent_after(ahead.max(node.applied));
        for (sequence, entry) in new.take_while(|(sequence, _)| *sequence <= sent.ahead) {
            heard.acknowledged.push(Change::of(sequence, entry, now));
        }
        node.ahead = (from, ahead.max(sent.ahead));
        if let Some(check) = &sent.check {
            node.checked.clone_from(&check.up_to);
        }
    }

    /// Notes which changes a node could not store.
    fn note_refusals(
        &mut self,
        ticket: &Ticket,
        refusals: &[Refusal],
        sent: Option<&Sent>,
        now: Duration,
    ) {
        let Some(node) = self.nodes.get_mut(&ticket.key) else { return };
        for Refusal { sequence, cause } in refusals {
            let carried = sent.and_then(|sent| {
                let mut subjects = sent.subjects.iter();
                subjects.find(|(at, _)| at == sequence).map(|(_, subject)| subject)
            });
            let logged = || self.log.get(*sequence).map(|entry| &entry.subject);
            let subject = carried.or_else(logged).cloned();
            node.refused(*sequence, subject, cause, now);
        }
    }
}
