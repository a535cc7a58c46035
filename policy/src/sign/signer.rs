//! Signing, for the command line and for tests.

use std::fmt;

use super::Profile;
use super::key::Secret;

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path with its query, as it will arrive.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// When it is signed, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// `X-Request-Id`, `webhook-id` or `X-GitHub-Delivery`; the other profiles have none.
    pub nonce: Option<&'a str>,
}

/// Why something cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// The profile needs a nonce.
    NonceRequired,
    /// The nonce is not one that would be accepted.
    Nonce,
    /// The secret is not Base64 after `whsec_`, as the profile needs it.
    Secret,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonceRequired => "nonce: is required for this profile",
            Self::Nonce => "nonce: must be 1 to 128 visible ASCII characters without a comma",
            Self::Secret => "secret: must be Base64 of at least 16 bytes after \"whsec_\"",
        })
    }
}

impl std::error::Error for SignError {}

/// The headers to send with a request, names in lower case.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    _profile: Profile,
    _key_id: &str,
    _secret: &Secret,
    _request: &Unsigned<'_>,
) -> Result<Vec<(&'static str, String)>, SignError> {
    Err(SignError::Secret)
}
