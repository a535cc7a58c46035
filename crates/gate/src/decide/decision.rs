//! What came of a request, with everything that metrics, logs and responses say about it.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use model::bucket::{Quota, Rate};
use model::name::{EventId, Name};
use model::time::UnixMicros;
use signing::verify::Verified;
use signing::{Failure, Profile, SignatureRules};

use super::load::Refusal;
use crate::config::{Answer, Config};

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes on.
    pub verdict: Verdict,
    /// Rules that would have rejected it, had they been asked to.
    pub notes: Vec<Note>,
    /// What is left in each bucket that a token was taken from, by the limit's index.
    pub quotas: Vec<(usize, Quota)>,
    /// The integration that it was held to, by its index.
    pub integration: Option<usize>,
    /// Whose signature it has; set also if the request is rejected for another reason.
    pub verified: Option<Verified>,
}

/// Whether a request goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is forwarded.
    #[default]
    Allow,
    /// It is rejected.
    Deny(Denial),
}

/// A rejection that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it would have been.
    pub denial: Denial,
    /// Why it did not happen.
    pub why: Why,
}

/// Why a rejection did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The rule is in shadow.
    Shadow,
    /// The fail policy says "allow".
    FailOpen,
}

/// A rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule.
    pub cause: Cause,
    /// The event behind it, if there is one.
    pub event: Option<EventId>,
    /// How long until trying again may help, if that is known.
    pub retry_after: Option<Duration>,
    /// The rate of the limit that is felt, if one is.
    pub rate: Option<Rate>,
}

/// The rule that rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The subject is blocked.
    Block {
        /// Why.
        reason: Name,
        /// Whether the client may be told.
        disclose: bool,
        /// Until when, if it ends by itself.
        until: Option<UnixMicros>,
    },
    /// The subject's buckets were emptied: by its index, the limit that is felt, unless all are
    /// held empty.
    Zero {
        /// Index of the limit.
        limit: Option<usize>,
    },
    /// A bucket is empty: the limit, by its index.
    Limit {
        /// Index of the limit.
        index: usize,
    },
    /// Nobody could be identified.
    MissingIdentity,
    /// More different ids of one sort than a request may have.
    TooManyIdentities,
    /// Upstreams could find somebody else in it than the gate does.
    AmbiguousIdentity,
    /// A claim that should be an id is there, and cannot be one.
    UnusableClaim,
    /// Upstreams could find another place in its path than the gate does.
    AmbiguousPath,
    /// Its path is longer than regular expressions may be asked about.
    PathTooLong,
    /// The node has never been synchronized.
    NeverSynced,
    /// The node has not been synchronized lately.
    Stale,
    /// There is no room for another bucket.
    SlabFull,
    /// The slab is of another version.
    SlabUnreadable,
    /// Too many writers at once.
    Contention,
    /// It comes from an address that the integration does not name.
    IpNotAllowed,
    /// Its content is of a type that the integration does not name.
    ContentType,
    /// Its body is larger than the integration allows.
    BodyTooLarge,
    /// Its signature is not accepted, or was used before.
    Signature {
        /// How it had to be signed.
        profile: Profile,
        /// Why it is not accepted.
        failure: Failure,
        /// The status of an answer to a request that was used before.
        replay_status: u16,
    },
    /// The proxy did not hold its body back until it was verified.
    BodyNotHeld,
    /// Another gate, with another configuration, stands before this one in the same chain of filters.
    SecondGate,
    /// Its body was not complete in time.
    BodyTooSlow,
    /// There is no room to hold its body.
    BodyNoRoom,
    /// Too much from its address was not signed by whom it should be.
    Unverified,
}

impl Cause {
    /// Every name that [`Cause::as_str`] gives, so that metrics can show zeros.
    pub const NAMES: [&'static str; 23] = [
        "block",
        "zero",
        "limit",
        "missing_identity",
        "too_many_identities",
        "ambiguous_identity",
        "unusable_claim",
        "ambiguous_path",
        "never_synced",
        "stale",
        "slab_full",
        "slab_unreadable",
        "contention",
        "ip_not_allowed",
        "content_type",
        "body_too_large",
        "signature",
        "body_not_held",
        "second_gate",
        "body_too_slow",
        "body_no_room",
        "unverified",
        "path_too_long",
    ];

