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
}

/// The signed bytes before the body, or before its digest.
pub(super) fn head(profile: Profile, envelope: &Envelope<'_>) -> Vec<u8> {
    let Envelope { timestamp, key_id, nonce, method, path } = envelope;
    match profile {
        Profile::Portcullis => {
            let text = format!("v1\n{timestamp}\n{key_id}\n{nonce}\n");
            [text.as_bytes(), method, b"\n", path, b"\n"].concat()
        }
        Profile::StandardWebhooks => format!("{nonce}.{timestamp}.").into_bytes(),
        Profile::Stripe => format!("{timestamp}.").into_bytes(),
        Profile::Body | Profile::Github => Vec::new(),
    }
}

/// Whether the body is signed by its digest, in hexadecimal, instead of itself.
pub(super) fn signs_digest(profile: Profile) -> bool {
    profile == Profile::Portcullis
}

/// A digest as it is signed.
pub(super) fn digest_text(digest: Sha256) -> String {
    let digest: [u8; MAC_BYTES] = digest.finalize().into();
    base16ct::lower::encode_string(&digest)
}
