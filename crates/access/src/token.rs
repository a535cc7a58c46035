//! Bearer tokens: 256 random bits, of which the daemon only has a SHA-256.
//!
//! A plain hash is enough because tokens are random: there is no dictionary to try. Text that does
//! not have a token's form is no token, so that nobody can make one of a word.

use std::fmt;

use base16ct::HexDisplay;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// How every token begins, so that people and scanners know one when they see it.
const PREFIX: &str = "pct_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Bytes of a token as text: the prefix, and the random bytes in base64 without padding.
const TEXT_BYTES: usize = 4 + 43;
/// How every digest begins in the configuration.
const DIGEST_PREFIX: &str = "sha256:";
/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// A token as its holder has it.
#[derive(Debug)]
pub struct Token(SecretString);

impl Token {
    /// What a token has to look like, for error messages.
    pub const RULE: &str = "must be a token as \"portcullis token new\" makes it: pct_ and 43 \
                            characters";

    /// A random token.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)).into()))
    }

    /// The token that the text is, if it has the form of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_token(text.as_bytes()).then(|| Self(text.into()))
    }

    /// The token as text, for who is to use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the daemon is to know of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.expose()).into())
    }
}

fn is_token(text: &[u8]) -> bool {
    let random = text.strip_prefix(PREFIX.as_bytes());
    text.len() == TEXT_BYTES
        && random.is_some_and(|random| {
            random.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        })
}

/// The SHA-256 of a token: from it nobody can tell the token.
#[derive(Clone, Copy)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// What a digest has to look like, for error messages.
    pub const RULE: &str = "must be \"sha256:\" and 64 hexadecimal digits, as \"portcullis token \
                            new\" prints it";

    /// Checks the text against [`Digest::RULE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(DIGEST_PREFIX)?.as_bytes();
        let mut digest = [0; DIGEST_BYTES];
        let read = base16ct::mixed::decode(digits, &mut digest).ok()?;
        (read.len() == DIGEST_BYTES).then_some(Self(digest))
    }

    /// Of a token as it was presented; nothing if the bytes have not the form of one.
    pub(super) fn of_presented(text: &[u8]) -> Option<Self> {
        is_token(text).then(|| Self(Sha256::digest(text).into()))
    }

    /// The position of this digest among others. All of them are compared, whole, whichever is the
    /// right one: how long it takes says nothing.
    pub(super) fn position<'a>(&self, all: impl Iterator<Item = &'a Self>) -> Option<usize> {
        let mut found = u64::MAX;
        for (index, digest) in (0_u64..).zip(all) {
            found = u64::conditional_select(&found, &index, digest.0.ct_eq(&self.0));
        }
        usize::try_from(found).ok().filter(|_| found != u64::MAX)
    }

    /// Whether it is the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DIGEST_PREFIX}{:x}", HexDisplay(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(redacted)")
    }
}
