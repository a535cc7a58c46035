//! The rules that reject requests, by what metrics, logs and responses call them.

use std::fmt;
use std::sync::Arc;

use model::name::Name;
use model::time::UnixMicros;
use signing::{Failure, Profile, SignatureRules};

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
        /// What is asked for instead, if the profile has a way to ask (RFC 9421, section 5).
        accept: Option<Arc<str>>,
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
    /// The node hears nothing of the fleet, and a limit lets nothing through then.
    FleetLost,
}

impl Cause {
    /// Every name that [`Cause::as_str`] gives, so that metrics can show zeros.
    pub const NAMES: [&'static str; 24] = [
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
        "fleet_lost",
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
            Self::FleetLost => "fleet_lost",
        }
    }

    /// A signature that is not accepted.
    pub(super) fn of_signature(rule: &SignatureRules, failure: Failure) -> Self {
        let SignatureRules { profile, replay_status, .. } = *rule;
        let asks = profile == Profile::Rfc9421;
        let accept = asks.then(|| Arc::clone(rule.message.accept_signature()));
        Self::Signature { profile, failure, replay_status, accept }
    }

    /// Whether it is something that an integration demands.
    #[must_use]
    pub fn is_of_integration(&self) -> bool {
        match self {
            Self::IpNotAllowed
            | Self::ContentType
            | Self::BodyTooLarge
            | Self::Signature { .. }
            | Self::BodyNotHeld
            | Self::BodyTooSlow
            | Self::BodyNoRoom
            | Self::Unverified => true,
            Self::Block { .. }
            | Self::Zero { .. }
            | Self::Limit { .. }
            | Self::MissingIdentity
            | Self::TooManyIdentities
            | Self::AmbiguousIdentity
            | Self::UnusableClaim
            | Self::AmbiguousPath
            | Self::PathTooLong
            | Self::NeverSynced
            | Self::Stale
            | Self::SlabFull
            | Self::SlabUnreadable
            | Self::Contention
            | Self::FleetLost
            | Self::SecondGate => false,
        }
    }

    /// Index of the limit that is felt, if one is.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        match self {
            Self::Limit { index } => Some(*index),
            Self::Zero { limit } => *limit,
            Self::Block { .. }
            | Self::MissingIdentity
            | Self::TooManyIdentities
            | Self::AmbiguousIdentity
            | Self::UnusableClaim
            | Self::AmbiguousPath
            | Self::PathTooLong
            | Self::NeverSynced
            | Self::Stale
            | Self::SlabFull
            | Self::SlabUnreadable
            | Self::Contention
            | Self::FleetLost
            | Self::IpNotAllowed
            | Self::ContentType
            | Self::BodyTooLarge
            | Self::Signature { .. }
            | Self::BodyNotHeld
            | Self::SecondGate
            | Self::BodyTooSlow
            | Self::BodyNoRoom
            | Self::Unverified => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
