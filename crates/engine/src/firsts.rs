//! The first request that each node has rejected because of an event, as nodes tell of it: checked, and each noted once.
//!
//! A node tells of an event until a poll that does has been answered, so most that is lost on the way comes twice. What a
//! node says is believed only of events that are known here. Not here: how it comes to be noted, which is the node's
//! part, and where it is written down.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use model::name::EventId;
use model::push::Poll;
use model::subject::Subject;
use model::time::UnixMicros;

use super::{Engine, NodeKey, Now, Ticket};

/// The most first rejections that are remembered, so that none is noted twice; the oldest make room.
const REMEMBERED_MAX: usize = 16_384;
/// The longest time ago at which a first rejection may have been: nodes tell of it as soon as they can.
const AGO_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The first request that a node has rejected because of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRejection {
    /// Whom the request was from, and the event is about.
    pub subject: Subject,
    /// The event.
    pub event_id: EventId,
    /// When that was, by the clock of this daemon: now, less how long ago the node says it was.
    pub at: UnixMicros,
}

/// What a poll says of first rejections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstRejections {
    /// Those that are news.
    pub new: Vec<FirstRejection>,
    /// How many were told before.
    pub known: usize,
    /// How many name nobody, no event that is known here, or a time that cannot be.
    pub unknown: usize,
}

/// One that is remembered.
type Key = (EventId, Subject, NodeKey);

/// Which node has told of its first rejection because of which event.
#[derive(Debug, Default)]
pub(super) struct Firsts {
    told: BTreeSet<Key>,
    oldest_first: VecDeque<Key>,
}

impl Firsts {
    /// Notes one, unless it was noted before: says whether it is news.
    fn note(&mut self, key: Key) -> bool {
        if self.told.contains(&key) {
            return false;
        }
        if self.oldest_first.len() >= REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.told.remove(&oldest);
        }
        self.oldest_first.push_back(key.clone());
        self.told.insert(key)
    }
}

impl Engine {
    /// Takes in what a poll says of first rejections.
    pub fn first_rejections(&mut self, ticket: &Ticket, poll: &Poll, now: Now) -> FirstRejections {
        let mut told = FirstRejections::default();
        for first in &poll.first_rejections {
            let ago = Duration::from_micros(first.ago_us);
            let subject = first.subject.clone().and_then(|subject| Subject::try_from(subject).ok());
            let named = subject.zip(EventId::parse(&first.event_id));
            let known = named.filter(|(subject, id)| ago <= AGO_MAX && self.knows_of(subject, id));
            let Some((subject, event_id)) = known else {
                told.unknown = told.unknown.saturating_add(1);
                continue;
            };
            let at = now.wall.saturating_sub(ago);
            let key = (event_id.clone(), subject.clone(), ticket.key.clone());
            match self.firsts.note(key) {
                true => told.new.push(FirstRejection { subject, event_id, at }),
                false => told.known = told.known.saturating_add(1),
            }
        }
        told
    }

    fn knows_of(&self, subject: &Subject, event_id: &EventId) -> bool {
        self.seen.get(subject, event_id).is_some() || self.subjects.holds(subject, event_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let key = |number: usize| {
            let node = NodeKey { node: "n".into(), boot_id: "b".into() };
            let event_id = EventId::parse(&format!("e-{number}")).unwrap();
            (event_id, Subject::user("alice").unwrap(), node)
        };
        let mut firsts = Firsts::default();
        for number in 0..REMEMBERED_MAX + 10 {
            assert!(firsts.note(key(number)));
        }
        assert_eq!(
            (firsts.told.len(), firsts.oldest_first.len()),
            (REMEMBERED_MAX, REMEMBERED_MAX)
        );
        assert!(!firsts.note(key(REMEMBERED_MAX)));
        assert!(firsts.note(key(0)), "it was forgotten");
    }
}
