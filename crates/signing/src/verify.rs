//! Verification of one request, as it arrives.
//!
//! The body is hashed chunk by chunk, and nothing of it is kept. Where it has to be hashed for each
//! key by itself, and the request does not name its key, that is done for the likeliest key only; the
//! body is asked for once more if that key has not signed it. So a good request costs one
//! hash however many keys there are, and a bad one as many as [`SignatureRules::keys_max`] allows. Whether a
//! request was used before is the next question: see [`super::replay`].

mod choice;
mod times;

pub use choice::newest;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::name::Name;
use model::time::UnixMicros;
use sha2::{Digest, Sha256};

use super::content::{self, BodyIn, Envelope};
use super::key::{Key, KeyId, KeySet};
use super::mac::{Claimed, Running};
use super::nonce::{Nonce, Used};
use super::presented::{self, Claims, Message};
use super::{Failure, Profile};
use crate::SignatureRules;
use crate::endpoint::Endpoint;
use crate::headers::Headers;
use choice::usable_keys;
use times::{check_time, instant, is_skewed, latest, skew_ms};

/// A body that is complete this soon after its headers is verified with the keys of that time.
pub const RECHECK_AFTER: Duration = Duration::from_millis(10);

/// A request whose signature is right. Whether it was used before is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose key has signed.
    pub partner: Name,
    /// Which one.
    pub key_id: KeyId,
    /// In which way.
    pub profile: Profile,
    /// When its sender says that it was signed; none if the profile has no time.
    pub signed_at: Option<UnixMicros>,
    /// Until when it may be used, inclusive; none if the profile has no time.
    pub valid_until: Option<UnixMicros>,
    /// Whether that is out of tolerance, and the request is marked for it.
    pub is_skewed: bool,
    /// What may not be used again.
    pub nonce: Nonce,
    /// For how long.
    pub remember_for: Duration,
    /// Our clock less the signer's when the headers came, in milliseconds; none if the profile has
    /// no time.
    pub skew_ms: Option<i64>,
}

/// A request whose headers are right, and whose body is still to come.
pub struct Verifier {
    signature: SignatureRules,
    macs: Vec<Claimed>,
    nonce: Option<String>,
    timestamp: Option<u64>,
    skew_ms: Option<i64>,
    is_skewed: bool,
    begun: UnixMicros,
    candidates: Vec<Candidate>,
    /// Which of them the body is hashed for, where it is for one at a time.
    current: usize,
    /// Of the body, where that is what is signed; of all that is signed, where that is the nonce.
    digest: Option<Sha256>,
    /// What the signature says of the message, if the profile has structured signatures.
    message: Option<Message>,
}

/// One way in which the request may be signed.
struct Candidate {
    key: Arc<Key>,
    mac: Running,
    has_nonce: bool,
    /// Whether its key has ended since the headers came.
    is_void: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} with {} candidates)", self.signature.profile, self.candidates.len())
    }
}

