//! Keys that all daemons of a fleet share, so that each gives a user or session the same pseudonym, and each can tell that a
//! message is from another one of them.
//!
//! A pseudonym is the beginning of an HMAC under the newest key that has begun. Whoever has a key and an id can compute the
//! pseudonym, so the keys are secrets, and one that is not needed any more is to be destroyed: see
//! docs/how-to/answer-an-auditor.md.

use std::collections::BTreeSet;
use std::path::Path;

use base16ct::HexDisplay;
use hmac::{Hmac, KeyInit, Mac};
use model::subject::Subject;
use model::time::UnixMicros;
use model::violation::Violation;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use system::{Place, Secret, Stamp, Stamps, TIME_RULE, Time, parse_toml, read_private};

use super::PSEUDONYM_BYTES;

/// The field that names the file.
const FIELD: &str = "fleet.pseudonym_key_file";
/// Most keys in a file.
const KEYS_MAX: usize = 64;
/// Shortest key, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// What pseudonyms and messages are computed over begins with one of these, so that none is ever taken for the other.
const OF_A_NAME: &[u8] = b"portcullis pseudonym\n";
const OF_A_MESSAGE: &[u8] = b"portcullis message\n";

/// Keys, oldest first; none by default.
#[derive(Clone, Debug, Default)]
pub struct SharedKeys(Vec<SharedKey>);

#[derive(Clone, Debug)]
struct SharedKey {
    begins: UnixMicros,
    secret: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    begins: Time,
    secret: Secret,
}

impl SharedKeys {
    /// Reads the file and the secrets that it names, and notes what it has read.
    ///
    /// # Errors
    /// The first rule that is broken, with the entry and the field.
    pub fn load(path: &Path, stamps: &mut Stamps) -> Result<Self, Violation> {
        Self::read(&read_private(path, FIELD)?, stamps)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// The first rule that is broken, with the entry and the field.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        Self::read(text, &mut Stamps::new())
    }

    fn read(text: &str, stamps: &mut Stamps) -> Result<Self, Violation> {
        let raw: RawFile = parse_toml(text, FIELD)?;
        if !(1..=KEYS_MAX).contains(&raw.keys.len()) {
            return Err(Violation::new("keys", format!("must be 1 to {KEYS_MAX}")));
        }
        let mut keys = Vec::new();
        let mut begins = BTreeSet::new();
        for (index, raw) in raw.keys.into_iter().enumerate() {
            let field = |name: &str| format!("keys[{index}].{name}");
            let at = raw.begins.parse();
            let at = at.ok_or_else(|| Violation::new(field("begins"), TIME_RULE))?;
            if !begins.insert(at) {
                let rule = "must differ from that of every other key";
                return Err(Violation::new(field("begins"), rule));
            }
            let secret = resolve(raw.secret, &field("secret"), stamps)?;
            if secret.expose_secret().len() < SECRET_BYTES_MIN {
                let rule = format!("must be at least {SECRET_BYTES_MIN} bytes");
                return Err(Violation::new(field("secret"), rule));
            }
            keys.push(SharedKey { begins: at, secret });
        }
        keys.sort_by_key(|key| key.begins);
        Ok(Self(keys))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none: then each daemon gives pseudonyms of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Since when the key has been in use that is in use at a time; nothing if none has begun.
    pub(super) fn in_use_since(&self, now: UnixMicros) -> Option<UnixMicros> {
        self.in_use(now).map(|key| key.begins)
    }

    /// The pseudonym that new lines have at a time; nothing if no key has begun.
    pub(super) fn name(&self, subject: &Subject, now: UnixMicros) -> Option<String> {
        self.in_use(now).and_then(|key| key.name(subject))
    }

    /// Every pseudonym that a subject can have had under these keys up to a time, the newest first.
    pub(super) fn names(&self, subject: &Subject, now: UnixMicros) -> Vec<String> {
        let begun = self.0.iter().rev().filter(|key| key.begins <= now);
        begun.filter_map(|key| key.name(subject)).collect()
    }

    /// A MAC over a message, under the key that is in use; nothing if no key has begun.
    #[must_use]
    pub fn mac(&self, message: &[u8], now: UnixMicros) -> Option<String> {
        let mac = self.in_use(now)?.hmac()?.chain_update(OF_A_MESSAGE).chain_update(message);
        Some(base16ct::lower::encode_string(&mac.finalize().into_bytes()))
    }

    /// Whether a MAC over a message is one of somebody who has one of these keys.
    #[must_use]
    pub fn is_mac(&self, message: &[u8], mac: &str) -> bool {
        let Ok(mac) = base16ct::lower::decode_vec(mac) else { return false };
        let is_by = |key: &SharedKey| {
            let hmac = key.hmac().map(|hmac| hmac.chain_update(OF_A_MESSAGE).chain_update(message));
            hmac.is_some_and(|hmac| hmac.verify_slice(&mac).is_ok())
        };
        self.0.iter().any(is_by)
    }

    fn in_use(&self, now: UnixMicros) -> Option<&SharedKey> {
        self.0.iter().rev().find(|key| key.begins <= now)
    }
}

/// A secret that stands elsewhere is to be as private as the file.
fn resolve(secret: Secret, field: &str, stamps: &mut Stamps) -> Result<SecretString, Violation> {
    let Secret::Elsewhere(Place::File(path)) = secret else { return secret.resolve(field) };
    stamps.insert(path.clone(), Stamp::of(&path));
    Ok(read_private(&path, field)?.trim_end_matches(['\r', '\n']).into())
}

impl SharedKey {
    /// HMAC takes keys of any length: this is not where one gets lost.
    fn hmac(&self) -> Option<Hmac<Sha256>> {
        Hmac::new_from_slice(self.secret.expose_secret().as_bytes()).ok()
    }

