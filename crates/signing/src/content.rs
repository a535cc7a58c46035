//! Which bytes are signed, by profile.

use sha2::{Digest, Sha256};

use super::Profile;
use super::mac::MAC_BYTES;

/// What a signature covers beside the body, as far as the profile wants it.
pub(super) struct Envelope<'a> {
    /// Seconds since the Unix epoch.
    pub(super) timestamp: u64,
    pub(super) key_id: &'a str,
    /// Empty if there is none.
    pub(super) nonce: &'a str,
    pub(super) method: &'a [u8],
    /// With its query.
    pub(super) path: &'a [u8],
    /// What is signed of the message; empty unless the profile has structured signatures.
    pub(super) message: &'a [u8],
}

/// The signed bytes before the body, or before its digest.
pub(super) fn head(profile: Profile, envelope: &Envelope<'_>) -> Vec<u8> {
    let Envelope { timestamp, key_id, nonce, method, path, message } = envelope;
    match profile {
        Profile::Portcullis => {
            let text = format!("v1\n{timestamp}\n{key_id}\n{nonce}\n");
            [text.as_bytes(), method, b"\n", path, b"\n"].concat()
        }
        Profile::StandardWebhooks => format!("{nonce}.{timestamp}.").into_bytes(),
        Profile::Stripe => format!("{timestamp}.").into_bytes(),
        Profile::Body | Profile::Github => Vec::new(),
        Profile::Rfc9421 => message.to_vec(),
    }
}

/// How a body is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyIn {
    /// As it is, after the head.
    Content,
    /// By its digest, in hexadecimal, after the head.
    Digest,
    /// By its digest in a header, which is a part of the head.
    Header,
}

impl BodyIn {
    pub(super) fn of(profile: Profile) -> Self {
        match profile {
            Profile::Portcullis => Self::Digest,
            Profile::Rfc9421 => Self::Header,
            Profile::Body | Profile::StandardWebhooks | Profile::Stripe | Profile::Github => {
                Self::Content
            }
        }
    }
}

/// A digest as it is signed.
pub(super) fn digest_text(digest: Sha256) -> String {
    let digest: [u8; MAC_BYTES] = digest.finalize().into();
    base16ct::lower::encode_string(&digest)
}