impl Verifier {
    /// Checks everything that can be known before the body. `integration` is what the scopes of
    /// keys refer to (none: scopes do not count); `now` is when the headers came.
    ///
    /// # Errors
    /// The first rule that the headers break.
    pub fn begin(
        signature: &SignatureRules,
        integration: Option<&Name>,
        headers: &Headers,
        keys: &KeySet,
        now: UnixMicros,
    ) -> Result<Self, Failure> {
        let profile = signature.profile;
        let claims = presented::read(&Endpoint { signature, integration, keys, now }, headers)?;
        if signature.is_nonce_required && claims.nonce.is_none() {
            return Err(presented::no_nonce(profile));
        }
        let (method, path) = route(profile, headers)?;
        let usable = usable_keys(signature, integration, &claims, keys, now)?;
        let expires = claims.message.as_ref().and_then(|message| message.expires);
        check_time(signature, claims.timestamp, expires, now)?;
        let mut candidates = Vec::with_capacity(usable.len());
        for key in usable {
            for nonce in nonces(signature, &claims) {
                let envelope = Envelope {
                    timestamp: claims.timestamp.unwrap_or_default(),
                    key_id: key.id.as_str(),
                    nonce: nonce.unwrap_or_default(),
                    method,
                    path,
                    message: claims.message.as_ref().map_or(&[], |message| &message.base),
                };
                let secret = key.secret.bytes_for(profile).ok_or(Failure::UnknownKey)?;
                let mut mac = Running::new(&secret).ok_or(Failure::UnknownKey)?;
                mac.update(&content::head(profile, &envelope));
                let (key, has_nonce) = (key.clone(), nonce.is_some());
                candidates.push(Candidate { key, mac, has_nonce, is_void: false });
            }
        }
        let mut digest = (BodyIn::of(profile) == BodyIn::Digest).then(Sha256::new);
        if profile == Profile::Stripe {
            // Its nonce is what is signed, whichever of its keys has signed it.
            let head = claims.timestamp.unwrap_or_default().to_string();
            digest = Some(Sha256::new().chain_update(head).chain_update("."));
        }
        let skew_ms = claims.timestamp.map(|at| skew_ms(at, now));
        let Claims { macs, nonce, timestamp, message, .. } = claims;
        let is_skewed = is_skewed(signature, timestamp, now);
        let signature = signature.clone();
        let begun = now;
        Ok(Self {
            signature,
            macs,
            nonce,
            timestamp,
            skew_ms,
            is_skewed,
            begun,
            candidates,
            current: 0,
            digest,
            message,
        })
    }

