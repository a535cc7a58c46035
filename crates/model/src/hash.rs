//! Hashes: the keyed one that stands for a subject in memory, and a plain one for small tags.

use std::fmt;
use std::hash::Hash;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::name::EventId;
use crate::subject::SubjectRef;

/// The secret that makes subject hashes unpredictable, so that nobody can choose ids that collide.
/// Random, made once per Envoy process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; HashKey::BYTES]);

impl HashKey {
    /// Length of the key in bytes.
    pub const BYTES: usize = 16;

    /// Takes random bytes as the key.
    #[must_use]
    pub fn new(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    /// SipHash-2-4 with 128 bits of output over the subject's kind and id.
    #[must_use]
    pub fn subject(&self, subject: SubjectRef<'_>) -> SubjectHash {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_key(&self.0);
        // The kind's tag is a prefix of its own length: no header name or id can imitate another.
        hasher.write(&[subject.kind.tag()]);
        if let Some(qualifier) = subject.kind.qualifier() {
            hasher.write(qualifier.as_bytes());
            hasher.write(&[0]);
        }
        hasher.write(subject.id);
        SubjectHash(hasher.finish128().as_bytes())
    }

    /// The same over the network that a client is in.
    #[must_use]
    pub fn network(&self, network: &[u8]) -> SubjectHash {
        self.tagged(NETWORK_TAG, network)
    }

    /// The same over what a signed request may not use again.
    #[must_use]
    pub fn nonce(&self, nonce: &[u8]) -> SubjectHash {
        self.tagged(NONCE_TAG, nonce)
    }

    /// 64 bits that stand for one event about one subject. Keyed, so that no publisher can choose ids of events that
    /// are taken for each other.
    #[must_use]
    pub fn event(&self, subject: SubjectHash, event_id: &EventId) -> u64 {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[EVENT_TAG]);
        hasher.write(&subject.0);
        hasher.write(event_id.as_str().as_bytes());
        hasher.finish()
    }

    fn tagged(&self, tag: u8, bytes: &[u8]) -> SubjectHash {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[tag]);
        hasher.write(bytes);
        SubjectHash(hasher.finish128().as_bytes())
    }
}

/// Beside the tags of subjects' kinds, and fixed for good like them.
const NONCE_TAG: u8 = 64;

/// Beside the one of nonces. Of nothing that is kept beyond a process.
const NETWORK_TAG: u8 = 65;

/// Beside the others. Of nothing that is kept beyond a process.
const EVENT_TAG: u8 = 66;

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}

/// What stands for a subject in memory: 128 bits that say nothing without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectHash(pub [u8; SubjectHash::BYTES]);

impl SubjectHash {
    /// Length of the hash in bytes.
    pub const BYTES: usize = 16;

    /// The slab that holds this subject, of `slabs` (a power of two).
    #[must_use]
    pub fn slab(&self, slabs: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) & slabs.wrapping_sub(1)
    }
}

/// 64 bits that tell texts apart whose choice gains nobody anything: the same in every process and version
/// (SipHash-1-3 under a key of zeros).
#[must_use]
pub fn digest(text: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = SipHasher13::new();
    hasher.write(text);
    hasher.finish()
}

/// 32 bits that tell a few configured things apart: the same in every process and version.
#[must_use]
pub fn fingerprint<T: Hash>(value: &T) -> u32 {
    use std::hash::Hasher;
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    // The low half is as good as any.
    (hasher.finish() & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Kind;

    #[test]
    fn kinds_and_keys_keep_subjects_apart() {
        let key = HashKey::new([1; 16]);
        let hash = |key: &HashKey, kind: &Kind, id: &str| {
            key.subject(SubjectRef { kind, id: id.as_bytes() })
        };
        let header = Kind::Header("x-api-key".into());
        let alice = hash(&key, &Kind::User, "alice");
        assert_eq!(alice, hash(&key, &Kind::User, "alice"));
        assert_ne!(alice, hash(&key, &Kind::Session, "alice"));
        assert_ne!(alice, hash(&key, &header, "alice"));
        assert_ne!(alice, hash(&HashKey::new([2; 16]), &Kind::User, "alice"));
        let other = Kind::Header("x-api-token".into());
        assert_ne!(hash(&key, &other, "alice"), hash(&key, &header, "alice"));
        assert_ne!(hash(&key, &Kind::Header("a".into()), "b"), hash(&key, &Kind::User, "a\0b"));
    }

    #[test]
    fn an_event_is_that_of_its_subject() {
        let key = HashKey::new([1; 16]);
        let subject = |id: &str| key.subject(SubjectRef { kind: &Kind::User, id: id.as_bytes() });
        let event = |text: &str| EventId::parse(text).unwrap();
        let one = key.event(subject("alice"), &event("e"));
        assert_eq!(one, key.event(subject("alice"), &event("e")));
        assert_ne!(one, key.event(subject("bob"), &event("e")));
        assert_ne!(one, key.event(subject("alice"), &event("f")));
        assert_ne!(one, HashKey::new([2; 16]).event(subject("alice"), &event("e")));
    }

    #[test]
    fn the_slab_is_in_range() {
        for byte in 0..=255 {
            assert!(SubjectHash([byte; 16]).slab(16) < 16);
        }
    }
}
