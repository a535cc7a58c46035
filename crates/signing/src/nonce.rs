//! What a request may not use again.

use super::Profile;
use super::key::Key;

/// What a request may not use again: whose it is, and its nonce or what it signed.
///
/// Where requests have one signature, which covers the name of its key, it is the key's, and otherwise the partner's: a request
/// that offers a signature of each of two keys, or another name of the same key, is still one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(Box<[u8]>);

impl Nonce {
    pub(super) fn new(profile: Profile, key: &Key, used: &Used<'_>) -> Self {
        let (scope, owner) = match profile {
            Profile::Portcullis => (b'k', key.id.as_str()),
            Profile::Body
            | Profile::StandardWebhooks
            | Profile::Stripe
            | Profile::Github
            | Profile::Rfc9421 => (b'p', key.partner.as_str()),
        };
        let (sort, value): (u8, &[u8]) = match used {
            Used::Sent(text) | Used::SentAt(text, _) => (b's', text.as_bytes()),
            Used::Digest(digest) => (b'd', digest),
        };
        let at = match used {
            Used::SentAt(_, seconds) => format!("\0{seconds}"),
            Used::Sent(_) | Used::Digest(_) => String::new(),
        };
        // Neither ids nor names have a zero byte.
        Self([&[scope], owner.as_bytes(), &[0, sort], value, at.as_bytes()].concat().into())
    }

    /// The bytes that stand for it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What makes a request one of its kind.
pub(super) enum Used<'a> {
    /// What its signer has sent for that.
    Sent(&'a str),
    /// The same, and when the signer says that this attempt was signed.
    SentAt(&'a str, u64),
    /// A digest of what was signed.
    Digest(&'a [u8]),
}
