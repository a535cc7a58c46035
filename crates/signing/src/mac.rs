//! HMAC-SHA256, and the one place where MACs are compared.
//!
//! A MAC that a request claims cannot be compared in any other way: [`Claimed`] has no equality and
//! does not show its bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The only algorithm, by its name in keys and in RFC 9421.
pub const ALGORITHM: &str = "hmac-sha256";

/// Length of a MAC in bytes.
pub(super) const MAC_BYTES: usize = 32;

/// What a request says its MAC is.
pub struct Claimed([u8; MAC_BYTES]);

impl Claimed {
    /// From 64 lower-case hexadecimal digits: one spelling per MAC.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAC_BYTES];
        let decoded = base16ct::lower::decode(text, &mut bytes).ok()?;
        (decoded.len() == MAC_BYTES).then_some(Self(bytes))
    }

    /// From canonical Base64 with its padding: one spelling per MAC.
    pub(super) fn from_base64(text: &[u8]) -> Option<Self> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// What stands for it where MACs must not.
    pub(super) fn digest(&self) -> [u8; MAC_BYTES] {
        Sha256::digest(self.0).into()
    }
}

/// A MAC that is being computed.
#[derive(Clone)]
pub struct Running(Hmac<Sha256>);

impl Running {
    /// None only if HMAC refused the key, which it does for no length.
    pub fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Which of the claimed MACs it is. Each comparison takes the same time for every MAC, and none
    /// is left out when another has succeeded.
    pub fn find<'a>(&self, claimed: &'a [Claimed]) -> Option<&'a Claimed> {
        let mut found = None;
        for candidate in claimed {
            if self.0.clone().verify_slice(&candidate.0).is_ok() {
                found = Some(candidate);
            }
        }
        found
    }

    /// The MAC itself: for signing, never for a comparison.
    pub fn finish(self) -> [u8; MAC_BYTES] {
        self.0.finalize().into_bytes().into()
    }
}
