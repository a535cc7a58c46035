//! The keys that partners sign with.

mod wire;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use model::name::{NAME_BYTES_MAX, Name};
use model::time::UnixMicros;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Profile;
pub use super::mac::ALGORITHM;
use crate::SignatureRules;

/// The most keys of one set.
pub const KEYS_MAX: usize = 256;

/// The shortest secret, in bytes; also once it is decoded.
pub const SECRET_BYTES_MIN: usize = 16;

/// The longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 1024;

/// The longest encoded set that a node keeps, in bytes.
pub const KEYS_BYTES_MAX: usize = 64 * 1024;

/// What Standard Webhooks puts in front of a secret in Base64.
const BASE64_PREFIX: &[u8] = b"whsec_";

/// Signers disagree about the padding of secrets.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The name of a key: 1 to 64 ASCII letters, digits, `_`, `-` and `.`, so that it can stand in a
/// metric, a header and a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// What a key id has to look like, for error messages.
    pub const RULE: &str = "must be 1 to 64 characters of A-Z, a-z, 0-9, '_', '-' and '.'";

    /// Checks the text against [`KeyId::RULE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with two keys of which [`KeySet::shared_secret`] tells.
pub const SHARED_SECRET: &str =
    "have one secret, and another partner or profile each: every key needs a secret of its own";

/// What a partner and we both know. It cannot be printed or, once dropped, found.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// What a secret has to look like, for error messages.
    pub const RULE: &str = "must be 16 to 1024 bytes";

    /// Takes the bytes as they were agreed on, if they follow [`Secret::RULE`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// Takes Base64 as other libraries of Standard Webhooks do, with `whsec_` in front or without it. None
    /// if it is not Base64 of a secret that follows [`Secret::RULE`].
    #[must_use]
    pub fn from_base64(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(BASE64_PREFIX).unwrap_or(text);
        let secret = Self::new([BASE64_PREFIX, text].concat())?;
        let is_decoded = secret.bytes_for(Profile::StandardWebhooks).is_some();
        is_decoded.then_some(secret)
    }

    /// What to key the HMAC with: for Standard Webhooks and RFC 9421 the decoded rest of `whsec_<base64>`, and
    /// otherwise the secret as it is. None if that rest is not Base64 of at least 16 bytes.
    #[must_use]
    pub fn bytes_for(&self, profile: Profile) -> Option<Cow<'_, [u8]>> {
        let encoded = match profile {
            Profile::StandardWebhooks | Profile::Rfc9421 => self.0.strip_prefix(BASE64_PREFIX),
            Profile::Portcullis | Profile::Body | Profile::Stripe | Profile::Github => None,
        };
        let Some(encoded) = encoded else { return Some(Cow::Borrowed(&self.0)) };
        let decoded = SECRET_BASE64.decode(encoded).ok()?;
        (decoded.len() >= SECRET_BYTES_MIN).then_some(Cow::Owned(decoded))
    }

    /// Whether it is this secret. By digests: how long that takes says nothing of either.
    fn is_same(&self, other: &Self) -> bool {
        Sha256::digest(&*self.0) == Sha256::digest(&*other.0)
    }

    /// Digests of all that it may key an HMAC with, in whatever profile.
    fn digests(&self) -> impl Iterator<Item = [u8; 32]> {
        let forms = [Profile::Portcullis, Profile::StandardWebhooks];
        forms.into_iter().filter_map(|form| Some(Sha256::digest(self.bytes_for(form)?).into()))
    }

    /// The bytes, to be handed to nodes. For no other use.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// One key of one partner, for HMAC-SHA256.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub id: KeyId,
    /// Whose it is.
    pub partner: Name,
    /// The secret.
    pub secret: Secret,
    /// When it begins to be valid, inclusive.
    pub not_before: Option<UnixMicros>,
    /// When it ends to be valid, inclusive.
    pub not_after: Option<UnixMicros>,
    /// The integrations that it may be used for; none means all.
    pub integrations: Vec<Name>,
    /// The profile that it signs in, and no other: what is signed in one can be what is signed in
    /// another, too. None signs in none, until it is [bound](KeySet::bound).
    pub profile: Option<Profile>,
}

impl Key {
    /// Whether it signs as this one does, for the same partner.
    pub(super) fn is_same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let is_equal = || self.partner == other.partner && self.secret.is_same(&other.secret);
        Arc::ptr_eq(self, other) || is_equal()
    }

    /// Whether it is valid at this time.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixMicros) -> bool {
        self.not_before.is_none_or(|begin| begin <= now)
            && self.not_after.is_none_or(|end| now <= end)
    }

    /// Whether it may be used for an integration (none: of no name) that accepts keys of `partner`
    /// (none: of anybody), as far as the profile allows.
    #[must_use]
    pub fn covers(&self, integration: Option<&Name>, partner: Option<&Name>) -> bool {
        let covers = |name| self.integrations.is_empty() || self.integrations.contains(name);
        integration.is_none_or(covers) && partner.is_none_or(|name| *name == self.partner)
    }

    /// Whether it may be used for an integration (none: of no name) whose requests are signed so.
    #[must_use]
    pub fn is_for(&self, integration: Option<&Name>, signature: &SignatureRules) -> bool {
        self.profile == Some(signature.profile)
            && self.covers(integration, signature.partner.as_ref())
    }
}

/// Keys, by their ids. Cheap to clone: the keys themselves are shared.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Adds a key; gives it back if there is one of the same id, or [`KEYS_MAX`] of them.
    ///
    /// # Errors
    /// The key itself.
    pub fn add(&mut self, key: Key) -> Result<(), Box<Key>> {
        match self.find(&key.id) {
            Err(place) if self.0.len() < KEYS_MAX => {
                self.0.insert(place, Arc::new(key));
                Ok(())
            }
            _ => Err(Box::new(key)),
        }
    }

    /// Two keys with one secret, of which the one signs for another partner than the other, or in another
    /// profile: each would be good for both.
    #[must_use]
    pub fn shared_secret(&self) -> Option<(&KeyId, &KeyId)> {
        let mut seen: Vec<([u8; 32], &Key)> = Vec::new();
        for key in &self.0 {
            for digest in key.secret.digests() {
                let may_not = |(known, other): &&([u8; 32], &Key)| {
                    *known == digest
                        && (other.partner != key.partner || other.profile != key.profile)
                };
                if let Some((_, other)) = seen.iter().find(may_not) {
                    return Some((&other.id, &key.id));
                }
                seen.push((digest, key));
            }
        }
        None
    }

    /// The key of this id.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.find(id).ok().and_then(|place| self.0.get(place))
    }

    /// Where the key of this id is, or would be.
    fn find(&self, id: &KeyId) -> Result<usize, usize> {
        self.0.binary_search_by(|key| key.id.cmp(id))
    }

    /// All keys, by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These keys and those; of two with the same id, that of `newer`.
    #[must_use]
    pub fn merged(&self, newer: &Self) -> Self {
        let mut all = newer.clone();
        for key in self.iter() {
            if let Err(place) = all.find(&key.id) {
                all.0.insert(place, Arc::clone(key));
            }
        }
        all
    }

    /// The same keys, those that say nothing of a profile with what is found for them.
    #[must_use]
    pub fn bound(&self, mut profile_of: impl FnMut(&Key) -> Option<Profile>) -> Self {
        let bound = |key: &Arc<Key>| match key.profile {
            Some(_) => Arc::clone(key),
            None => Arc::new(Key { profile: profile_of(key), ..Key::clone(key) }),
        };
        Self(self.iter().map(bound).collect())
    }
}
