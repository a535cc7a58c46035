//! From bytes to a checked event: its form, its signature, and the rules for where it comes from.
//!
//! Plain and synchronous. What an event means is decided in `policy`; taking it in, counting and
//! logging it is for [`crate::shared`].

mod keys;
mod origin;
mod rules;
mod signature;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use policy::event::{Document, Event, EventError, protobuf};
use policy::name::EventId;
use policy::time::UnixMicros;

use crate::config::{Events, Signatures};
pub use keys::{EventKeys, load as load_keys};
pub use origin::{Origin, Path};
pub use signature::{Outcome, canonical};

/// Name of the source that the API is.
pub const EMBEDDED: &str = "embedded";

/// The rules in force, and the keys of publishers.
#[derive(Debug, Default)]
pub struct Intake {
    rules: Events,
    keys: RwLock<Arc<EventKeys>>,
}

/// An event that breaks no rule by itself.
#[derive(Debug)]
pub struct Checked {
    /// It.
    pub event: Event,
    /// Its JSON, as it was published; an event that came as protobuf is written as JSON.
    pub json: Vec<u8>,
    /// When it was first heard.
    pub first_heard: UnixMicros,
    /// What became of its signature; none if nobody looks at signatures here.
    pub signature: Option<Outcome>,
    /// The id of the key that it is certainly signed with.
    pub signed_by: Option<Box<str>>,
}

/// What speaks for an event that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A signature by a key that is known.
    Signed,
    /// Nothing, and nothing is asked for: whoever reaches the source is believed.
    NotAsked,
    /// Nothing.
    None,
}

/// An event that breaks a rule.
#[derive(Debug)]
pub struct Rejected {
    /// The rule.
    pub error: EventError,
    /// Its id, as far as it could be read.
    pub event_id: Option<EventId>,
    /// What became of its signature, if it came to that.
    pub signature: Option<Outcome>,
}

impl Intake {
    /// With these rules, and no keys yet.
    #[must_use]
    pub fn new(rules: Events) -> Self {
        Self { rules, keys: RwLock::default() }
    }

    /// Puts keys in force.
    pub fn set_keys(&self, keys: EventKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// What speaks for an event that was refused: whether its publisher is known to have sent it.
    #[must_use]
    pub fn proof(&self, source: &str, signature: Option<Outcome>) -> Proof {
        let mode = if source == EMBEDDED { self.rules.embedded } else { self.rules.redis };
        match signature {
            _ if mode == Signatures::Off => Proof::NotAsked,
            // Of the last two the signature is right, by a key that may not be used for it.
            Some(Outcome::Verified | Outcome::ExpiredKey | Outcome::PublisherNotAllowed) => {
                Proof::Signed
            }
            _ => Proof::None,
        }
    }

    /// Checks an event in either form.
    ///
    /// What comes from our own store has passed all rules before. Rules and keys may have changed
    /// since, and a block that is in force is not dropped for that: only its form is checked again.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(
        &self,
        origin: Origin,
        bytes: &[u8],
        now: UnixMicros,
    ) -> Result<Checked, Box<Rejected>> {
        let is_protobuf = protobuf::is_meant(bytes);
        let document = if is_protobuf { protobuf::read(bytes) } else { Document::read(bytes) };
        let document = document.map_err(Rejected::unread)?;
        let first_heard = origin.first_heard(now);
        let mut signature = None;
        match self.judge(origin, &document, first_heard, &mut signature) {
            Ok((event, signed_by)) => {
                let json = match is_protobuf {
                    true => document.to_json().into_bytes(),
                    false => bytes.to_vec(),
                };
                Ok(Checked { event, json, first_heard, signature, signed_by })
            }
            Err(error) => {
                let event_id = document.event_id().and_then(EventId::parse);
                Err(Box::new(Rejected { error, event_id, signature }))
            }
        }
    }

    fn judge(
        &self,
        origin: Origin,
        document: &Document,
        first_heard: UnixMicros,
        outcome: &mut Option<Outcome>,
    ) -> Result<(Event, Option<Box<str>>), EventError> {
        let mut signed_by = None;
        let (event, signature) = Event::of(document, first_heard)?;
        // What our own store holds was checked when it came in. A key that is gone since, or a rule
        // that is new, must not end a block.
        if matches!(origin.path, Path::Kept(_)) {
            return Ok((event, None));
        }
        let mode = if origin.source == EMBEDDED { self.rules.embedded } else { self.rules.redis };
        if mode != Signatures::Off {
            let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
            let publisher = event.publisher.as_ref();
            let found =
                signature::judge(&keys, document, signature.as_ref(), publisher, first_heard)?;
            *outcome = Some(found);
            let verified = signature.filter(|_| found == Outcome::Verified);
            signed_by = verified.map(|signature| signature.key().as_str().into());
            if let Some(error) = found.broken_rule(mode) {
                return Err(error);
            }
        }
        rules::fields(&self.rules, document)?;
        // An operator who replays an event knows its age.
        if matches!(origin.path, Path::Live | Path::Written(_)) {
            rules::age(&self.rules, &event, first_heard)?;
        }
        Ok((event, signed_by))
    }
}

impl Rejected {
    /// An event of which nothing could be read.
    #[must_use]
    pub fn unread(error: EventError) -> Box<Self> {
        Box::new(Self { error, event_id: None, signature: None })
    }
}
