//! The messages between filter and invalidator, generated from `proto/push.proto`, and what both
//! ends have agreed on beside them. How states are written in them is in [`crate::state`].

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/portcullis.push.v1.rs"));
}

pub use generated::*;
pub use prost::Message;

use std::fmt;
use std::time::Duration;

use crate::subject::Subject as DomainSubject;
use crate::violation::Violation;

/// Version of the protocol: a peer of another one is refused.
pub const PROTOCOL: u32 = 1;

/// Where the invalidator listens for polls.
pub const PATH: &str = "/v1/poll";

/// Where the invalidator listens for what nodes took from the buckets of the fleet.
pub const FLEET_PATH: &str = "/v1/fleet/reports";

/// The most reports in one call.
pub const FLEET_REPORTS_MAX: usize = 256;

/// The longest call with reports that the invalidator reads, and the longest answer to one that a filter accepts, in bytes.
pub const FLEET_BYTES_MAX: usize = 64 * 1024;

/// The most buckets in [`Batch::news`].
pub const FLEET_NEWS_MAX: usize = 256;

/// The most events in [`Poll::first_rejections`].
pub const FIRST_REJECTIONS_MAX: usize = 64;

/// Content type of both directions.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The longest that the invalidator may hold a poll: an answer that takes longer was on its way.
pub const HOLD_MAX: Duration = Duration::from_secs(2);

/// The longest poll that the invalidator reads, in bytes.
pub const POLL_BYTES_MAX: usize = 256 * 1024;

/// The longest batch that a filter accepts, in bytes.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 128;

/// What a poll says of the freshness of its node's knowledge.
pub mod freshness {
    /// It knows what there is to know.
    pub const FRESH: &str = "fresh";
    /// It has not heard for too long that it does.
    pub const STALE: &str = "stale";
    /// It has never known all since its memory is there.
    pub const NEVER_SYNCED: &str = "never-synced";
    /// All of them.
    pub const ALL: [&str; 3] = [FRESH, STALE, NEVER_SYNCED];
}

/// What a poll says becomes of requests while nobody can say whether they are blocked.
pub mod unsure {
    /// They are let through.
    pub const ALLOW: &str = "allow";
    /// They are rejected.
    pub const DENY: &str = "deny";
    /// That depends on their route.
    pub const BY_ROUTE: &str = "by-route";
    /// All of them.
    pub const ALL: [&str; 3] = [ALLOW, DENY, BY_ROUTE];
}

/// What a node's name has to look like, for error messages.
pub const NODE_NAME_RULE: &str = "must be 1 to 128 visible ASCII characters";

/// What a node may store and do nothing about, as [`Poll::idle`] has it.
pub mod idle {
    /// Everything about users: no source names any.
    pub const USERS: &str = "users";
    /// Everything about sessions: no source names any.
    pub const SESSIONS: &str = "sessions";
    /// Blocks and zeros: they are only counted.
    pub const BLOCKS: &str = "blocks";
    /// Zeros of users that are to empty buckets: there are none that count.
    pub const USER_BUCKETS: &str = "user-buckets";
    /// The same of sessions.
    pub const SESSION_BUCKETS: &str = "session-buckets";
}

/// Whether a node may have this name; see [`NODE_NAME_RULE`].
#[must_use]
pub fn is_node_name(text: &str) -> bool {
    let fits = (1..=NODE_NAME_BYTES_MAX).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The most refusals that one poll reports, and so the most changes of all kinds in one batch.
pub const REFUSALS_MAX: usize = 1_024;

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, partner, .. } = self;
        write!(f, "SigningKey({id:?} of {partner:?}, redacted)")
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetKey({}, redacted)", self.version)
    }
}

impl From<&DomainSubject> for Subject {
    fn from(subject: &DomainSubject) -> Self {
        let id = subject.id().to_owned();
        let id = match subject {
            DomainSubject::User(_) => subject::Id::User(id),
            DomainSubject::Session(_) => subject::Id::Session(id),
        };
        Self { id: Some(id) }
    }
}

impl TryFrom<Subject> for DomainSubject {
    type Error = Violation;

    fn try_from(wire: Subject) -> Result<Self, Violation> {
        let subject = match &wire.id {
            Some(subject::Id::User(id)) => DomainSubject::user(id),
            Some(subject::Id::Session(id)) => DomainSubject::session(id),
            None => None,
        };
        subject.ok_or_else(|| Violation::new("subject", DomainSubject::RULE))
    }
}
