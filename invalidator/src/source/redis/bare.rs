//! Events heard by Pub/Sub that have not been seen in the stream yet. Most follow within a
//! millisecond; what does not was published bare, and somebody has to write it. Plain and
//! synchronous: time is an argument.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;

use super::outbox::{Entry, Purpose};

/// How long an event may take from Pub/Sub to the stream before it counts as bare.
const PATIENCE: Duration = Duration::from_millis(250);
/// Most events that are waited for. Beyond it the oldest counts as bare at once: writing an event
/// that is there already changes nothing.
const WAITED_FOR_MAX: usize = 16_384;

type Identity = (Subject, EventId);

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    events: HashMap<Identity, Waiting>,
    /// In the order in which their time runs out; also of events that were seen since.
    deadlines: VecDeque<(Duration, Identity)>,
}

/// An event that is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    /// As it was published.
    pub(super) event: Vec<u8>,
    /// When it was heard, by Redis's clock.
    pub(super) heard: UnixMicros,
    pub(super) urgent: bool,
}

impl Unseen {
    /// Notes an event that was heard and is new.
    pub(super) fn heard(&mut self, now: Duration, id: Identity, event: Waiting) {
        if self.events.insert(id.clone(), event).is_none() {
            self.deadlines.push_back((now.saturating_add(PATIENCE), id));
        }
    }

    /// Notes that an event is in the stream.
    pub(super) fn seen(&mut self, id: &Identity) {
        self.events.remove(id);
    }

    /// The events that are bare.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Entry> {
        let mut due = Vec::new();
        while let Some((deadline, _)) = self.deadlines.front() {
            if *deadline > now && self.deadlines.len() <= WAITED_FOR_MAX {
                break;
            }
            let Some((_, id)) = self.deadlines.pop_front() else { break };
            if let Some(Waiting { event, heard, urgent }) = self.events.remove(&id) {
                let (subject, event_id) = id;
                let (purpose, answer) = (Purpose::Bare, None);
                due.push(Entry { subject, event_id, event, heard, urgent, purpose, answer });
            }
        }
        due
    }

    /// Whether any event is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Identity {
        let event_id = EventId::parse(&format!("evt-{number}")).unwrap();
        (Subject::user("alice").unwrap(), event_id)
    }

    fn waiting(urgent: bool) -> Waiting {
        Waiting { event: Vec::new(), heard: UnixMicros(0), urgent }
    }

    #[test]
    fn only_what_does_not_turn_up_in_time_is_bare() {
        let mut unseen = Unseen::default();
        let at = Duration::from_millis;
        unseen.heard(at(0), id(1), waiting(false));
        unseen.heard(at(100), id(2), waiting(true));
        assert!(unseen.due(at(249)).is_empty());
        unseen.seen(&id(1));
        assert!(unseen.due(at(349)).is_empty());
        let due = unseen.due(at(350));
        assert_eq!(due.len(), 1);
        let due = (due[0].event_id.as_str(), due[0].urgent, due[0].purpose);
        assert_eq!(due, ("evt-2", true, Purpose::Bare));
        assert!(unseen.is_empty() && unseen.deadlines.is_empty());
    }

    #[test]
    fn a_flood_is_written_rather_than_forgotten() {
        let mut unseen = Unseen::default();
        let mut written = 0;
        for number in 0..WAITED_FOR_MAX + 10 {
            unseen.heard(Duration::ZERO, id(number), waiting(false));
            written += unseen.due(Duration::ZERO).len();
        }
        assert_eq!((written, unseen.deadlines.len()), (10, WAITED_FOR_MAX));
    }
}
