//! Signed requests: which bytes are signed, by whom, when, and whether the same request was sent before.
//!
//! **For**: HMAC-SHA256 in the profiles that partners already use ([`Profile`]): what a request presents, the keys
//! that may have signed it ([`key`]), verification ([`verify`]), the memory of used requests ([`replay`]), signing
//! ([`signer`]) and explaining a failure to an operator ([`explain`](mod@explain)). Plain computation on arguments.
//!
//! **Not for**: when a signature is checked and what a rejection looks like (`gate`), signatures of events
//! (`events`), and where keys come from (`gate` and the daemon).
//!
//! **Begin with** [`verify`]: a verifier is begun with the headers, fed the body, and finished once.

pub mod components;
mod content;
mod endpoint;
pub mod explain;
pub mod headers;
pub mod key;
pub mod mac;
pub mod nonce;
mod presented;
pub mod replay;
pub mod rules;
pub mod signer;
mod validity;
pub mod verify;

use std::fmt;

pub use components::MessageRules;
pub use rules::SignatureRules;
pub use validity::Validity;

/// The header that tells the upstream whose request it is. The filter removes every other copy.
pub const PARTNER_HEADER: &str = "x-portcullis-partner";

/// The header that tells the upstream which key has signed. The filter removes every other copy.
pub const KEY_ID_HEADER: &str = "x-portcullis-key-id";

/// The header that tells Envoy's routes and the upstream what is special about a request that goes on. The filter removes
/// every other copy.
pub const VERDICT_HEADER: &str = "x-portcullis-verdict";

/// The verdict of a request whose signature is right, and whose time is out of tolerance.
pub const CLOCK_SKEW: &str = "clock_skew";

/// Whether a request's header, in lower case, could be taken for one that only the gate may set:
/// some upstreams make no difference between `_` and `-`.
#[must_use]
pub fn is_reserved(header: &[u8]) -> bool {
    let is_same = |known: &str| {
        let as_read = header.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
        as_read.eq(known.bytes())
    };
    [PARTNER_HEADER, KEY_ID_HEADER, VERDICT_HEADER].into_iter().any(is_same)
}

/// What is signed, and where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Method, path, time, key id, nonce and body.
    Portcullis,
    /// The body alone. The time is checked, and yet not signed: whoever has one request can send it
    /// again with another time once it is forgotten.
    Body,
    /// Standard Webhooks: id, time and body.
    StandardWebhooks,
    /// Stripe's webhooks: time and body.
    Stripe,
    /// GitHub's webhooks: the body alone, without a time; the delivery's id is not signed.
    Github,
    /// HTTP Message Signatures (RFC 9421): what the signature says that it covers, and the body by its
    /// `Content-Digest` (RFC 9530).
    Rfc9421,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Portcullis,
        Self::Body,
        Self::StandardWebhooks,
        Self::Stripe,
        Self::Github,
        Self::Rfc9421,
    ];

    /// Its name, in configuration and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portcullis => "portcullis",
            Self::Body => "body",
            Self::StandardWebhooks => "standard-webhooks",
            Self::Stripe => "stripe",
            Self::Github => "github",
            Self::Rfc9421 => "rfc9421",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }

    /// Whether a request says when it was signed.
    #[must_use]
    pub fn has_time(self) -> bool {
        match self {
            Self::Portcullis
            | Self::Body
            | Self::StandardWebhooks
            | Self::Stripe
            | Self::Rfc9421 => true,
            Self::Github => false,
        }
    }

    /// Whether a request says by which key it was signed.
    #[must_use]
    pub fn names_key(self) -> bool {
        match self {
            Self::Portcullis | Self::Body | Self::Rfc9421 => true,
            Self::StandardWebhooks | Self::Stripe | Self::Github => false,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a signature is not accepted. For metrics and logs: clients are told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A header that the profile needs is not there.
    Missing {
        /// The header, lower case.
        header: &'static str,
    },
    /// A header is there, but not as the profile wants it.
    Malformed {
        /// The header, lower case.
        header: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// There is no such key, or none at all.
    UnknownKey,
    /// The key is not valid yet, or not any more.
    ExpiredKey,
    /// The key is another partner's, or for another profile or other integrations.
    OutOfScope,
    /// No key gives any of the signatures.
    Mismatch,
    /// It was signed too long ago.
    Stale,
    /// It was signed too far in the future.
    Future,
    /// It was used before.
    Replay,
    /// That it was used cannot be remembered: there is no room, or too many write at once.
    ReplayFull,
}

impl Failure {
    /// Every name that [`Failure::as_str`] gives, so that metrics can show zeros.
    pub const NAMES: [&'static str; 10] = [
        "missing",
        "malformed",
        "unknown_key",
        "expired_key",
        "out_of_scope",
        "mismatch",
        "stale",
        "future",
        "replay",
        "replay_full",
    ];

    /// The sort of failure, as metrics and logs name it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Malformed { .. } => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::ExpiredKey => "expired_key",
            Self::OutOfScope => "out_of_scope",
            Self::Mismatch => "mismatch",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Replay => "replay",
            Self::ReplayFull => "replay_full",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { header } => write!(f, "{header}: is required"),
            Self::Malformed { header, rule } => write!(f, "{header}: {rule}"),
            Self::UnknownKey
            | Self::ExpiredKey
            | Self::OutOfScope
            | Self::Mismatch
            | Self::Stale
            | Self::Future
            | Self::Replay
            | Self::ReplayFull => f.write_str(self.as_str()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
