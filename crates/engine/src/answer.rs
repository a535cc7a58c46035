//! What to tell a node, given where it stands.

use std::collections::HashSet;

use model::push::batch::Kind;
use model::push::{self, Batch, Change, Message, PROTOCOL, Poll};
use model::subject::Subject;

use super::chunk::Chunk;
use super::gathered::Gathered;
use super::sent::Draft;
use super::{Engine, Now, Ticket};

/// What to do with a poll.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "it is looked at once and taken apart")]
pub enum Answer {
    /// Answer it now.
    Batch(Batch),
    /// The node lacks nothing: wait for a change.
    Hold,
}

/// Where a node stands in this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Nowhere: it needs a snapshot from the start.
    Fresh,
    /// In a snapshot that stands for `sequence`, after the subject `after`.
    Snapshot { sequence: u64, after: Subject },
    /// It has applied everything up to this sequence.
    Applied(u64),
}

impl Engine {
    /// Where the sender of a poll stands. Whatever does not make sense means a fresh start, which
    /// is always right.
    pub(super) fn position(&self, poll: &Poll) -> Position {
        if poll.epoch != self.epoch || poll.applied > self.log.last() {
            return Position::Fresh;
        }
        if !poll.in_snapshot {
            return Position::Applied(poll.applied);
        }
        let cursor = push::Subject::decode(poll.cursor.as_slice()).ok();
        match cursor.and_then(|cursor| Subject::try_from(cursor).ok()) {
            Some(after) => Position::Snapshot { sequence: poll.applied, after },
            None => Position::Fresh,
        }
    }

    /// What to answer, keys included: a node that lacks some gets them with whatever it gets. It
    /// is answered at once for that, and only once for each version: a node that cannot take them
    /// must not poll in circles.
    pub(super) fn answer(&mut self, ticket: &Ticket, now: Now) -> Answer {
        let version = self.keys.version();
        let lacks_keys = ticket.keys_version != version;
        let is_due = lacks_keys && self.nodes.keys_sent(&ticket.key) != version;
        // What was made for this poll is for no other: see `prepare`.
        let next_chunk = self.nodes.get_mut(&ticket.key).and_then(|node| node.next_chunk.take());
        let mut draft = match self.news(ticket, next_chunk, now) {
            None if !is_due => return Answer::Hold,
            None => self.heartbeat_at(&ticket.position, now).into(),
            Some(draft) => draft,
        };
        self.add_extras(&mut draft, ticket, now);
        if lacks_keys {
            draft.batch.keys = Some(self.keys.to_wire());
            if let Some(node) = self.nodes.get_mut(&ticket.key) {
                node.keys_sent = version;
            }
        }
        Answer::Batch(draft.batch)
    }

    /// What has changed since a position, apart from keys; nothing if nothing has.
    fn news(&self, ticket: &Ticket, ready: Option<Box<Chunk>>, now: Now) -> Option<Draft> {
        let packed = ticket.takes_packed;
        let first = || self.chunk(self.log.last(), None, packed);
        let chunk = match &ticket.position {
            Position::Fresh => first(),
            Position::Snapshot { sequence, after } => {
                let ready = ready.filter(|chunk| chunk.follows(*sequence, after, packed));
                ready.map_or_else(|| self.chunk(*sequence, Some(after), packed), |chunk| *chunk)
            }
            Position::Applied(applied) if *applied == self.log.last() => return None,
            Position::Applied(applied) => match self.changes(*applied, packed, now) {
                Some(draft) => return Some(draft),
                None => first(),
            },
        };
        Some(self.snapshot(chunk, now))
    }

    pub(super) fn heartbeat_at(&self, position: &Position, now: Now) -> Batch {
        let sequence = match position {
            Position::Fresh => 0,
            Position::Snapshot { sequence, .. } | Position::Applied(sequence) => *sequence,
        };
        self.batch(Kind::Heartbeat, sequence, Vec::new(), now)
    }

    /// The states of the subjects changed after `applied`; nothing if the log does not reach back
    /// that far.
    fn changes(&self, applied: u64, is_packed: bool, now: Now) -> Option<Draft> {
        let mut gathered = Gathered::new(self.batch, is_packed);
        let mut sequence = applied;
        let mut sent = HashSet::new();
        for (at, entry) in self.log.after(applied)?.take(self.batch.scan_max) {
            // A subject may be forgotten by now: then its state has no effect any more.
            if let Some((state, last_change)) = self.subjects.told(&entry.subject)
                && !sent.contains(&entry.subject)
            {
                if !gathered.add(&entry.subject, &state, last_change) {
                    break;
                }
                sent.insert(&entry.subject);
            }
            sequence = at;
        }
        let Gathered { changes, subjects, .. } = gathered;
        let batch = self.batch(Kind::Changes, sequence, changes, now);
        Some(Draft { batch, subjects })
    }

    pub(super) fn batch(&self, kind: Kind, sequence: u64, changes: Vec<Change>, now: Now) -> Batch {
        Batch {
            protocol: PROTOCOL,
            epoch: self.epoch.clone(),
            kind: kind.into(),
            sequence,
            changes,
            source_age_ms: self.sources.age(now.mono).map(millis),
            ..Batch::default()
        }
    }
}

impl Ticket {
    /// Whether the poll's node is up to date as far as it says itself.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        matches!(self.position, Position::Applied(_))
    }
}

/// Whole milliseconds, rounded down.
pub(super) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
