//! What begins a bucket anew: a zero, and what lifts one.
//!
//! An answer or news only ever raises a replica, so a bucket can become fuller than time makes it only by
//! beginning anew. Every report and every answer says which beginning it belongs to; what belongs to an
//! older one changes nothing, however late it arrives. An override needs no beginning: it is another rate, and so
//! another bucket ([`crate::wire::BucketName`]).

use model::hash::digest;
use model::state::Version;
use model::time::UnixMicros;

/// The newest event that has begun the bucket anew; the default where there was none.
///
/// Epochs are ordered by when their events were heard first, then by id. Equal ids are one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The event's place: when any daemon heard it first, by Redis's clock, the same for all.
    pub at: UnixMicros,
    /// A hash of the event's id; 0 where there was none.
    pub id: u64,
}

impl Epoch {
    /// The beginning that an event makes.
    #[must_use]
    pub fn of(version: &Version) -> Self {
        // 0 is for no event.
        let id = digest(version.event_id.as_str().as_bytes()).max(1);
        Self { at: version.at, id }
    }

    /// Whether it began after the other one.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.id != other.id && (self.at, self.id) > (other.at, other.id)
    }

    /// Whether both are the same beginning. Their times may differ for as long as not every daemon knows the
    /// event's place.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        self.id == other.id
    }
}

/// What is in a bucket that begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begins {
    /// Everything: after an unblock that lifts a zero, and where there was no event.
    #[default]
    Full,
    /// Nothing at the time of the event: after a zero. What has come back since then is in it.
    Emptied,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_events_are_after_earlier_ones_and_none_is_after_itself() {
        let epoch = |at, id| Epoch { at: UnixMicros(at), id };
        assert!(epoch(5, 1).is_after(Epoch::default()));
        assert!(epoch(6, 1).is_after(epoch(5, 2)));
        assert!(epoch(5, 2).is_after(epoch(5, 1)), "in one microsecond the id decides");
        assert!(!epoch(7, 1).is_after(epoch(5, 1)), "one event is one beginning");
        assert!(epoch(7, 1).is_same(epoch(5, 1)));
        assert!(!Epoch::default().is_after(Epoch::default()));
    }
}
