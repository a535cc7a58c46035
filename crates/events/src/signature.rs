//! The signatures of events: HMAC-SHA256 over the event's canonical JSON (RFC 8785) without its
//! member `sig`, which holds the signature.
//!
//! Making the canonical form, finding the key, and deciding what an absent or wrong signature means
//! is for the caller.

use std::fmt;

use model::violation::Violation;
use signing::Profile;
use signing::key::{ALGORITHM, KeyId, Secret};
use signing::mac::{Claimed, Running};

/// The member of an event that holds its signature, and is not itself signed.
pub const MEMBER: &str = "sig";

/// The latest `ts`, in Unix seconds: the end of the year 9999.
const SIGNED_AT_MAX: u64 = 253_402_300_799;

/// What an event says of its signature.
pub struct Signature {
    key: KeyId,
    signed_at_s: u64,
    claimed: Claimed,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, signed_at_s, .. } = self;
        write!(f, "Signature(by {key} at {signed_at_s})")
    }
}

impl Signature {
    /// Checks its members.
    ///
    /// # Errors
    /// The member at fault, and its rule.
    pub fn new(algo: &str, kid: &str, ts: u64, mac: &str) -> Result<Self, Violation> {
        if algo != ALGORITHM {
            return Err(Violation::new("sig.algo", "must be \"hmac-sha256\""));
        }
        if ts > SIGNED_AT_MAX {
            return Err(Violation::new("sig.ts", "must be Unix seconds"));
        }
        let rule = "must be 64 lower-case hexadecimal digits";
        Ok(Self {
            key: KeyId::parse(kid).ok_or_else(|| Violation::new("sig.kid", KeyId::RULE))?,
            signed_at_s: ts,
            claimed: Claimed::from_hex(mac.as_bytes())
                .ok_or_else(|| Violation::new("sig.mac", rule))?,
        })
    }

    /// The key that it says it was made with.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// When it says it was made, in Unix seconds. Nothing covers this: it explains, and decides
    /// nothing.
    #[must_use]
    pub fn signed_at_s(&self) -> u64 {
        self.signed_at_s
    }

    /// Whether it was made with this secret, over this canonical JSON. Takes the same time for every
    /// wrong MAC.
    #[must_use]
    pub fn is_by(&self, secret: &Secret, canonical: &[u8]) -> bool {
        running(secret, canonical)
            .is_some_and(|mac| mac.find(std::slice::from_ref(&self.claimed)).is_some())
    }
}

/// The MAC of an event's canonical JSON, in hexadecimal: for signing, never for a comparison. None
/// only if HMAC refused the secret, which it does for no length.
#[must_use]
pub fn mac(secret: &Secret, canonical: &[u8]) -> Option<String> {
    running(secret, canonical).map(|mac| base16ct::lower::encode_string(&mac.finish()))
}

fn running(secret: &Secret, canonical: &[u8]) -> Option<Running> {
    let mut mac = Running::new(&secret.bytes_for(Profile::Portcullis)?)?;
    mac.update(canonical);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_and_content_make_the_same_mac() {
        let secret = |text: &str| Secret::new(text.into()).unwrap();
        let ours = secret("0123456789abcdef");
        let made = mac(&ours, b"{}").unwrap();
        let signature = Signature::new("hmac-sha256", "k1", 1, &made).unwrap();
        assert!(signature.is_by(&ours, b"{}"));
        assert!(!signature.is_by(&ours, b"{ }"));
        assert!(!signature.is_by(&secret("0123456789abcdeg"), b"{}"));
        assert!(!format!("{signature:?}").contains(&made));
    }

    #[test]
    fn every_member_has_its_rule() {
        let mac = "0".repeat(64);
        let wrong =
            |algo, kid, ts, mac: &str| Signature::new(algo, kid, ts, mac).unwrap_err().field;
        assert_eq!(wrong("hmac-sha1", "k", 1, &mac), "sig.algo");
        assert_eq!(wrong("hmac-sha256", "a key", 1, &mac), "sig.kid");
        assert_eq!(wrong("hmac-sha256", "k", u64::MAX, &mac), "sig.ts");
        assert_eq!(wrong("hmac-sha256", "k", 1, &mac.replace('0', "A")), "sig.mac");
        assert_eq!(wrong("hmac-sha256", "k", 1, "00"), "sig.mac");
    }
}