    /// The keys that are tried, for an operator.
    pub(super) fn key_ids(&self) -> String {
        let mut ids: Vec<_> = self.candidates.iter().map(|one| one.key.id.as_str()).collect();
        ids.dedup();
        ids.join(", ")
    }

    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.skew_ms
    }

    /// Tries this key before all others, if it is one that the request may be signed with. To be called
    /// before the body comes.
    pub fn prefer(&mut self, id: &KeyId) {
        if let Some(at) = self.candidates.iter().position(|one| one.key.id == *id) {
            self.candidates.swap(0, at);
        }
    }

    /// Takes the next part of the body.
    #[inline(never)] // From two places, with all of the hash in it.
    pub fn update(&mut self, chunk: &[u8]) {
        if let Some(digest) = self.digest.as_mut().filter(|_| self.current == 0) {
            digest.update(chunk);
        }
        if let Some(message) = &mut self.message {
            message.update(chunk);
        }
        if BodyIn::of(self.signature.profile) == BodyIn::Content
            && let Some(candidate) = self.candidates.get_mut(self.current)
        {
            candidate.mac.update(chunk);
        }
    }

    /// Goes on to the next key, after [`Verifier::finish`] has found that it was none so far: says whether
    /// there is one. If so the whole body has to be [handed over](Verifier::update) once more.
    pub fn next_key(&mut self) -> bool {
        self.current = self.current.saturating_add(1);
        BodyIn::of(self.signature.profile) == BodyIn::Content
            && self.current < self.candidates.len()
    }

    /// Checks the signature of a body that is at hand, with one key after the other.
    ///
    /// # Errors
    /// [`Failure::Mismatch`].
    pub fn verify(mut self, body: &[u8]) -> Result<Verified, Failure> {
        loop {
            self.update(body);
            match self.finish() {
                Err(_) if self.next_key() => {}
                found => return found,
            }
        }
    }

    /// Whether the body took longer than [`RECHECK_AFTER`], or the clock was changed meanwhile. What
    /// ends sooner is decided as of its headers.
    #[must_use]
    pub fn is_to_be_rechecked(&self, now: UnixMicros) -> bool {
        now < self.begun || now.since(self.begun) > RECHECK_AFTER
    }

    /// Forgets the keys that have ended or were taken away since the headers came: a body can come
    /// as slowly as whoever has stolen a secret likes.
    ///
    /// # Errors
    /// [`Failure::ExpiredKey`] if none is left.
    pub fn recheck(
        &mut self,
        integration: Option<&Name>,
        keys: &KeySet,
        now: UnixMicros,
    ) -> Result<(), Failure> {
        let signature = &self.signature;
        let mut is_any_left = false;
        for candidate in &mut self.candidates {
            let key = &candidate.key;
            let known = keys.get(&key.id);
            candidate.is_void |= !known.is_some_and(|known| {
                known.is_same(key) && known.is_valid_at(now) && known.is_for(integration, signature)
            });
            is_any_left |= !candidate.is_void;
        }
        if is_any_left { Ok(()) } else { Err(Failure::ExpiredKey) }
    }

    /// Checks the signature, once all of the body was handed over.
    ///
    /// # Errors
    /// [`Failure::Mismatch`]: there may be [another key](Verifier::next_key) to try.
    pub fn finish(&mut self) -> Result<Verified, Failure> {
        let profile = self.signature.profile;
        let mut candidates = self.candidates.get(self.current..=self.current).unwrap_or_default();
        let mut digest = self.digest.clone();
        if let Some(message) = &self.message {
            message.check_body()?;
        }
        if BodyIn::of(profile) == BodyIn::Digest {
            let text = digest.take().map_or_else(String::new, content::digest_text);
            for candidate in &mut self.candidates {
                candidate.mac.update(text.as_bytes());
            }
            candidates = &self.candidates;
        }
        let mut found = None;
        // All of them, whichever is right.
        for candidate in candidates.iter().filter(|one| !one.is_void) {
            if let Some(mac) = candidate.mac.find(&self.macs) {
                found = Some((candidate, mac));
            }
        }
        let (Candidate { key, has_nonce, .. }, mac) = found.ok_or(Failure::Mismatch)?;
        let content = digest.map(Digest::finalize);
        let mac = mac.digest();
        let used = match (&self.nonce, &content, &self.message) {
            (Some(sent), ..) if *has_nonce => match self.timestamp {
                Some(at) if self.signature.retries_pass => Used::SentAt(sent, at),
                _ => Used::Sent(sent),
            },
            (_, Some(content), _) => Used::Digest(content),
            (_, None, Some(message)) => Used::Digest(&message.used),
            (_, None, None) => Used::Digest(&mac),
        };
        let nonce = Nonce::new(profile, key, &used);
        Ok(Verified {
            partner: key.partner.clone(),
            key_id: key.id.clone(),
            profile,
            signed_at: self.timestamp.map(instant),
            valid_until: self.timestamp.map(|at| {
                let expires = self.message.as_ref().and_then(|message| message.expires);
                latest(&self.signature, at, expires)
            }),
            is_skewed: self.is_skewed,
            nonce,
            remember_for: self.signature.remember_for,
            skew_ms: self.skew_ms,
        })
    }
}

/// Method and path, if they are signed; they must not be able to pass for two lines.
fn route(profile: Profile, headers: &Headers) -> Result<(&[u8], &[u8]), Failure> {
    if profile != Profile::Portcullis {
        return Ok((b"", b""));
    }
    let line = |header: &'static str| {
        let rule = "must stand once, without spaces";
        match headers.one(header) {
            Ok(Some(value)) if value.iter().all(|byte| *byte > b' ') => Ok(value),
            Ok(None) => Err(Failure::Missing { header }),
            _ => Err(Failure::Malformed { header, rule }),
        }
    };
    Ok((line(":method")?, line(":path")?))
}

/// The nonces that may have been signed. Proxies give requests an `X-Request-Id` that their signer
/// knows nothing of, so unless one is required, it may also have been signed without.
fn nonces<'a>(
    signature: &SignatureRules,
    claims: &'a Claims,
) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let sent = claims.nonce.as_deref();
    let is_optional = signature.profile == Profile::Portcullis && !signature.is_nonce_required;
    let without = (sent.is_none() || is_optional).then_some(None);
    sent.map(Some).into_iter().chain(without)
}
