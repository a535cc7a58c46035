//! What a request's headers claim about its signature, by profile.
//!
//! Strict, so that no two readers can take the same request for two different ones: each header
//! stands once, and each value has one spelling.

mod message;

use super::key::KeyId;
use super::mac::Claimed;
use super::{Failure, Profile};
use crate::endpoint::Endpoint;
use crate::headers::Headers;
pub(super) use message::{CONTENT_DIGEST, INPUT, Message, SIGNATURE as MESSAGE_SIGNATURE, Target};
pub(super) use message::{digest_value, line, parameters_line};

/// The most signatures that one request may offer: signers offer several while a key is replaced.
pub(super) const SIGNATURES_MAX: usize = 4;

/// The most parts of a header that lists signatures, those of other schemes included.
const PARTS_MAX: usize = 16;

/// The longest header that lists signatures, in bytes.
const SIGNATURE_BYTES_MAX: usize = 4_096;

/// The longest nonce, in bytes.
const NONCE_BYTES_MAX: usize = 128;

/// The longest timestamp, in digits.
const TIMESTAMP_DIGITS_MAX: usize = 11;

pub(super) const SIGNATURE: &str = "x-signature";
pub(super) const TIMESTAMP: &str = "x-timestamp";
pub(super) const KEY_ID: &str = "x-key-id";
pub(super) const REQUEST_ID: &str = "x-request-id";
pub(super) const WEBHOOK_ID: &str = "webhook-id";
pub(super) const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
pub(super) const WEBHOOK_SIGNATURE: &str = "webhook-signature";
// What they were called before there was a standard; its first libraries still send these.
const SVIX_ID: &str = "svix-id";
const SVIX_TIMESTAMP: &str = "svix-timestamp";
const SVIX_SIGNATURE: &str = "svix-signature";
pub(super) const STRIPE_SIGNATURE: &str = "stripe-signature";
pub(super) const GITHUB_SIGNATURE: &str = "x-hub-signature-256";
pub(super) const GITHUB_DELIVERY: &str = "x-github-delivery";

const ALIAS_RULE: &str = "must be the same as its alias, svix-…, or stand alone";
const ONCE_RULE: &str = "must stand once";
const LIST_RULE: &str = "must be at most 4096 bytes, 16 parts and 4 signatures";
const HEX_RULE: &str = "must be a signature of 64 lower-case hexadecimal digits";
const BASE64_RULE: &str = "must be a signature of 32 bytes in Base64";
const TIMESTAMP_RULE: &str = "must be whole seconds since the Unix epoch";

/// What a nonce has to look like.
const NONCE_RULE: &str = "must be 1 to 128 visible ASCII characters without a comma";

/// What the parameter `nonce` has to look like.
const MESSAGE_NONCE_RULE: &str = "must have a nonce of 1 to 128 visible ASCII characters without a comma, quotes and backslashes";

/// What a `webhook-id` has to look like.
const WEBHOOK_ID_RULE: &str =
    "must be 1 to 128 visible ASCII characters without a comma or a full stop";

/// What a request claims.
pub(super) struct Claims {
    /// None if the profile has none.
    pub(super) key_id: Option<KeyId>,
    /// Seconds since the Unix epoch; none if the profile has no time.
    pub(super) timestamp: Option<u64>,
    /// None if there is none.
    pub(super) nonce: Option<String>,
    /// One at least, and at most [`SIGNATURES_MAX`].
    pub(super) macs: Vec<Claimed>,
    /// What is signed of the message; none unless the profile has structured signatures.
    pub(super) message: Option<Message>,
}

