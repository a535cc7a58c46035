//! Verification of one request, as it arrives.
//!
//! The body is hashed chunk by chunk; nothing of it is kept.

use std::time::Duration;

use super::key::{KeyId, KeySet};
use super::{Failure, Profile};
use crate::config::Signature;
use crate::name::Name;
use crate::request::Headers;
use crate::time::UnixMicros;

/// The most keys that are tried on one request.
pub const CANDIDATES_MAX: usize = 16;

/// What a request may not use again: whose it is, and its nonce or what it signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(pub(super) Box<[u8]>);

/// A request whose signature is right. Whether it was used before is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose key has signed.
    pub partner: Name,
    /// Which one.
    pub key_id: KeyId,
    /// In which way.
    pub profile: Profile,
    /// What may not be used again.
    pub nonce: Nonce,
    /// For how long.
    pub remember_for: Duration,
    /// Our clock less the signer's, in milliseconds; none if the profile has no time.
    pub skew_ms: Option<i64>,
}

/// A request whose headers are right, and whose body is still to come.
#[derive(Debug)]
pub struct Verifier {}

impl Verifier {
    /// Checks everything that can be known before the body. `integration` is what the scopes of
    /// keys refer to; `now` is when the headers came.
    ///
    /// # Errors
    /// The first rule that the headers break.
    pub fn begin(
        _signature: &Signature,
        _integration: Option<&Name>,
        _headers: &Headers,
        _keys: &KeySet,
        _now: UnixMicros,
    ) -> Result<Self, Failure> {
        Err(Failure::Mismatch)
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, _chunk: &[u8]) {}

    /// Checks the signature, and the time once more: `now` is when the body was complete.
    ///
    /// # Errors
    /// [`Failure::Mismatch`], or [`Failure::Stale`] if the body took too long.
    pub fn finish(self, _now: UnixMicros) -> Result<Verified, Failure> {
        Err(Failure::Mismatch)
    }
}
