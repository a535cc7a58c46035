//! From bytes to a checked event: its form, its signature, and the rules for where it comes from.
//!
//! Plain and synchronous. What an event means is decided in `events` and `model`; taking it in, counting and
//! logging it is for the hub.

mod identity;
mod keys;
mod kind;
mod origin;
mod refusal;
mod rules;
mod section;
mod signature;
#[cfg(test)]
mod tests;
mod vouch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use deadletter::Proof;
use engine::{Identity, Publisher, derived};
use events::record::Record;
use events::signature::{Signature, mac};
use events::{Document, Event, EventError, EventErrorKind, protobuf};
use model::name::EventId;
use model::state::CLOCK_ERROR_MAX;
use model::time::UnixMicros;
use signing::key::{ALGORITHM, KeyId};

pub use identity::{caller, hash, inbox, kept_source};
pub use keys::{EventKeys, load as load_keys};
pub use kind::{Senders, SourceKind};
pub use origin::{Clock, Origin, Path, Stored, order};
pub use refusal::Refusal;
pub(crate) use section::MAX_AGE_MAX;
pub use section::{Events, FieldPath, Signatures, UnknownFields};
pub use signature::{Outcome, canonical};
use vouch::Claim;

/// The rules in force, and the keys of publishers.
#[derive(Debug, Default)]
pub struct Intake {
    rules: Events,
    keys: RwLock<Arc<EventKeys>>,
    /// How often keys were put in force.
    keys_version: AtomicU64,
}

