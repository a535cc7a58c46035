//! `Content-Digest` (RFC 9530): what a signature says of the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::structured::{Bare, Value, dictionary};
use super::{CONTENT_DIGEST, malformed};
use crate::Failure;
use crate::headers::Headers;
use crate::mac::MAC_BYTES;

/// The longest value, in bytes.
const BYTES_MAX: usize = 1_024;

/// The digest that is checked. Others may stand beside it.
const ALGORITHM: &str = "sha-256";

const RULE: &str = "must stand once and have a sha-256 of 32 bytes in Base64, between colons";

/// The SHA-256 that a request says its body has.
pub(super) fn read(headers: &Headers) -> Result<[u8; MAC_BYTES], Failure> {
    let Ok(Some(value)) = headers.one(CONTENT_DIGEST) else { return malformed(CONTENT_DIGEST, RULE) };
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= BYTES_MAX);
    let members = text.and_then(dictionary).unwrap_or_default();
    let found = members.iter().find(|member| member.key == ALGORITHM);
    let digest = found.and_then(|member| match &member.value {
        Value::Item(Bare::Bytes(text), _) => STANDARD.decode(text).ok()?.try_into().ok(),
        _ => None,
    });
    digest.ok_or(Failure::Malformed { header: CONTENT_DIGEST, rule: RULE })
}

/// The value for a body of this digest.
pub(crate) fn value(digest: &[u8]) -> String {
    format!("{ALGORITHM}=:{}:", STANDARD.encode(digest))
}