    fn name(&self, subject: &Subject) -> Option<String> {
        let hmac = self.hmac()?.chain_update(OF_A_NAME).chain_update(subject.to_text());
        let bytes = hmac.finalize().into_bytes();
        let (shown, _) = bytes.split_at_checked(PSEUDONYM_BYTES)?;
        Some(format!("p{:x}", HexDisplay(shown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[[keys]]\nbegins = \"2026-12-01T00:00:00Z\"\nsecret = \"newer-0123456789abcdef0123456789ab\"\n\
                        [[keys]]\nbegins = 2026-11-01T00:00:00Z\nsecret = \"older-0123456789abcdef0123456789ab\"\n";

    fn at(text: &str) -> UnixMicros {
        UnixMicros::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_newest_key_that_has_begun_names_and_all_of_them_find() {
        let (keys, again) = (SharedKeys::parse(TEXT).unwrap(), SharedKeys::parse(TEXT).unwrap());
        let alice = Subject::user("alice").unwrap();
        let name = |keys: &SharedKeys, time| keys.name(&alice, at(time));
        let old = name(&keys, "2026-11-30T23:59:59Z").unwrap();
        let new = name(&keys, "2026-12-01T00:00:00Z").unwrap();
        assert_eq!(name(&keys, "2026-10-31T23:59:59Z"), None);
        assert_ne!(old, new);
        assert_eq!((old.len(), old.starts_with('p')), (25, true));
        assert_eq!(name(&again, "2026-12-24T00:00:00Z"), Some(new.clone()), "every daemon alike");
        let names = |subject: &Subject, time| keys.names(subject, at(time));
        assert_eq!(names(&alice, "2026-11-30T00:00:00Z"), std::slice::from_ref(&old));
        let later = "2026-12-24T00:00:00Z";
        assert_eq!(names(&alice, later), [new, old]);
        assert_ne!(names(&alice, later), names(&Subject::session("alice").unwrap(), later));
        assert!(!format!("{keys:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn a_mac_is_that_of_whoever_has_a_key() {
        let keys = SharedKeys::parse(TEXT).unwrap();
        let mac = keys.mac(b"message", at("2026-11-30T00:00:00Z")).unwrap();
        assert!(keys.is_mac(b"message", &mac), "also once a newer one is in use");
        assert!(!keys.is_mac(b"massage", &mac) && !keys.is_mac(b"message", "00"));
        assert!(!SharedKeys::default().is_mac(b"message", &mac));
        let others = SharedKeys::parse(&TEXT.replace("er-0", "er-1")).unwrap();
        assert!(!others.is_mac(b"message", &mac));
    }

    #[test]
    fn mistakes_name_the_field_and_the_rule() {
        let cases = [
            ("", "keys: must be 1 to 64"),
            (
                "[[keys]]\nbegins = \"soon\"\nsecret = \"x\"\n",
                "keys[0].begins: must be an RFC 3339",
            ),
            (
                "[[keys]]\nbegins = 2026-11-01T00:00:00Z\nsecret = \"short\"\n",
                "keys[0].secret: must be at least 32 bytes",
            ),
            (&TEXT.replace("12-01", "11-01"), "keys[1].begins: must differ"),
            ("[[keys]]\nid = 1\n", "keys[0].id: unknown field"),
        ];
        for (text, message) in cases {
            let error = SharedKeys::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