/// An event that breaks no rule by itself.
#[derive(Debug)]
pub struct Checked {
    /// It. If it is kept under another id than its own, with that.
    pub event: Event,
    /// What it is beside its id.
    pub identity: Identity,
    /// What its publisher should know of its form.
    pub warnings: Vec<String>,
    /// Its JSON, as it was published; an event that came as protobuf is written as JSON.
    pub json: Vec<u8>,
    /// When it was first heard.
    pub first_heard: UnixMicros,
    /// What became of its signature; none if nobody looks at signatures here.
    pub signature: Option<Outcome>,
    /// The id of the key that it is certainly signed with.
    pub signed_by: Option<Box<str>>,
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
        Self { rules, ..Self::default() }
    }

    /// Puts keys in force.
    pub fn set_keys(&self, keys: EventKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.keys_version.fetch_add(1, Ordering::Relaxed);
    }

    /// Another number whenever keys were put in force.
    #[must_use]
    pub fn keys_version(&self) -> u64 {
        self.keys_version.load(Ordering::Relaxed)
    }

    /// Every kind of source whose events may be checked here.
    pub fn kinds(&self) -> impl Iterator<Item = &'static SourceKind> {
        self.rules.signatures.iter().map(|(kind, _)| *kind)
    }

    /// The kind of source of this name, as records and dead letters have it; nothing if this program does not
    /// know it.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<&'static SourceKind> {
        self.kinds().find(|kind| kind.name == name)
    }

    /// Where a kept event came from.
    #[must_use]
    pub fn kept_origin(&self, record: &Record) -> Origin {
        let (name, publisher) = identity::of_kept(&record.source);
        let source = self.kind(name).unwrap_or(&kind::UNKNOWN);
        Origin::new(source, Path::Kept(record.first_heard)).by(publisher)
    }

    /// What speaks for an event that was refused: whether its publisher is known to have sent it.
    #[must_use]
    pub fn proof(&self, source: &SourceKind, signature: Option<Outcome>) -> Proof {
        match signature {
            _ if self.rules.signatures_of(source) == Signatures::Off => Proof::NotAsked,
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
        stored: Stored<'_>,
        bytes: &[u8],
        clock: Clock,
    ) -> Result<Checked, Box<Rejected>> {
        let is_protobuf = protobuf::is_meant(bytes);
        let document = if is_protobuf { protobuf::read(bytes) } else { Document::read(bytes) };
        let document = document.map_err(Rejected::unread)?;
        let arrival = Arrival { origin, stored, document: &document, clock };
        let mut signature = None;
        match self.judge(&arrival, &mut signature) {
            Ok(Judged { mut event, publisher, signed_by, warnings }) => {
                let json = match is_protobuf {
                    true => document.to_json().into_bytes(),
                    false => bytes.to_vec(),
                };
                let identity = identity::of_event(&event, &document, &json, publisher);
                let identity = identity.map_err(Rejected::unread)?;
                let first_heard = origin.first_heard(clock);
                kept_as(&mut event, stored.event_id, &identity).map_err(Rejected::unread)?;
                Ok(Checked { event, identity, warnings, json, first_heard, signature, signed_by })
            }
            Err(error) => {
                let event_id = document.event_id().and_then(EventId::parse);
                Err(Box::new(Rejected { error, event_id, signature }))
            }
        }
    }

    fn judge(
        &self,
        arrival: &Arrival<'_>,
        outcome: &mut Option<Outcome>,
    ) -> Result<Judged, EventError> {
        let Arrival { origin, document, clock, .. } = *arrival;
        let first_heard = origin.first_heard(clock);
        let (event, signature) = Event::of(document, first_heard, clock.here)?;
        let mut judged =
            Judged { event, publisher: origin.caller, signed_by: None, warnings: Vec::new() };
        // What our own store holds was checked when it came in. A key that is gone since, or a rule
        // that is new, must not end a block.
        if matches!(origin.path, Path::Kept(_) | Path::Known(_) | Path::Standing(_)) {
            return Ok(judged);
        }
        let mode = self.rules.signatures_of(origin.source);
        let keys = self.keys();
        if mode != Signatures::Off {
            let publisher = judged.event.publisher.as_ref();
            let found =
                signature::judge(&keys, document, signature.as_ref(), publisher, first_heard)?;
            *outcome = Some(found);
            if let Some(verified) = signature.as_ref().filter(|_| found == Outcome::Verified) {
                judged.signed_by = Some(verified.key().as_str().into());
                judged.publisher = identity::signer(publisher, verified);
                if let Some(key) = keys.get(verified.key()) {
                    key.authority.check(&judged.event.subject, &judged.event.register)?;
                }
            }
            if let Some(error) = found.broken_rule(mode) {
                return Err(error);
            }
        }
        rules::fields(&self.rules, document)?;
        judged.warnings = rules::unknown(&self.rules, document)?;
        rules::subject(&judged.event.subject)?;
        match origin.path {
            Path::Live | Path::Heard(_) => rules::age(&self.rules, &judged.event, first_heard)?,
            // Its dates are what its publisher has signed, and what a daemon says that has the key.
            Path::Written(_) if mode == Signatures::Required => {
                let known = self.known_since(arrival, &judged.event, signature.as_ref(), &keys);
                rules::age(&self.rules, &judged.event, known)?;
            }
            Path::Written(_) => rules::age(&self.rules, &judged.event, first_heard)?,
            // An operator who replays an event knows its age.
            Path::Replayed | Path::Kept(_) | Path::Known(_) | Path::Standing(_) => {}
        }
        Ok(judged)
    }

    /// Since when an event in Redis is known to somebody whose word counts: since now at the latest.
    fn known_since(
        &self,
        arrival: &Arrival<'_>,
        event: &Event,
        signature: Option<&Signature>,
        keys: &EventKeys,
    ) -> UnixMicros {
        let now = arrival.clock.here;
        let vouched = || {
            let claim = claim(keys, arrival.document, signature?, event);
            let at = claim.given_at(arrival.stored.vouch?)?;
            // A word that is old may be put back by whoever has kept it.
            (now.since(at) <= self.rules.max_age && at.since(now) <= CLOCK_ERROR_MAX).then_some(())
        };
        if vouched().is_some() { event.occurred_at } else { now }
    }

    /// This daemon's word for an event that is in force here, to lie beside it where a source of this kind
    /// reads; none if there is no need for one, or it is not signed.
    #[must_use]
    pub fn vouch(&self, source: &SourceKind, record: &Record, now: UnixMicros) -> Option<String> {
        if self.rules.signatures_of(source) != Signatures::Required {
            return None;
        }
        let document = Document::read(&record.event).ok()?;
        let (event, signature) = Event::of(&document, record.first_heard, now).ok()?;
        if now.since(event.occurred_at) < self.rules.max_age / 2 {
            return None;
        }
        claim(&self.keys(), &document, &signature?, &event).give(now)
    }

    /// Whether events that lie where a source of this kind reads may need a word of ours, and after what time.
    #[must_use]
    pub fn vouches_after(&self, source: &SourceKind) -> Option<Duration> {
        let required = self.rules.signatures_of(source) == Signatures::Required;
        required.then_some(self.rules.max_age / 2)
    }

    /// A MAC over a message about an event, with the key that has signed the event: only who has that key can
    /// make it. None if the event is not signed, or the key is not here.
    #[must_use]
    pub fn word(&self, record: &Record, message: &[u8]) -> Option<String> {
        let (keys, key) = self.key_of(record)?;
        mac(&keys.get(&key)?.secret, message)
    }

    /// Whether such a MAC is right.
    #[must_use]
    pub fn is_word(&self, record: &Record, message: &[u8], mac: &str) -> bool {
        let Some((keys, key)) = self.key_of(record) else { return false };
        let word = Signature::new(ALGORITHM, key.as_str(), 0, mac).ok();
        keys.get(&key).zip(word).is_some_and(|(key, word)| word.is_by(&key.secret, message))
    }

    /// The key that has signed a kept event, whichever one it says: the signature is checked again.
    fn key_of(&self, record: &Record) -> Option<(Arc<EventKeys>, KeyId)> {
        let document = Document::read(&record.event).ok()?;
        let (_, signature) = Event::of(&document, record.first_heard, record.first_heard).ok()?;
        let (keys, signature) = (self.keys(), signature?);
        let content = signature::canonical(&document).ok()?;
        let is_right = signature.is_by(&keys.get(signature.key())?.secret, &content);
        is_right.then(|| (keys, signature.key().clone()))
    }

    /// Whether nothing is believed that comes from a source of this kind without a signature.
    #[must_use]
    pub fn requires_signatures(&self, source: &SourceKind) -> bool {
        self.rules.signatures_of(source) == Signatures::Required
    }

    fn keys(&self) -> Arc<EventKeys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An event as it arrives.
struct Arrival<'a> {
    origin: Origin,
    stored: Stored<'a>,
    document: &'a Document,
    clock: Clock,
}

