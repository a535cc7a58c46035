//! Where things are in Redis: the names of the keys, subjects and stream ids as text.
//!
//! All keys carry the prefix as their hash tag: they live in one slot of a Cluster, so that one
//! script can write them all.

use std::fmt;

use model::name::Name;
use model::subject::Subject;
use model::time::UnixMicros;

/// Most events of one subject in Redis: several times what its state can consist of.
pub(super) const EVENTS_PER_SUBJECT_MAX: usize = 256;

/// Most with what a daemon has taken in: publishers who fill a state with events that nobody takes in do
/// not keep out what somebody else was told is in force.
pub(super) const EVENTS_OF_DAEMONS_MAX: usize = EVENTS_PER_SUBJECT_MAX + EVENTS_PER_SUBJECT_MAX / 2;

/// A state with more fields than this was not written by the script, and is not read.
pub(super) const FIELDS_READ_MAX: usize = 2 * EVENTS_PER_SUBJECT_MAX;

/// The names of the keys.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    tag: String,
    pub(super) subjects: String,
    pub(super) stream: String,
    pub(super) digest: String,
    /// What daemons say of themselves.
    pub(super) daemons: String,
    /// The key that nodes name subjects with under limits across the fleet.
    pub(super) fleet_key: String,
}

/// The names of the keys of one inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InboxKeys {
    pub(super) inbox: String,
    pub(super) taken: String,
    pub(super) leases: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        let tag = format!("{{{prefix}}}");
        let name = |last: &str| format!("{tag}:{last}");
        let (subjects, stream) = (name("subjects"), name("stream"));
        let (digest, daemons, fleet_key) = (name("digest"), name("daemons"), name("fleet-key"));
        Self { subjects, stream, digest, daemons, fleet_key, tag }
    }

    /// The list that a publisher puts events into, what has been taken out of it and is not done with,
    /// and from when that may be taken again.
    pub(super) fn inbox(&self, name: &Name) -> InboxKeys {
        let key = |kind: &str| format!("{}:{kind}:{name}", self.tag);
        InboxKeys { inbox: key("inbox"), taken: key("taken"), leases: key("leases") }
    }

    /// What the names of all inboxes begin with.
    pub(super) fn inboxes(&self) -> String {
        format!("{}:inbox:", self.tag)
    }

    /// The list of answers to one who has asked all daemons.
    pub(super) fn answers(&self, to: &str) -> String {
        format!("{}:answers:{to}", self.tag)
    }

    /// The hash of a subject's events.
    pub(super) fn state(&self, subject: &Subject) -> String {
        format!("{}:state:{}", self.tag, subject.to_text())
    }

    /// The hash of daemons' words for a subject's events.
    pub(super) fn vouches(&self, subject: &Subject) -> String {
        format!("{}:vouches:{}", self.tag, subject.to_text())
    }

    /// The same by the subject's name as it stands in Redis.
    pub(super) fn vouches_of(&self, subject: &[u8]) -> Vec<u8> {
        [self.tag.as_bytes(), b":vouches:", subject].concat()
    }

    /// What the state of a subject is called once it is put aside.
    pub(super) fn aside_of(&self, subject: &[u8]) -> Vec<u8> {
        [self.tag.as_bytes(), b":aside:", subject].concat()
    }

    /// The hash of a subject's events by the subject's name as it stands in Redis, which may be anything.
    pub(super) fn state_of(&self, subject: &[u8]) -> Vec<u8> {
        [self.tag.as_bytes(), b":state:", subject].concat()
    }
}

/// The last microsecond of a millisecond.
const MICROS_MAX: u64 = 999;

/// A place in the stream; ids grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    /// Unix time in milliseconds, by Redis's clock.
    pub(super) ms: u64,
    /// Tells apart what was written in the same millisecond.
    pub(super) sequence: u64,
}

impl StreamId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ms, sequence) = text.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, sequence: sequence.parse().ok()? })
    }

    /// The latest instant at which an entry with this id can have been written, as an id.
    pub(super) fn latest(self) -> Self {
        Self { sequence: self.sequence.max(MICROS_MAX), ..self }
    }

    /// When the entry was written, or the event first heard, by Redis's clock. What stands beside an event is to the
    /// microsecond; an id of the stream is to the millisecond, and of the same millisecond the later one is larger.
    pub(super) fn heard_at(self) -> UnixMicros {
        UnixMicros(self.ms.saturating_mul(1_000).saturating_add(self.sequence.min(MICROS_MAX)))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

/// Takes apart a field's value in a subject's hash: when the event was written, and the event.
pub(super) fn parse_kept(value: &[u8]) -> Option<(StreamId, &[u8])> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (id, event) = value.split_at_checked(space)?;
    let id = StreamId::parse(std::str::from_utf8(id).ok()?)?;
    Some((id, event.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_share_one_hash_tag() {
        let layout = Layout::new("pc");
        let subject = Subject::user("a{b}:c").unwrap();
        assert_eq!(layout.state(&subject), "{pc}:state:user:a{b}:c");
        let keys = layout.inbox(&Name::parse("desk").unwrap());
        assert_eq!(
            [keys.inbox, keys.taken, keys.leases],
            ["{pc}:inbox:desk", "{pc}:taken:desk", "{pc}:leases:desk"]
        );
        assert_eq!(layout.inboxes(), "{pc}:inbox:");
        assert_eq!(layout.answers("0af"), "{pc}:answers:0af");
        assert_eq!([layout.daemons, layout.fleet_key], ["{pc}:daemons", "{pc}:fleet-key"]);
        assert_eq!(
            [layout.subjects, layout.stream, layout.digest],
            ["{pc}:subjects", "{pc}:stream", "{pc}:digest"]
        );
    }

    #[test]
    fn stream_ids_are_ordered_as_redis_orders_them() {
        let id = |text| StreamId::parse(text).unwrap();
        assert!(id("9-5") < id("10-0") && id("10-2") < id("10-11"));
        assert_eq!(id("1700000000123-7").to_string(), "1700000000123-7");
        assert_eq!(id("2-0").heard_at(), UnixMicros(2_000));
        assert!(id("2-1").heard_at() > id("2-0").heard_at());
        assert_eq!(id("2-5000").heard_at(), UnixMicros(2_999));
        for wrong in ["", "1", "1-", "-1", "a-b", "1-2-3"] {
            assert_eq!(StreamId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_kept_event_has_its_time_before_it() {
        let kept = parse_kept(b"5-0 {\"a\": 1}");
        assert_eq!(kept, Some((StreamId { ms: 5, sequence: 0 }, b"{\"a\": 1}".as_slice())));
        assert_eq!(parse_kept(b"5-0"), None);
        assert_eq!(parse_kept(b"{} {}"), None);
    }
}