/// Reads the headers of the endpoint's profile.
pub(super) fn read(endpoint: &Endpoint<'_>, headers: &Headers) -> Result<Claims, Failure> {
    match endpoint.signature.profile {
        Profile::Rfc9421 => message::read(endpoint, headers),
        Profile::Portcullis => {
            let macs = list(SIGNATURE, required(headers, SIGNATURE)?, ",", |part| {
                let digits = part.strip_prefix("v1=").ok_or("must be v1=<hex>[,v1=<hex>]")?;
                hex(digits).map(Some)
            })?;
            let (key_id, timestamp) = (key_id(headers)?, timestamp(headers, TIMESTAMP)?);
            let nonce = optional(headers, REQUEST_ID)?.map(|text| nonce(REQUEST_ID, text));
            let nonce = nonce.transpose()?;
            Ok(claims(Some(key_id), Some(timestamp), nonce, macs))
        }
        Profile::Body => {
            let macs = vec![digest(SIGNATURE, required(headers, SIGNATURE)?, false)?];
            let (key_id, timestamp) = (key_id(headers)?, timestamp(headers, TIMESTAMP)?);
            Ok(claims(Some(key_id), Some(timestamp), None, macs))
        }
        Profile::StandardWebhooks => standard_webhooks(headers),
        Profile::Stripe => stripe(headers),
        Profile::Github => {
            let macs = vec![digest(GITHUB_SIGNATURE, required(headers, GITHUB_SIGNATURE)?, true)?];
            let nonce = nonce(GITHUB_DELIVERY, required(headers, GITHUB_DELIVERY)?)?;
            Ok(claims(None, None, Some(nonce), macs))
        }
    }
}

fn claims(
    key_id: Option<KeyId>,
    timestamp: Option<u64>,
    nonce: Option<String>,
    macs: Vec<Claimed>,
) -> Claims {
    Claims { key_id, timestamp, nonce, macs, message: None }
}

fn standard_webhooks(headers: &Headers) -> Result<Claims, Failure> {
    let signatures = aliased(headers, WEBHOOK_SIGNATURE, SVIX_SIGNATURE)?;
    // Those of other versions are asymmetric.
    let macs = list(WEBHOOK_SIGNATURE, signatures, " ", |part| match part.split_once(',') {
        Some(("v1", text)) => Claimed::from_base64(text.as_bytes()).ok_or(BASE64_RULE).map(Some),
        Some(_) => Ok(None),
        None => Err("must be v1,<base64>, several with spaces between"),
    })?;
    let nonce = match aliased(headers, WEBHOOK_ID, SVIX_ID)? {
        id if is_webhook_id(id) => id.to_owned(),
        _ => return malformed(WEBHOOK_ID, WEBHOOK_ID_RULE),
    };
    let timestamp = aliased(headers, WEBHOOK_TIMESTAMP, SVIX_TIMESTAMP)?;
    let timestamp = timestamp_of(WEBHOOK_TIMESTAMP, timestamp)?;
    Ok(claims(None, Some(timestamp), Some(nonce), macs))
}

fn stripe(headers: &Headers) -> Result<Claims, Failure> {
    let mut timestamp = None;
    let value = required(headers, STRIPE_SIGNATURE)?;
    let macs = list(STRIPE_SIGNATURE, value, ",", |part| match part.split_once('=') {
        Some(("v1", digits)) => hex(digits).map(Some),
        Some(("t", digits)) => {
            let is_first = timestamp.replace(seconds(digits).ok_or(TIMESTAMP_RULE)?).is_none();
            if is_first { Ok(None) } else { Err("must have one t") }
        }
        Some(_) => Ok(None),
        None => Err("must be t=<seconds>,v1=<hex>[,v1=<hex>]"),
    })?;
    if timestamp.is_none() {
        return malformed(STRIPE_SIGNATURE, "must have one t");
    }
    Ok(claims(None, timestamp, None, macs))
}

/// That there is no nonce, although there has to be one.
pub(super) fn no_nonce(profile: Profile) -> Failure {
    match profile {
        Profile::Rfc9421 => Failure::Malformed { header: INPUT, rule: "must have a nonce" },
        _ => Failure::Missing { header: REQUEST_ID },
    }
}

fn malformed<T>(header: &'static str, rule: &'static str) -> Result<T, Failure> {
    Err(Failure::Malformed { header, rule })
}

/// The value of a header that stands at most once and is visible ASCII, spaces included.
fn optional<'a>(headers: &'a Headers, name: &'static str) -> Result<Option<&'a str>, Failure> {
    let Ok(value) = headers.one(name) else { return malformed(name, ONCE_RULE) };
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let is_plain = |byte: &u8| (0x20..0x7f).contains(byte);
    match std::str::from_utf8(value) {
        Ok(text) if value.iter().all(is_plain) => Ok(Some(text)),
        _ => malformed(name, "must be visible ASCII"),
    }
}

