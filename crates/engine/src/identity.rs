//! What tells two events apart that have one id.
//!
//! An id counts for its subject and for whoever published it, as far as that is certain. The same
//! content under the same id is the same event, however often it comes; another content is another
//! event: refused, if it is from the same publisher as the first or from nobody in particular, so that
//! nobody takes the one for the other. If its publisher is certain and another one, the event counts
//! under an id of its own ([`derived`]): who came first must not decide that a genuine event is lost.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use model::name::{EventId, NAME_BYTES_MAX};
use model::state::Lane;
use model::subject::Subject;
use model::time::UnixMicros;

/// Bytes that [`derived`] puts behind an id.
const SUFFIX_BYTES: usize = 9;

/// What an event is, beside its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// A hash of what it says, without its signature: a retry may be signed anew.
    pub content: u64,
    /// A hash of its bytes.
    pub bytes: u64,
    /// Who published it, as far as that is certain.
    pub publisher: Publisher,
    /// Who published it by its own word, and when it occurred by the clock of that one.
    pub claim: Option<(Lane, UnixMicros)>,
}

/// A hash of who has published an event for certain: by a signature or by credentials; 0: nobody
/// knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publisher(pub u64);

impl Publisher {
    fn is_certain(self) -> bool {
        self != Self::default()
    }
}

/// The id under which an event counts whose own id is another event's. The script that writes
/// events to Redis makes the same.
#[must_use]
pub fn derived(event_id: &EventId, bytes: u64) -> Option<EventId> {
    let id = event_id.as_str();
    let kept = id.get(..NAME_BYTES_MAX.saturating_sub(SUFFIX_BYTES)).unwrap_or(id);
    EventId::parse(&format!("{kept}~{:08x}", bytes >> 32))
}

/// What an event's id begins with if it was derived, and what ids that are derived from it begin with.
/// Whoever has such an id of their own shares that with others, and is told apart by content.
fn root(event_id: &EventId) -> &str {
    let id = event_id.as_str();
    let is_hash = |text: &str| {
        text.strip_prefix('~').is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let kept = id.len().saturating_sub(SUFFIX_BYTES);
    match id.split_at_checked(kept) {
        Some((root, suffix)) if is_hash(suffix) => root,
        _ => id.get(..NAME_BYTES_MAX.saturating_sub(SUFFIX_BYTES)).unwrap_or(id),
    }
}

/// What an event is among those that were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// None like it: it counts under this id.
    New(EventId),
    /// It was seen before, under this id, and is covered by this sequence.
    Before(EventId, u64),
    /// Its id is that of another event.
    Conflict,
}

type Key = (Subject, EventId);

/// An event that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenEvent {
    pub(super) identity: Identity,
    /// The sequence that covers it.
    pub(super) sequence: u64,
    /// Since when it counts; none if that is forgotten.
    pub(super) since: Option<Since>,
}

/// Since when an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    /// As it was first heard here.
    pub(super) here: Heard,
    /// As it is written, for everybody.
    pub(super) place: Option<Heard>,
}

/// When an event was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) at: UnixMicros,
    /// The instant from which it counts for that.
    pub(super) counts: UnixMicros,
}

/// At most a given number of events.
#[derive(Debug)]
pub(super) struct SeenEvents {
    events: HashMap<Key, SeenEvent>,
    /// The ids of those that may count under another id than their own, by [`root`] and content: the
    /// same event may come again in other bytes, of which another id would be derived.
    derived: HashMap<(Subject, Box<str>, u64), EventId>,
    oldest_first: VecDeque<Key>,
    events_max: usize,
}

impl SeenEvents {
    pub(super) fn new(events_max: usize) -> Self {
        let (events, derived) = (HashMap::new(), HashMap::new());
        Self { events, derived, oldest_first: VecDeque::new(), events_max }
    }

    /// What is remembered of the event with this id.
    pub(super) fn get(&self, subject: &Subject, event_id: &EventId) -> Option<&SeenEvent> {
        self.events.get(&(subject.clone(), event_id.clone()))
    }

    /// Notes since when an event counts.
    pub(super) fn set_since(&mut self, key: &Key, since: Since) {
        if let Some(known) = self.events.get_mut(key) {
            known.since = Some(since);
        }
    }

    /// Looks an event up.
    pub(super) fn find(&self, subject: &Subject, event_id: &EventId, new: &Identity) -> Seen {
        let known = self.get(subject, event_id);
        if let Some(known) = known.filter(|known| known.identity.content == new.content) {
            return Seen::Before(event_id.clone(), known.sequence);
        }
        let derived_before = (subject.clone(), root(event_id).into(), new.content);
        if let Some(own) = self.derived.get(&derived_before)
            && let Some(known) = self.get(subject, own)
        {
            return Seen::Before(own.clone(), known.sequence);
        }
        let Some(known) = known.map(|known| known.identity) else {
            return Seen::New(event_id.clone());
        };
        if !new.publisher.is_certain() || known.publisher == new.publisher {
            return Seen::Conflict;
        }
        let Some(own) = derived(event_id, new.bytes) else { return Seen::Conflict };
        match self.get(subject, &own) {
            None => Seen::New(own),
            Some(known) if known.identity.content == new.content => {
                Seen::Before(own, known.sequence)
            }
            Some(_) => Seen::Conflict,
        }
    }

