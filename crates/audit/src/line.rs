//! One line of the audit log: how it is sealed, and how it is read again.
//!
//! A line is a JSON object that begins with `seq` and ends with `prev` and `hash`. The hash covers
//! the exact bytes of the line as it would be without its last member, `,"hash":"…"`. So whoever
//! checks it need not write JSON in any particular way, only cut off the end.

use std::borrow::Cow;
use std::fmt;

use base16ct::HexDisplay;
use hmac::{Hmac, KeyInit, Mac};
use model::time::UnixMicros;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Version of the format, in the first line of every file. Lines of every version are sealed and
/// chained alike; a newer one has members that an older one has not:
/// - 2: what an event orders (`scope`, `until`, `disclose`, `limit`, `rate`), `occurred_at`,
///   `publisher` and `publisher_sequence`; whom a call of the API is about; `reload`;
/// - 3: `rejection` and `fence`; of an event `signature`, `counts_from` and `ended`; `pseudonyms` of an erasure.
pub(super) const FORMAT: u32 = 3;

/// Longest line, in bytes, with its hash and without the line break. What can stand in a line is
/// bounded so that none is longer.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// What stands before the hash, in place of the closing brace.
const HASH_OPENS: &[u8] = b",\"hash\":\"";
/// What stands after the hash.
const HASH_CLOSES: &[u8] = b"\"}";
const HASH_BYTES: usize = 32;
const SUFFIX_BYTES: usize = HASH_OPENS.len() + 2 * HASH_BYTES + HASH_CLOSES.len();
/// What the fingerprint of a key is computed over: it tells keys apart and says nothing of them.
const FINGERPRINT_OF: &[u8] = b"portcullis audit key fingerprint";
/// Bytes of a key's fingerprint that are shown.
const FINGERPRINT_BYTES: usize = 8;

/// What links a line to the one before.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// What the first line of all has for the hash of the line before.
    pub const ZERO: Self = Self([0; HASH_BYTES]);

    /// 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = Self::ZERO;
        let read = base16ct::lower::decode(text, &mut hash.0).ok()?;
        (read.len() == HASH_BYTES).then_some(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", HexDisplay(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let rule = "must be 64 lower-case hexadecimal digits";
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(rule))
    }
}

/// A place in the chain: a line, by its number and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The line's number; 0 stands before the first line.
    pub seq: u64,
    /// The line's hash.
    pub hash: Hash,
}

impl Point {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, hash: Hash::ZERO };

    /// `SEQ:HASH`, as it is shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Some(Self { seq: seq.parse().ok()?, hash: Hash::parse(hash)? })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// What seals lines: HMAC-SHA256 under a key, or SHA-256 without one. Without a key whoever can
/// write the files can write another log that passes for one.
#[derive(Clone)]
pub struct Seal {
    keyed: Option<Hmac<Sha256>>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seal").field(&self.name()).finish()
    }
}

impl Seal {
    /// A seal under a key, if one is given.
    #[must_use]
    pub fn new(key: Option<&SecretString>) -> Self {
        // HMAC takes keys of any length: this is not where a key gets lost.
        let keyed = key.map(|key| Hmac::new_from_slice(key.expose_secret().as_bytes()));
        Self { keyed: keyed.and_then(Result::ok) }
    }

    /// `sha256`, or `hmac-sha256:` and a fingerprint that tells keys apart.
    #[must_use]
    pub fn name(&self) -> String {
        if self.keyed.is_none() {
            return "sha256".to_owned();
        }
        let fingerprint = self.hash(FINGERPRINT_OF);
        let (shown, _) = fingerprint.0.split_at(FINGERPRINT_BYTES);
        format!("hmac-sha256:{:x}", HexDisplay(shown))
    }

    /// The hash of a line without its own.
    #[must_use]
    pub fn hash(&self, body: &[u8]) -> Hash {
        match &self.keyed {
            Some(keyed) => Hash(keyed.clone().chain_update(body).finalize().into_bytes().into()),
            None => Hash(Sha256::digest(body).into()),
        }
    }

