//! HTTP Message Signatures (RFC 9421), with a shared secret: which of a request's signatures counts, what it covers,
//! and the bytes that were signed.
//!
//! The headers are structured fields (RFC 8941 and 9651). Everything has one spelling here, which is the one that
//! these standards write: a signature that is spelled in another way is refused, so that no two readers can find
//! different things in it. For the same reason a header that is signed stands once. What a request has and its
//! signature does not cover is believed by nobody: see [`coverage`].

mod base;
mod coverage;
mod digest;
mod structured;

pub(crate) use base::{Target, line, parameters_line};
use digest::ContentDigest;
pub(crate) use digest::value as digest_value;
use sha2::{Digest, Sha256};
use structured::{Bare, Inner, Member, Value, dictionary};

use super::{
    Claims, MESSAGE_NONCE_RULE, SIGNATURE_BYTES_MAX as FIELD_BYTES_MAX, is_message_nonce,
    malformed, seconds,
};
use crate::components::Component;
use crate::endpoint::Endpoint;
use crate::headers::{Headers, is_alias};
use crate::key::{ALGORITHM, Key, KeyId};
use crate::mac::{Claimed, MAC_BYTES};
use crate::{Failure, Profile};

pub(crate) const INPUT: &str = "signature-input";
pub(crate) const SIGNATURE: &str = "signature";
pub(crate) const CONTENT_DIGEST: &str = "content-digest";

/// The most signatures that one request may have, those for others included.
const SIGNATURES_MAX: usize = 8;

/// The most bytes that a signature may cover beside the body.
const BASE_BYTES_MAX: usize = 16 * 1024;

const FIELD_RULE: &str =
    "must be a dictionary of structured fields (RFC 9651), at most 4096 bytes and 8 members";
const LABEL_RULE: &str = "must have a signature for each label, and no others";
const LIST_RULE: &str = "must be a list of components, with parameters, for each signature";
const SPELLING_RULE: &str = "must be spelled as RFC 9651 serializes it";
const PARAMETERS_RULE: &str =
    "must have the parameters created, keyid and, at will, alg, expires, nonce and tag";
const EXPIRES_RULE: &str = "must not expire before it is created";
const MAC_RULE: &str = "must be 32 bytes in Base64, between colons";
const BYTES_RULE: &str = "must not cover more than 16384 bytes";

/// What a signature says of the message.
pub(crate) struct Message {
    /// The bytes that were signed.
    pub(crate) base: Vec<u8>,
    /// What makes the request one of its kind if it has no nonce: a digest of what is covered, and of when it was
    /// signed. It is the same for each of several signatures of one request.
    pub(crate) used: [u8; MAC_BYTES],
    /// None if the signature covers no digest.
    digest: Option<ContentDigest>,
    body_bytes: usize,
    /// Until when it may be used, in seconds since the Unix epoch.
    pub(crate) expires: Option<u64>,
}

impl Message {
    /// Takes the next part of the body.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.body_bytes = self.body_bytes.saturating_add(chunk.len());
        if let Some(digest) = &mut self.digest {
            digest.update(chunk);
        }
    }

    /// What is left to check once all of the body is there.
    pub(crate) fn check_body(&self) -> Result<(), Failure> {
        match &self.digest {
            Some(digest) if digest.is_right() => Ok(()),
            Some(_) => Err(Failure::Mismatch),
            None if self.body_bytes == 0 => Ok(()),
            None => malformed(INPUT, coverage::BODY_RULE),
        }
    }
}

/// What one signature says of itself.
#[derive(Default)]
struct Parameters<'a> {
    created: Option<u64>,
    expires: Option<u64>,
    key_id: Option<&'a str>,
    nonce: Option<&'a str>,
    algorithm: Option<&'a str>,
    tag: Option<&'a str>,
    /// Whether it has any other, or one of another type.
    has_other: bool,
}

/// Reads the signature that counts: the first, of those with the wanted tag, by a key that may be used here now.
pub(crate) fn read(endpoint: &Endpoint<'_>, headers: &Headers) -> Result<Claims, Failure> {
    let (inputs, macs) = (joined(headers, INPUT)?, joined(headers, SIGNATURE)?);
    let (inputs, macs) = (members(INPUT, &inputs)?, members(SIGNATURE, &macs)?);
    let is_paired = |input: &Member<'_>| macs.iter().any(|mac| mac.key == input.key);
    if inputs.len() != macs.len() || !inputs.iter().all(is_paired) {
        return malformed(SIGNATURE, LABEL_RULE);
    }
    let mut offers = Vec::with_capacity(inputs.len());
    for member in &inputs {
        let Value::Inner(list) = &member.value else { return malformed(INPUT, LIST_RULE) };
        let parameters = parameters(list);
        if is_wanted(endpoint, &parameters) {
            offers.push((member, list, parameters));
        }
    }
    let is_usable = |(.., offer): &&(_, _, Parameters<'_>)| {
        let id = offer.key_id.and_then(KeyId::parse);
        id.and_then(|id| endpoint.keys.get(&id)).is_some_and(|key| is_usable(endpoint, key))
    };
    // If there is none, the first one says what is wrong.
    let chosen = offers.iter().find(is_usable).or(offers.first());
    let (member, list, parameters) = chosen.ok_or(Failure::Missing { header: INPUT })?;
    if member.text != list.canonical() {
        return malformed(INPUT, SPELLING_RULE);
    }
    let mac = macs.iter().find(|mac| mac.key == member.key).and_then(|mac| match &mac.value {
        Value::Item(Bare::Bytes(text), parameters) if parameters.is_empty() => {
            Claimed::from_base64(text.as_bytes())
        }
        _ => None,
    });
    let mac = mac.ok_or(Failure::Malformed { header: SIGNATURE, rule: MAC_RULE })?;
    claims(endpoint, headers, (member.text, list, parameters), mac)
}