    pub(super) fn remove(&mut self, subject: &Subject, event_id: &EventId) -> Option<SeenEvent> {
        // Its place in the line stays: whoever comes to it finds nothing.
        self.forget(&(subject.clone(), event_id.clone()))
    }

    pub(super) fn insert(&mut self, key: Key, identity: Identity, sequence: u64) {
        if self.oldest_first.len() >= self.events_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.forget(&oldest);
        }
        let root = root(&key.1);
        if root != key.1.as_str() {
            let derived = (key.0.clone(), root.into(), identity.content);
            self.derived.insert(derived, key.1.clone());
        }
        match self.events.entry(key) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                (known.identity, known.sequence) = (identity, sequence);
            }
            Entry::Vacant(new) => {
                self.oldest_first.push_back(new.key().clone());
                new.insert(SeenEvent { identity, sequence, since: None });
            }
        }
    }

    fn forget(&mut self, key: &Key) -> Option<SeenEvent> {
        let gone = self.events.remove(key)?;
        let derived = (key.0.clone(), root(&key.1).into(), gone.identity.content);
        if self.derived.get(&derived) == Some(&key.1) {
            self.derived.remove(&derived);
        }
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId {
        EventId::parse(text).unwrap()
    }

    fn identity(content: u64, publisher: u64) -> Identity {
        Identity {
            content,
            bytes: content << 32,
            publisher: Publisher(publisher),
            ..Identity::default()
        }
    }

    #[test]
    fn an_id_is_one_event_of_one_publisher() {
        let alice = Subject::user("alice").unwrap();
        let mut seen = SeenEvents::new(9);
        seen.insert((alice.clone(), id("a")), identity(1, 0), 7);
        let find = |seen: &SeenEvents, new| seen.find(&alice, &id("a"), &new);
        assert_eq!(find(&seen, identity(1, 0)), Seen::Before(id("a"), 7));
        assert_eq!(find(&seen, identity(1, 5)), Seen::Before(id("a"), 7), "the same event");
        assert_eq!(find(&seen, identity(2, 0)), Seen::Conflict);
        // Whoever is certain to have published it has ids of their own.
        assert_eq!(find(&seen, identity(2, 5)), Seen::New(id("a~00000002")));
        seen.insert((alice.clone(), id("a~00000002")), identity(2, 5), 8);
        assert_eq!(find(&seen, identity(2, 5)), Seen::Before(id("a~00000002"), 8));
        let mut seen = SeenEvents::new(9);
        seen.insert((alice.clone(), id("a")), identity(1, 5), 7);
        assert_eq!(find(&seen, identity(2, 5)), Seen::Conflict, "the same publisher");
        assert_eq!(find(&seen, identity(2, 0)), Seen::Conflict, "a bare event takes no id");
        assert_eq!(find(&seen, identity(2, 6)), Seen::New(id("a~00000002")));
        let bob = Subject::user("bob").unwrap();
        assert_eq!(seen.find(&bob, &id("a"), &identity(2, 0)), Seen::New(id("a")));
    }

    #[test]
    fn what_counts_under_a_derived_id_is_recognized_in_other_bytes() {
        let alice = Subject::user("alice").unwrap();
        let long = id(&"x".repeat(64));
        for own in [id("a"), long] {
            let mut seen = SeenEvents::new(3);
            let genuine = identity(2, 5);
            let derived = derived(&own, genuine.bytes).unwrap();
            seen.insert((alice.clone(), own.clone()), identity(1, 0), 7);
            seen.insert((alice.clone(), derived.clone()), genuine, 8);
            let anew = Identity { bytes: 77 << 32, ..genuine };
            assert_eq!(seen.find(&alice, &own, &anew), Seen::Before(derived.clone(), 8));
            // Somebody has written it to Redis, under an id of those bytes.
            let other = self::derived(&own, anew.bytes).unwrap();
            assert_eq!(seen.find(&alice, &other, &anew), Seen::Before(derived.clone(), 8));
            // The one that had the id is forgotten.
            seen.remove(&alice, &own);
            assert_eq!(seen.find(&alice, &own, &anew), Seen::Before(derived.clone(), 8));
            assert_eq!(seen.find(&alice, &own, &identity(3, 5)), Seen::New(own.clone()));
            seen.remove(&alice, &derived);
            assert_eq!(seen.find(&alice, &own, &anew), Seen::New(own));
            assert!(seen.derived.is_empty() && seen.events.is_empty());
        }
    }

    #[test]
    fn a_derived_id_is_an_id() {
        let long = id(&"x".repeat(64));
        let derived = derived(&long, 0x1234_5678_9abc_def0).unwrap();
        assert_eq!(derived.as_str(), format!("{}~12345678", "x".repeat(55)));
    }
}