fn required<'a>(headers: &'a Headers, header: &'static str) -> Result<&'a str, Failure> {
    optional(headers, header)?.ok_or(Failure::Missing { header })
}

/// The value of a header that may have another name. Where it has both, an upstream may read either.
#[inline(never)] // Three times: it is not worth its bytes.
fn aliased<'a>(
    headers: &'a Headers,
    header: &'static str,
    alias: &'static str,
) -> Result<&'a str, Failure> {
    let (given, other) = (headers.one(header), headers.one(alias));
    if given == Ok(None) {
        return optional(headers, alias)?.ok_or(Failure::Missing { header });
    }
    match other {
        Ok(None) => required(headers, header),
        _ if other == given => required(headers, header),
        _ => malformed(header, ALIAS_RULE),
    }
}

/// The signatures among the parts of a header; at least one.
fn list(
    header: &'static str,
    value: &str,
    separator: &str,
    mut read: impl FnMut(&str) -> Result<Option<Claimed>, &'static str>,
) -> Result<Vec<Claimed>, Failure> {
    if value.len() > SIGNATURE_BYTES_MAX || value.split(separator).count() > PARTS_MAX {
        return malformed(header, LIST_RULE);
    }
    let mut macs = Vec::new();
    for part in value.split(separator) {
        macs.extend(read(part).map_err(|rule| Failure::Malformed { header, rule })?);
    }
    match macs.len() {
        0 => malformed(header, "must have a v1 signature"),
        1..=SIGNATURES_MAX => Ok(macs),
        _ => malformed(header, LIST_RULE),
    }
}

fn hex(digits: &str) -> Result<Claimed, &'static str> {
    Claimed::from_hex(digits.as_bytes()).ok_or(HEX_RULE)
}

/// One signature, with `sha256=` in front.
fn digest(header: &'static str, value: &str, is_prefixed: bool) -> Result<Claimed, Failure> {
    let digits = match value.strip_prefix("sha256=") {
        None if is_prefixed => return malformed(header, "must begin with sha256="),
        digits => digits.unwrap_or(value),
    };
    hex(digits).map_err(|rule| Failure::Malformed { header, rule })
}

fn key_id(headers: &Headers) -> Result<KeyId, Failure> {
    let rule = KeyId::RULE;
    KeyId::parse(required(headers, KEY_ID)?).ok_or(Failure::Malformed { header: KEY_ID, rule })
}

fn timestamp(headers: &Headers, header: &'static str) -> Result<u64, Failure> {
    timestamp_of(header, required(headers, header)?)
}

fn timestamp_of(header: &'static str, text: &str) -> Result<u64, Failure> {
    let rule = TIMESTAMP_RULE;
    seconds(text).ok_or(Failure::Malformed { header, rule })
}

/// Digits without a sign and without zeros in front: the number says how it was spelled.
fn seconds(text: &str) -> Option<u64> {
    let is_number = (1..=TIMESTAMP_DIGITS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    is_number.then(|| text.parse().ok()).flatten()
}

fn nonce(header: &'static str, text: &str) -> Result<String, Failure> {
    match is_nonce(text) {
        true => Ok(text.to_owned()),
        false => malformed(header, NONCE_RULE),
    }
}

/// Whether a text can be the id of Standard Webhooks. Full stops separate what it signs: with one
/// in the id, `a.1.2.{}` could be the id `a.1` with the body `{}`, or the id `a` with `2.{}`.
pub(super) fn is_webhook_id(text: &str) -> bool {
    is_nonce(text) && !text.contains('.')
}

/// Whether a text can be the parameter `nonce`, and is in one spelling only.
pub(super) fn is_message_nonce(text: &str) -> bool {
    is_nonce(text) && !text.contains(['"', '\\'])
}

/// Whether a text can be a nonce. A comma is what proxies put between two values.
pub(super) fn is_nonce(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    (1..=NONCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}
