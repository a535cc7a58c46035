//! Whether a daemon vouches for an event that lies in Redis.
//!
//! How old an event is can be told from what its publisher has signed, and from nothing else that lies
//! in Redis: whoever can write there can put back what was signed, and lifted, long ago. What is older
//! than `events.max_age` is believed only if a daemon that has it in force says so, with a date of
//! its own, which it renews for as long as that is so. The MAC is made with the key that has signed
//! the event: daemons know it, and whoever only writes to Redis does not.

use events::Document;
use events::signature::{Signature, mac};
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use signing::key::ALGORITHM;

use super::keys::EventKeys;
use super::signature::canonical;

/// What no event can begin with, so that nobody takes the one for the other.
const CONTEXT: &[u8] = b"portcullis-vouch-v1\n";

/// What is vouched for.
pub(super) struct Claim<'a> {
    pub(super) keys: &'a EventKeys,
    pub(super) document: &'a Document,
    pub(super) signature: &'a Signature,
    pub(super) subject: &'a Subject,
    pub(super) event_id: &'a EventId,
}

impl Claim<'_> {
    /// This daemon's word, as it lies in Redis: `MILLISECONDS MAC`. None without the key, or if the
    /// event is not what was signed.
    pub(super) fn give(&self, at: UnixMicros) -> Option<String> {
        let key = self.keys.get(self.signature.key())?;
        let content = canonical(self.document).ok()?;
        if !self.signature.is_by(&key.secret, &content) {
            return None;
        }
        let at_ms = at.0 / 1_000;
        let mac = mac(&key.secret, &self.message(&content, at_ms))?;
        Some(format!("{at_ms} {mac}"))
    }

    /// When a word was given, if whoever gave it has the key.
    pub(super) fn given_at(&self, word: &[u8]) -> Option<UnixMicros> {
        let (at_ms, mac) = std::str::from_utf8(word).ok()?.split_once(' ')?;
        let at_ms: u64 = at_ms.parse().ok()?;
        let key = self.keys.get(self.signature.key())?;
        let content = canonical(self.document).ok()?;
        let signature = Signature::new(ALGORITHM, self.signature.key().as_str(), 0, mac).ok()?;
        let is_right = signature.is_by(&key.secret, &self.message(&content, at_ms));
        is_right.then(|| UnixMicros(at_ms.saturating_mul(1_000)))
    }

    fn message(&self, content: &[u8], at_ms: u64) -> Vec<u8> {
        let (subject, id) = (self.subject.to_text(), self.event_id.as_str());
        let told = format!("{subject}\n{id}\n{at_ms}\n");
        [CONTEXT, told.as_bytes(), content].concat()
    }
}