    /// Appends a JSON object as a sealed line, line break included, and gives its hash.
    pub fn write(&self, mut object: String, out: &mut Vec<u8>) -> Hash {
        let hash = self.hash(object.as_bytes());
        // Its closing brace.
        object.pop();
        out.extend_from_slice(object.as_bytes());
        out.extend_from_slice(HASH_OPENS);
        out.extend_from_slice(hash.to_string().as_bytes());
        out.extend_from_slice(HASH_CLOSES);
        out.push(b'\n');
        hash
    }

    /// The hash of a line as it was read (without its line break), if that is what it says itself.
    #[must_use]
    pub fn check(&self, line: &[u8]) -> Option<Hash> {
        let (body, suffix) = line.split_at_checked(line.len().checked_sub(SUFFIX_BYTES)?)?;
        let digits = suffix.strip_prefix(HASH_OPENS)?.strip_suffix(HASH_CLOSES)?;
        let mut object = Vec::with_capacity(body.len().saturating_add(1));
        object.extend_from_slice(body);
        object.push(b'}');
        let hash = self.hash(&object);
        bool::from(hash.to_string().as_bytes().ct_eq(digits)).then_some(hash)
    }
}

/// What every line says, and what some say that matters for checking the chain.
#[derive(Debug, Deserialize)]
pub struct Facts<'a> {
    /// The line's number.
    pub seq: u64,
    /// When it was noted, RFC 3339 in UTC.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// What sort of line it is.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// The hash of the line before.
    pub prev: Hash,
    /// Of a `file` line: what the file is sealed with; see [`Seal::name`].
    #[serde(borrow, default)]
    pub seal: Option<Cow<'a, str>>,
    /// Of a `file` line: the version of the format of the lines in it.
    #[serde(default)]
    pub format: Option<u32>,
    /// Of a `removed` line: the last line that was removed.
    #[serde(default)]
    pub through: Option<u64>,
    /// Of a `removed` line: the hash of that line.
    #[serde(default)]
    pub through_hash: Option<Hash>,
    /// Of a `gap` line: how many entries are missing.
    #[serde(default)]
    pub lines: Option<u64>,
}

impl<'a> Facts<'a> {
    /// Reads a line, sealed or not.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When it was noted.
    #[must_use]
    pub fn at(&self) -> Option<UnixMicros> {
        UnixMicros::parse_rfc3339(&self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_is_checked_over_its_exact_bytes() {
        for seal in [Seal::new(None), Seal::new(Some(&"0123456789abcdef".into()))] {
            let mut out = Vec::new();
            let object = r#"{"seq":1,"time":"t","kind":"k","prev":"x"}"#.to_owned();
            let hash = seal.write(object, &mut out);
            let line = out.strip_suffix(b"\n").unwrap();
            assert_eq!(seal.check(line), Some(hash));
            for index in 0..line.len() {
                let mut changed = line.to_vec();
                changed[index] ^= 1;
                assert_eq!(seal.check(&changed), None, "byte {index}");
            }
            assert_eq!(seal.check(&line[1..]), None);
            assert_eq!(seal.check(b""), None);
        }
    }

    #[test]
    fn keys_are_told_apart_and_not_shown() {
        let one = Seal::new(Some(&"0123456789abcdef".into()));
        let other = Seal::new(Some(&"0123456789abcdeg".into()));
        assert_ne!(one.name(), other.name());
        assert_ne!(one.hash(b"x"), other.hash(b"x"));
        assert_eq!(Seal::new(None).name(), "sha256");
        assert!(!format!("{one:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn points_and_hashes_survive_a_round_trip() {
        let point = Point { seq: 42, hash: Seal::new(None).hash(b"x") };
        assert_eq!(Point::parse(&point.to_string()), Some(point));
        let upper = point.hash.to_string().to_uppercase();
        for wrong in
            ["", "1", "1:", "x:00", &format!("1:{upper}"), &format!("1:+{}", "0".repeat(63))]
        {
            assert_eq!(Point::parse(wrong), None, "{wrong}");
        }
    }
}
