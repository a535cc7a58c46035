//! Signing, for the command line and for tests.

mod message;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::content::{self, BodyIn, Envelope};
use super::key::{KeyId, Secret};
use super::mac::Running;
use super::{Profile, presented};

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The host that it is sent to, with its port unless that is the default one.
    pub authority: &'a str,
    /// The path with its query, as it will arrive.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// When it is signed, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// `X-Request-Id`, `webhook-id`, `X-GitHub-Delivery`, or the parameter `nonce`; the other profiles have none.
    pub nonce: Option<&'a str>,
}

/// Why something cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// The profile needs a nonce.
    NonceRequired,
    /// The nonce is not one that would be accepted.
    Nonce,
    /// The host or the path is not one that could be signed.
    Target,
    /// The secret is not Base64 after `whsec_`, as the profile needs it.
    Secret,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonceRequired => "nonce: is required for this profile",
            Self::Nonce => {
                "nonce: must be 1 to 128 visible ASCII characters without a comma, and for \
                 standard-webhooks without a full stop"
            }
            Self::Target => "url: must have a host, and neither a fragment nor an empty query",
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
    profile: Profile,
    key_id: &KeyId,
    secret: &Secret,
    request: &Unsigned<'_>,
) -> Result<Vec<(&'static str, String)>, SignError> {
    if profile == Profile::Rfc9421 {
        return message::sign(key_id, secret, request);
    }
    let Unsigned { method, path, body, timestamp, nonce, .. } = *request;
    let (has_nonce, is_required) = match profile {
        Profile::Body | Profile::Stripe => (false, false),
        Profile::Portcullis | Profile::Rfc9421 => (true, false),
        Profile::StandardWebhooks | Profile::Github => (true, true),
    };
    let nonce = nonce.filter(|_| has_nonce);
    if nonce.is_none() && is_required {
        return Err(SignError::NonceRequired);
    }
    let is_allowed = match profile {
        Profile::StandardWebhooks => presented::is_webhook_id,
        Profile::Portcullis
        | Profile::Body
        | Profile::Stripe
        | Profile::Github
        | Profile::Rfc9421 => presented::is_nonce,
    };
    if !nonce.is_none_or(is_allowed) {
        return Err(SignError::Nonce);
    }
    let secret = secret.bytes_for(profile).ok_or(SignError::Secret)?;
    let mut mac = Running::new(&secret).ok_or(SignError::Secret)?;
    mac.update(&content::head(
        profile,
        &Envelope {
            timestamp,
            key_id: key_id.as_str(),
            nonce: nonce.unwrap_or_default(),
            method: method.as_bytes(),
            path: path.as_bytes(),
            message: &[],
        },
    ));
    match BodyIn::of(profile) {
        BodyIn::Digest => {
            mac.update(content::digest_text(Sha256::new_with_prefix(body)).as_bytes());
        }
        BodyIn::Content => mac.update(body),
        BodyIn::Header => {}
    }
    let mac = mac.finish();
    let hex = base16ct::lower::encode_string(&mac);
    let (at, id) = (timestamp.to_string(), key_id.to_string());
    let nonce = nonce.map(str::to_owned);
    Ok(match profile {
        Profile::Portcullis => {
            let named = [(presented::KEY_ID, id), (presented::TIMESTAMP, at)];
            let nonce = nonce.map(|nonce| (presented::REQUEST_ID, nonce));
            let signature = (presented::SIGNATURE, format!("v1={hex}"));
            named.into_iter().chain(nonce).chain([signature]).collect()
        }
        Profile::Body => {
            vec![(presented::KEY_ID, id), (presented::TIMESTAMP, at), (presented::SIGNATURE, hex)]
        }
        Profile::StandardWebhooks => vec![
            (presented::WEBHOOK_ID, nonce.unwrap_or_default()),
            (presented::WEBHOOK_TIMESTAMP, at),
            (presented::WEBHOOK_SIGNATURE, format!("v1,{}", STANDARD.encode(mac))),
        ],
        Profile::Stripe => vec![(presented::STRIPE_SIGNATURE, format!("t={at},v1={hex}"))],
        // Signed above.
        Profile::Rfc9421 => Vec::new(),
        Profile::Github => vec![
            (presented::GITHUB_DELIVERY, nonce.unwrap_or_default()),
            (presented::GITHUB_SIGNATURE, format!("sha256={hex}")),
        ],
    })
}
