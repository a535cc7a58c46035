//! `Content-Digest` (RFC 9530): what a signature says of the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};

use super::structured::{Bare, Value, dictionary};
use super::{CONTENT_DIGEST, malformed};
use crate::Failure;
use crate::headers::Headers;

/// The longest value, in bytes.
const BYTES_MAX: usize = 1_024;

const SHA_256: &str = "sha-256";
const SHA_512: &str = "sha-512";

const RULE: &str =
    "must stand once and have a sha-256 or a sha-512, in Base64 of its length, between colons";

/// The digest that a body must have, and that of the body so far.
pub(crate) enum ContentDigest {
    Sha256(Sha256, [u8; 32]),
    Sha512(Sha512, [u8; 64]),
}

impl ContentDigest {
    /// Reads what a request says of its body. Of several the SHA-256 is checked; algorithms that are not known may
    /// stand beside it.
    pub(super) fn read(headers: &Headers) -> Result<Self, Failure> {
        let Ok(Some(value)) = headers.one(CONTENT_DIGEST) else {
            return malformed(CONTENT_DIGEST, RULE);
        };
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= BYTES_MAX);
        let members = text.and_then(dictionary).unwrap_or_default();
        let member = |name| members.iter().find(|member| member.key == name);
        let bytes = |value: &Value<'_>| match value {
            Value::Item(Bare::Bytes(text), _) => STANDARD.decode(text).ok(),
            _ => None,
        };
        let digest = match (member(SHA_256), member(SHA_512)) {
            (Some(member), _) => bytes(&member.value)
                .and_then(|wanted| Some(Self::Sha256(Sha256::new(), wanted.try_into().ok()?))),
            (None, Some(member)) => bytes(&member.value)
                .and_then(|wanted| Some(Self::Sha512(Sha512::new(), wanted.try_into().ok()?))),
            (None, None) => None,
        };
        digest.ok_or(Failure::Malformed { header: CONTENT_DIGEST, rule: RULE })
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        match self {
            Self::Sha256(hash, _) => hash.update(chunk),
            Self::Sha512(hash, _) => hash.update(chunk),
        }
    }

    /// Whether the body so far is the one that is meant.
    pub(super) fn is_right(&self) -> bool {
        match self {
            Self::Sha256(hash, wanted) => hash.clone().finalize()[..] == *wanted,
            Self::Sha512(hash, wanted) => hash.clone().finalize()[..] == *wanted,
        }
    }
}

/// The value for a body of this SHA-256.
pub(crate) fn value(digest: &[u8]) -> String {
    format!("{SHA_256}=:{}:", STANDARD.encode(digest))
}