    /// The sort of rule, as metrics and logs name it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Block { .. } => "block",
            Self::Zero { .. } => "zero",
            Self::Limit { .. } => "limit",
            Self::MissingIdentity => "missing_identity",
            Self::TooManyIdentities => "too_many_identities",
            Self::AmbiguousIdentity => "ambiguous_identity",
            Self::UnusableClaim => "unusable_claim",
            Self::AmbiguousPath => "ambiguous_path",
            Self::NeverSynced => "never_synced",
            Self::Stale => "stale",
            Self::SlabFull => "slab_full",
            Self::SlabUnreadable => "slab_unreadable",
            Self::Contention => "contention",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::ContentType => "content_type",
            Self::BodyTooLarge => "body_too_large",
            Self::Signature { .. } => "signature",
            Self::BodyNotHeld => "body_not_held",
            Self::SecondGate => "second_gate",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyNoRoom => "body_no_room",
            Self::Unverified => "unverified",
            Self::PathTooLong => "path_too_long",
        }
    }

    /// A signature that is not accepted.
    pub(super) fn of_signature(rule: &SignatureRules, failure: Failure) -> Self {
        let SignatureRules { profile, replay_status, .. } = *rule;
        Self::Signature { profile, failure, replay_status }
    }

    /// Whether it is something that an integration demands.
    #[must_use]
    pub fn is_of_integration(&self) -> bool {
        matches!(
            self,
            Self::IpNotAllowed
                | Self::ContentType
                | Self::BodyTooLarge
                | Self::Signature { .. }
                | Self::BodyNotHeld
                | Self::BodyTooSlow
                | Self::BodyNoRoom
                | Self::Unverified
        )
    }

    /// Index of the limit that is felt, if one is.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        match self {
            Self::Limit { index } => Some(*index),
            Self::Zero { limit } => *limit,
            _ => None,
        }
    }
}

impl Denial {
    /// A rejection without an event or a time.
    #[must_use]
    pub fn of(cause: Cause) -> Self {
        Self { cause, event: None, retry_after: None, rate: None }
    }

    /// What the worker's account says of a request that it does not take on.
    pub(super) fn of_load(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unverified(wait) => {
                Self { retry_after: Some(wait), ..Self::of(Cause::Unverified) }
            }
            Refusal::AddressFull | Refusal::IntegrationFull => Self::of(Cause::BodyNoRoom),
        }
    }

    /// Whether it stands for what is known of the subject, and not for how much it asks.
    pub(super) fn is_status(&self) -> bool {
        matches!(self.cause, Cause::Block { .. } | Cause::Zero { .. })
    }

    /// Of several rejections, the one with the lowest rank is given: blocks before zeros before
    /// limits, and the longest wait first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let sort = match &self.cause {
            // A reason that may be told says more than one that may not, and gives nothing away.
            Cause::Block { disclose: true, .. } => 0,
            Cause::Block { .. } => 1,
            Cause::Zero { .. } => 2,
            Cause::Limit { .. } => 3,
            _ => 4,
        };
        (sort, Reverse(self.retry_after))
    }
}

impl Decision {
    /// Applies a rule that rejects, unless it is in shadow.
    pub(super) fn rule(&mut self, cause: Cause, shadow: bool) -> Result<(), Denial> {
        self.reject(Denial::of(cause), shadow)
    }

    /// The same for a rejection that says more than its cause.
    pub(super) fn reject(&mut self, denial: Denial, shadow: bool) -> Result<(), Denial> {
        if shadow {
            self.notes.push(Note { denial, why: Why::Shadow });
            return Ok(());
        }
        Err(denial)
    }

    /// Applies the fail policy.
    pub(super) fn fail(
        &mut self,
        cause: Cause,
        answer: Answer,
        shadow: bool,
    ) -> Result<(), Denial> {
        match answer {
            Answer::Deny => self.rule(cause, shadow),
            Answer::Allow => {
                self.notes.push(Note { denial: Denial::of(cause), why: Why::FailOpen });
                Ok(())
            }
        }
    }

    /// For the access log: the rule that rejected, or the first that would have, with the event or
    /// the integration behind it, and whose signature the request has. Empty if there is nothing to
    /// say.
    #[must_use]
    pub fn words(&self, config: &Config) -> Vec<String> {
        let mut words = self.rule_words(config);
        if let Some(Verified { partner, key_id, .. }) = &self.verified {
            words.extend([format!("partner={partner}"), format!("key={key_id}")]);
        }
        words
    }

    fn rule_words(&self, config: &Config) -> Vec<String> {
        let (word, denial) = match (&self.verdict, self.notes.first()) {
            (Verdict::Deny(denial), _) => ("rule", denial),
            (Verdict::Allow, Some(Note { denial, why: Why::Shadow })) => ("shadow", denial),
            (Verdict::Allow, Some(Note { denial, why: Why::FailOpen })) => ("fail_open", denial),
            (Verdict::Allow, None) => return Vec::new(),
        };
        let detail = match &denial.cause {
            Cause::Block { reason, .. } => format!(":{reason}"),
            Cause::Signature { failure, .. } => format!(":{}", failure.as_str()),
            cause => {
                let limit = cause.limit().and_then(|index| config.limits.get(index));
                limit.map_or_else(String::new, |limit| format!(":{}", limit.name))
            }
        };
        let integration = self.integration.filter(|_| denial.cause.is_of_integration());
        let integration = integration.and_then(|index| config.integrations.get(index));
        let mut words = vec![format!("{word}={}{detail}", denial.cause)];
        words.extend(denial.event.as_ref().map(|id| format!("event={id}")));
        words.extend(integration.map(|one| format!("integration={}", one.name)));
        words
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