/// An event that breaks no rule.
struct Judged {
    event: Event,
    publisher: Publisher,
    signed_by: Option<Box<str>>,
    warnings: Vec<String>,
}

fn claim<'a>(
    keys: &'a EventKeys,
    document: &'a Document,
    signature: &'a Signature,
    event: &'a Event,
) -> Claim<'a> {
    let (subject, event_id) = (&event.subject, &event.register.version.event_id);
    Claim { keys, document, signature, subject, event_id }
}

/// Gives the event the id that it is kept under, which has to be one of its own.
fn kept_as(
    event: &mut Event,
    kept: Option<&EventId>,
    identity: &Identity,
) -> Result<(), EventError> {
    let Some(kept) = kept.filter(|kept| **kept != event.register.version.event_id) else {
        return Ok(());
    };
    if derived(&event.register.version.event_id, identity.bytes).as_ref() != Some(kept) {
        return Err(EventError {
            kind: EventErrorKind::Invalid,
            field: "event_id".into(),
            rule: "must be the id that it is kept under".into(),
        });
    }
    event.register.version.event_id = kept.clone();
    Ok(())
}

impl Rejected {
    /// An event of which nothing could be read.
    #[must_use]
    pub fn unread(error: EventError) -> Box<Self> {
        Box::new(Self { error, event_id: None, signature: None })
    }
}
