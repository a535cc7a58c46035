//! Structured logs, and the pseudonyms that stand for user ids in them.

use std::fmt::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use policy::subject::Subject;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::config::{Log, LogFormat};

/// Bytes of the MAC that a pseudonym shows: enough to tell users apart, too few to be the MAC.
const PSEUDONYM_BYTES: usize = 8;
/// Bytes of a key made for one run.
const RANDOM_KEY_BYTES: usize = 32;

/// Sends this process's log lines to standard error, as configured.
pub fn init(config: &Log) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(config.level)
        .with_target(false)
        .with_writer(std::io::stderr)
        // It would say so on standard error, and end the program if that fails too: a full disk
        // below the log must not end enforcement.
        .log_internal_errors(false);
    // Only a second call could fail, and the first one's choice would stand.
    let _ = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    };
}

/// Makes the pseudonyms of subjects: the same subject has the same one as long as the key stays.
pub struct Pseudonyms {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(redacted)")
    }
}

impl Pseudonyms {
    /// Pseudonyms under the given key, or under one made for this run only.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn new(key: Option<&SecretString>) -> Result<Self, getrandom::Error> {
        let mut random = [0; RANDOM_KEY_BYTES];
        let key = match key {
            Some(key) => key.expose_secret().as_bytes(),
            None => {
                getrandom::fill(&mut random)?;
                &random
            }
        };
        // HMAC takes keys of any length; the error exists for other MACs.
        let keyed = Hmac::new_from_slice(key).map_err(|_| getrandom::Error::UNEXPECTED)?;
        Ok(Self { keyed })
    }

    /// `u_` or `s_` (user or session) and 16 hexadecimal digits of an HMAC-SHA256 of the id.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> String {
        let (prefix, kind) = match subject {
            Subject::User(_) => ("u_", b"user:".as_slice()),
            Subject::Session(_) => ("s_", b"session:".as_slice()),
        };
        let mac = self.keyed.clone().chain_update(kind).chain_update(subject.id());
        let mut name = prefix.to_owned();
        for byte in mac.finalize().into_bytes().iter().take(PSEUDONYM_BYTES) {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_key_kind_and_id_and_hides_the_id() {
        let one = Pseudonyms::new(Some(&"0123456789abcdef".into())).unwrap();
        let other = Pseudonyms::new(Some(&"fedcba9876543210".into())).unwrap();
        let (user, session) = (Subject::user("alice").unwrap(), Subject::session("alice").unwrap());
        assert_eq!(one.of(&user), one.of(&user));
        assert_eq!(one.of(&user).len(), 2 + 2 * PSEUDONYM_BYTES);
        assert_ne!(one.of(&user), other.of(&user));
        assert_ne!(one.of(&user).get(2..), one.of(&session).get(2..));
        assert!(!one.of(&user).contains("alice"));
        let random = Pseudonyms::new(None).unwrap();
        assert_ne!(random.of(&user), Pseudonyms::new(None).unwrap().of(&user));
    }
}
