//! How requests of one integration must be signed: settings, without a check.

use std::sync::Arc;
use std::time::Duration;

use model::name::Name;

use super::Profile;
use super::components::MessageRules;

/// The most keys that can be tried on one request, whatever is configured.
pub const CANDIDATES_MAX: usize = 16;

/// The most keys that are tried on one request if nothing else is configured: an old one and the one that
/// replaces it.
pub const CANDIDATES_DEFAULT: usize = 2;

/// How far the signer's clock may be off if nothing else is configured.
pub const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);

/// How long a request of a profile without a time may not be used again.
pub const REMEMBER_WITHOUT_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How requests must be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRules {
    /// What is signed, and where the signature stands.
    pub profile: Profile,
    /// Whose keys are accepted; none means anybody's.
    pub partner: Option<Name>,
    /// How far the time of signing may be from now, before or after, inclusive.
    pub tolerance: Duration,
    /// How far the time of signing may be off for a request that goes on all the same, and is marked; none if it is
    /// refused.
    pub mark_up_to: Option<Duration>,
    /// Whether a `portcullis` or `rfc9421` request must have a nonce of its own.
    pub is_nonce_required: bool,
    /// The status of an answer to a request that was used before: 409, 401 or 200.
    pub replay_status: u16,
    /// Whether the same message may be sent again with another time, which is signed: a `standard-webhooks` sender's
    /// next attempt.
    pub retries_pass: bool,
    /// The most keys that are tried on a request that does not name its key.
    pub keys_max: usize,
    /// How long a request must not be used again: until its time of signing is out of tolerance, here
    /// and wherever else it may be sent, since most profiles do not sign where that is.
    pub remember_for: Duration,
    /// What a signature of the profile `rfc9421` must be like.
    pub message: Arc<MessageRules>,
}

impl SignatureRules {
    /// The defaults for a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self {
            profile,
            partner: None,
            tolerance: TOLERANCE_DEFAULT,
            mark_up_to: None,
            is_nonce_required: false,
            replay_status: 409,
            retries_pass: profile == Profile::StandardWebhooks,
            keys_max: CANDIDATES_DEFAULT,
            remember_for: match profile.has_time() {
                true => TOLERANCE_DEFAULT.saturating_mul(2),
                false => REMEMBER_WITHOUT_TIME,
            },
            message: Arc::default(),
        }
    }

    /// How far the time of signing may be off at all.
    #[must_use]
    pub fn reach(&self) -> Duration {
        self.mark_up_to.map_or(self.tolerance, |up_to| up_to.max(self.tolerance))
    }
}