fn claims(
    endpoint: &Endpoint<'_>,
    headers: &Headers,
    (text, list, parameters): (&str, &Inner<'_>, &Parameters<'_>),
    mac: Claimed,
) -> Result<Claims, Failure> {
    let key_id = parameters.key_id.and_then(KeyId::parse);
    let (Some(created), Some(key_id), false) = (parameters.created, key_id, parameters.has_other)
    else {
        return malformed(INPUT, PARAMETERS_RULE);
    };
    if parameters.expires.is_some_and(|expires| expires < created) {
        return malformed(INPUT, EXPIRES_RULE);
    }
    if !parameters.nonce.is_none_or(is_message_nonce) {
        return malformed(INPUT, MESSAGE_NONCE_RULE);
    }
    let target = Target::of(headers)?;
    let components = coverage::components(list)?;
    coverage::check(&endpoint.signature.message, &components, headers, &target)?;
    let mut base = Vec::new();
    for component in &components {
        line(*component, headers, &target, &mut base)?;
        if base.len() > BASE_BYTES_MAX {
            return malformed(INPUT, BYTES_RULE);
        }
    }
    let used = Sha256::new_with_prefix(&base).chain_update(created.to_le_bytes()).finalize();
    parameters_line(text, &mut base);
    let is_digested = components.contains(&Component::Field(CONTENT_DIGEST));
    let digest = is_digested.then(|| ContentDigest::read(headers)).transpose()?;
    let expires = parameters.expires;
    Ok(Claims {
        key_id: Some(key_id),
        timestamp: Some(created),
        nonce: parameters.nonce.map(str::to_owned),
        macs: vec![mac],
        message: Some(Message { base, used: used.into(), digest, body_bytes: 0, expires }),
    })
}

/// All lines of a header, as one.
fn joined(headers: &Headers, header: &'static str) -> Result<String, Failure> {
    let mut all = String::new();
    if headers.lines().any(|(known, _)| is_alias(known, header)) {
        return malformed(header, FIELD_RULE);
    }
    for line in headers.all(header) {
        let is_plain = |byte: &u8| (0x20..0x7f).contains(byte);
        match std::str::from_utf8(line) {
            Ok(text)
                if line.iter().all(is_plain)
                    && all.len().saturating_add(text.len()) <= FIELD_BYTES_MAX =>
            {
                all.push_str(if all.is_empty() { "" } else { ", " });
                all.push_str(text);
            }
            _ => return malformed(header, FIELD_RULE),
        }
    }
    match all.is_empty() {
        true => Err(Failure::Missing { header }),
        false => Ok(all),
    }
}

fn members<'a>(header: &'static str, text: &'a str) -> Result<Vec<Member<'a>>, Failure> {
    match dictionary(text) {
        Some(members) if members.len() <= SIGNATURES_MAX => Ok(members),
        _ => malformed(header, FIELD_RULE),
    }
}

/// What is looked at of a signature's parameters. Where one has another type than it must have, or is none that is
/// known, the signature is for somebody else, or not to be accepted.
fn parameters<'a>(list: &Inner<'a>) -> Parameters<'a> {
    let mut found = Parameters::default();
    for (name, value) in &list.parameters {
        match (*name, value) {
            ("created", Bare::Integer(digits)) => found.created = seconds(digits),
            ("expires", Bare::Integer(digits)) => {
                found.expires = seconds(digits);
                found.has_other |= found.expires.is_none();
            }
            ("keyid", Bare::String(text)) => found.key_id = Some(text),
            ("nonce", Bare::String(text)) => found.nonce = Some(text),
            ("alg", Bare::String(text)) => found.algorithm = Some(text),
            ("tag", Bare::String(text)) => found.tag = Some(text),
            _ => found.has_other = true,
        }
    }
    found
}

fn is_wanted(endpoint: &Endpoint<'_>, parameters: &Parameters<'_>) -> bool {
    let wanted = endpoint.signature.message.tag();
    (wanted.is_none() || parameters.tag == wanted)
        && parameters.algorithm.is_none_or(|algorithm| algorithm == ALGORITHM)
}

fn is_usable(endpoint: &Endpoint<'_>, key: &Key) -> bool {
    debug_assert_eq!(endpoint.signature.profile, Profile::Rfc9421);
    key.is_for(endpoint.integration, endpoint.signature) && key.is_valid_at(endpoint.now)
}
