//! The key that the whole fleet names subjects with: as it lies in Redis, and in a file of an operator's.

use std::fmt;
use std::path::Path;

use model::push::FleetKey;
use model::violation::Violation;
use sha2::{Digest, Sha256};
use system::{Stamps, read_private};

/// Length of the key in bytes.
const BYTES: usize = 16;
/// The largest version: one that every reader of JSON takes.
const VERSION_MAX: u64 = (1 << 53) - 1;
/// The longest text that can be one, in bytes.
const TEXT_BYTES_MAX: usize = 64;
/// The field of the configuration that names the file.
const FIELD: &str = "fleet.key_file";

/// A key and its version, which is no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey {
    version: u64,
    key: [u8; BYTES],
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({}, redacted)", self.version)
    }
}

impl HashKey {
    /// Takes random bytes as the version and the key.
    #[must_use]
    pub fn of_random(version: [u8; 8], key: [u8; BYTES]) -> Self {
        Self { version: (u64::from_le_bytes(version) & VERSION_MAX).max(1), key }
    }

    /// Another number for each key.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Reads it as it lies in Redis: `VERSION KEY`, a number and 32 hexadecimal digits. Whoever can write there can write
    /// anything.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (version, key) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
        let version = is_number.then(|| version.parse().ok()).flatten()?;
        let key = hexadecimal(key)?;
        (1..=VERSION_MAX).contains(&version).then_some(Self { version, key })
    }

    /// As it lies in Redis.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{} ", self.version);
        for byte in self.key {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    /// For nodes.
    #[must_use]
    pub fn to_wire(&self, partitions: u16) -> FleetKey {
        let Self { version, key } = self;
        FleetKey { version: *version, key: key.to_vec(), partitions: partitions.into() }
    }

    /// That of a file: its version comes of the key, so that all daemons with one file have the same.
    fn of_file(text: &str) -> Option<Self> {
        let key = hexadecimal(text.trim_end_matches(['\r', '\n']))?;
        let digest = Sha256::digest([b"portcullis-fleet-key-v1".as_slice(), &key].concat());
        let (version, _) = digest.as_slice().split_first_chunk()?;
        Some(Self::of_random(*version, key))
    }
}

/// Reads the file, which others must not read. It names no further ones.
///
/// # Errors
/// It cannot be read, others may read it, or it has anything but 32 hexadecimal digits in it.
pub fn load(path: &Path, _: &mut Stamps) -> Result<HashKey, Violation> {
    let text = read_private(path, FIELD)?;
    let rule = "the file must have 32 hexadecimal digits (0-9, a-f) in it and nothing else";
    HashKey::of_file(&text).ok_or_else(|| Violation::new(FIELD, rule))
}

fn hexadecimal(digits: &str) -> Option<[u8; BYTES]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 2 * BYTES || !digits.bytes().all(is_digit) {
        return None;
    }
    let mut key = [0; BYTES];
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn what_lies_in_redis_is_read_as_it_is_written_and_nothing_else_is() {
        let key = HashKey::of_random([255; 8], [7; BYTES]);
        assert_eq!(key.version(), VERSION_MAX);
        assert_eq!(HashKey::read(key.to_text().as_bytes()), Some(key));
        assert_eq!(HashKey::of_random([0; 8], [7; BYTES]).version(), 1);
        let wrong = [
            String::new(),
            HEX.to_owned(),
            format!("0 {HEX}"),
            format!("+1 {HEX}"),
            format!("1  {HEX}"),
            format!("1 {HEX} "),
            format!("1 {HEX}0"),
            format!("1 {}", HEX.to_uppercase()),
            format!("9007199254740992 {HEX}"),
            format!("99999999999999999999 {HEX}"),
            "1 +0+1+2+3+4+5+6+7+8+9+a+b+c+d+e+f".to_owned(),
            "1".repeat(10_000),
        ];
        for text in wrong {
            assert_eq!(HashKey::read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(HashKey::read(b"1 \xff\xff"), None);
    }

    #[test]
    fn it_is_never_shown() {
        let key = HashKey::of_random([1; 8], [0xab; BYTES]);
        assert!(!format!("{key:?}").contains("ab"), "{key:?}");
        assert!(!format!("{:?}", key.to_wire(1)).contains("171"));
    }

    #[test]
    fn a_file_has_the_same_version_for_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let loaded = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&path, &mut Stamps::new()).map_err(|error| error.to_string())
        };
        let key = loaded(&format!("{HEX}\n"), 0o600).unwrap();
        assert_eq!(key, loaded(HEX, 0o640).unwrap());
        let other = loaded(&HEX.replace("00", "ff"), 0o600).unwrap();
        assert_ne!(key.version(), other.version());
        let wrong = [("", 0o600), ("zz", 0o600), (&*HEX.to_uppercase(), 0o600), (HEX, 0o644)];
        for (text, mode) in wrong {
            let error = loaded(text, mode).unwrap_err();
            assert!(error.starts_with("fleet.key_file: ") && !error.contains(HEX), "{error}");
        }
    }
}
