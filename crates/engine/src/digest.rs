//! A digest of which events are known: whether two places hold the same ones, without comparing
//! them one by one.
//!
//! It does not depend on the order in which events came, and can be kept up to date event by event.
//! The scripts in `redis/` compute the same. It notices loss, not malice: whoever can write to
//! Redis can also write a digest.

use model::name::EventId;
use model::subject::Subject;
use serde::Serialize;
use sha1::{Digest as _, Sha1};

/// Sums are taken modulo this: 48 bits, which a double of Lua holds exactly.
const MODULUS: u64 = 1 << 48;

/// How many (subject, event id) pairs there are, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// How many.
    pub count: u64,
    /// The sum of the first 48 bits of SHA-1 over `KIND:ID\nEVENT_ID`, modulo 2^48.
    pub sum: u64,
}

impl Digest {
    /// Counts one more event.
    pub fn add(&mut self, subject: &Subject, event_id: &EventId) {
        self.add_text(subject.to_text().as_bytes(), event_id.as_str().as_bytes());
    }

    /// Counts one more event by its names as they stand in Redis, which may be anything.
    pub fn add_text(&mut self, subject: &[u8], event_id: &[u8]) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.wrapping_add(hash(subject, event_id)) % MODULUS;
    }

    /// Counts one event less.
    pub fn remove(&mut self, subject: &Subject, event_id: &EventId) {
        self.count = self.count.saturating_sub(1);
        let left = self
            .sum
            .wrapping_add(MODULUS)
            .wrapping_sub(hash(subject.to_text().as_bytes(), event_id.as_str().as_bytes()));
        self.sum = left % MODULUS;
    }

    /// Both together, if they have no event in common.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let count = self.count.saturating_add(other.count);
        Self { count, sum: self.sum.wrapping_add(other.sum) % MODULUS }
    }

    /// Whether no event is counted.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.count == 0
    }
}

fn hash(subject: &[u8], event_id: &[u8]) -> u64 {
    let mut sha1 = Sha1::new();
    for part in [subject, b"\n", event_id] {
        sha1.update(part);
    }
    sha1.finalize().iter().take(6).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(user: &str, id: &str) -> (Subject, EventId) {
        (Subject::user(user).unwrap(), EventId::parse(id).unwrap())
    }

    #[test]
    fn the_order_does_not_matter_and_taking_away_undoes_adding() {
        let (a, b) = (pair("alice", "evt-1"), pair("bob", "evt-1"));
        let mut one = Digest::default();
        one.add(&a.0, &a.1);
        one.add(&b.0, &b.1);
        let mut other = Digest::default();
        other.add(&b.0, &b.1);
        let only_b = other;
        other.add(&a.0, &a.1);
        assert_eq!(one, other);
        one.remove(&a.0, &a.1);
        assert_eq!(one, only_b);
        one.remove(&b.0, &b.1);
        assert_eq!(one, Digest::default());
        assert!(one.is_empty());
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        let (subject, id) = pair("alice", "evt-1");
        let mut digest = Digest::default();
        digest.add(&subject, &id);
        // printf 'user:alice\nevt-1' | sha1sum | cut -c1-12
        assert_eq!(digest, Digest { count: 1, sum: 0x8a28f60c1d5d });
    }
}
