//! The ids that a request has of one sort, as they are found.

use model::id::clean;
use model::subject::Kind;

use super::{IDENTITIES_MAX, IDENTITIES_SEEN_MAX};

/// Somebody, found in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) id: Vec<u8>,
}

/// Everybody who was found, and what is wrong with how the request names them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Identified {
    /// Also if something is wrong: all that can be seen.
    pub(crate) found: Vec<Found>,
    pub(crate) fault: Option<Fault>,
}

/// What is wrong with how a request says who it is from. Of several the last in this order is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// More different ids than [`IDENTITIES_MAX`].
    TooMany,
    /// A claim is there and cannot be used.
    UnusableClaim,
    /// Upstreams could find somebody else than the gate does.
    Ambiguous,
    /// More different ids than are looked at: somebody was not seen.
    Crowd,
}

/// Takes ids as they are found, each once.
#[derive(Default)]
pub(super) struct Ids {
    identified: Identified,
    /// How many are another reading of one that is there.
    readings: usize,
}

impl Ids {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.identified.fault = self.identified.fault.max(Some(fault));
    }

    pub(super) fn has_any(&self) -> bool {
        !self.identified.found.is_empty()
    }

    /// Takes an id as it is.
    pub(super) fn add(&mut self, kind: &Kind, id: &[u8]) {
        let found = &mut self.identified.found;
        if id.is_empty() || found.iter().any(|known| known.id == id) {
            return;
        }
        if found.len() >= IDENTITIES_SEEN_MAX {
            return self.fault(Fault::Crowd);
        }
        found.push(Found { kind: kind.clone(), id: id.to_vec() });
    }

    /// Takes an id without the blanks around it, if it can be one.
    pub(super) fn add_clean(&mut self, kind: &Kind, id: &[u8]) {
        match clean(id) {
            Ok(id) => self.add(kind, id),
            Err(_) => self.fault(Fault::Ambiguous),
        }
    }

    /// Takes another reading of the id that came before.
    pub(super) fn add_decoded(&mut self, kind: &Kind, id: &[u8]) {
        let before = self.identified.found.len();
        self.add_clean(kind, id);
        let added = self.identified.found.len().saturating_sub(before);
        self.readings = self.readings.saturating_add(added);
    }

    pub(super) fn identified(mut self) -> Identified {
        if self.identified.found.len() > IDENTITIES_MAX.saturating_add(self.readings) {
            self.fault(Fault::TooMany);
        }
        self.identified
    }
}
