//! The plugin configuration: text in, a [`Config`] that cannot be wrong out.
//!
//! Everything an operator writes is checked here, once; the rest of the code does not look at
//! configuration text. Unknown keys are refused, and so is every default that would hide a decision
//! about failing open or closed.

mod check;
mod fail;
mod idle;
pub mod integration;
mod json;
mod raw;
mod read;
mod route;
mod sizing;
mod structure;
mod worker;

use std::fmt;
use std::time::Duration;

use fleet::loss::OnLoss;
use fleet::terms::DebtMax;
use model::bucket::Rate;
use model::name::Name;
use model::subject::Kind;
use model::violation::Violation;
use signing::key::KeySet;
use signing::replay::ReplayStorage;

use crate::network::Networks;
use crate::path::Paths;
use read::FromJson;

pub use fail::{Answer, AnswerByRoute, FailPolicy};
pub use integration::{Integration, Wanted};
pub use route::{Groups, LimitMatch, Matcher, PathMatch, RouteGroup};
pub use worker::{HeldBounds, Unverified};

/// The longest configuration, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// The most limits.
pub const LIMITS_MAX: usize = 32;

/// The most route groups.
pub const ROUTE_GROUPS_MAX: usize = 64;

/// The most sources of one identity.
pub const SOURCES_MAX: usize = 8;

/// The shortest secret that authenticates polls, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// The longest such secret: it has to fit in a header.
pub const SECRET_BYTES_MAX: usize = 256;

/// What errors call the configuration as a whole.
const WHOLE: &str = "configuration";

/// Everything the gate needs to know.
#[derive(Debug)]
pub struct Config {
    /// The node's name, if it is not Envoy's `node.id`.
    pub node: Option<String>,
    /// First part of every metric's name.
    pub stat_prefix: Name,
    /// Who a request is from.
    pub identity: Identity,
    /// How paths are compared.
    pub paths: Paths,
    /// Named sets of requests, which scopes refer to.
    pub route_groups: Vec<RouteGroup>,
    /// The limits, in the order in which they are checked.
    pub limits: Vec<Limit>,
    /// Whether everything is only counted.
    pub shadow: bool,
    /// Whether blocks and zeros are only counted.
    pub blocks_shadow: bool,
    /// What becomes of requests that are open when a block comes, or a zero that holds.
    pub open_streams: OpenStreams,
    /// What rejections look like.
    pub responses: Responses,
    /// Where invalidations come from; none: limits only.
    pub invalidator: Option<Invalidator>,
    /// What to answer when there is no answer.
    pub fail_policy: FailPolicy,
    /// How shared memory is laid out.
    pub storage: Storage,
    /// What partners' endpoints demand; the first that matches a request applies.
    pub integrations: Vec<Integration>,
    /// The keys of signed requests that do not come from the invalidator.
    pub keys: KeySet,
    /// How the memory of used requests is laid out; none if nothing needs to be signed.
    pub replay: Option<ReplayStorage>,
    /// How much of requests one worker holds for their bodies.
    pub held: HeldBounds,
    /// How much one worker hashes for one client address in vain.
    pub unverified: Unverified,
    /// The longest path that there may be, because regular expressions have to look at all of it; none
    /// if there are none.
    pub regex_bytes_max: Option<usize>,
}

/// What becomes of a request that was let through, and goes on, when its subject is blocked.
#[derive(Debug)]
pub struct OpenStreams {
    /// Whether it ends: [`Answer::Deny`].
    pub ends: AnswerByRoute,
    /// Whether that is only counted.
    pub shadow: bool,
}

impl OpenStreams {
    /// Whether a request in these groups ends.
    #[must_use]
    pub fn ends(&self, groups: Groups) -> bool {
        self.ends.answer(groups) == Answer::Deny
    }

    /// Whether any request does.
    #[must_use]
    pub fn end_any(&self) -> bool {
        self.ends.default == Answer::Deny || self.ends.deny != Groups::default()
    }
}

/// Who a request is from, as far as configured.
#[derive(Debug)]
pub struct Identity {
    /// Where the user's id is, most trusted first.
    pub user: Vec<IdSource>,
    /// Where the session's id is.
    pub session: Vec<IdSource>,
    /// Where the partner's id is.
    pub partner: Vec<IdSource>,
    /// What to answer when `user` is configured and finds nobody.
    pub missing_user: Answer,
    /// Whether a comma is a part of an id in a header. Otherwise a header that has one is ambiguous.
    pub keeps_commas: bool,
    /// Whether a claim that cannot be an id counts as none. Otherwise its request is rejected.
    pub ignores_unusable_claims: bool,
    /// Whether requests that do not say who they are from, or not in one way only, are only counted.
    pub shadow: bool,
    /// Which addresses are one client's.
    pub client_ip: Networks,
}

/// A place in a request where an id may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdSource {
    /// A claim of the token that Envoy's `jwt_authn` has verified.
    JwtClaim {
        /// The provider's `payload_in_metadata`.
        payload: String,
        /// The claim's name.
        claim: String,
    },
    /// A request header, lower case. Whoever can reach Envoy can set it.
    Header(String),
    /// A cookie. Whoever can reach Envoy can set it.
    Cookie(String),
    /// The address the request came from, as Envoy sees it.
    ClientIp,
}

/// One rate limit.
#[derive(Debug)]
pub struct Limit {
    /// Its name, in metrics, headers and overrides.
    pub name: Name,
    /// Fingerprint of the name: the limit's number in shared memory.
    pub id: u32,
    /// Whose requests share a bucket.
    pub key: Kind,
    /// Which requests it is about: any of these; none means all.
    pub matchers: Vec<LimitMatch>,
    /// Size of the bucket and speed of its filling.
    pub rate: Rate,
    /// Whether it is only counted.
    pub shadow: bool,
    /// What to answer a subject for whose bucket there is no room; none: as the fail policy says.
    pub slab_full: Option<Answer>,
    /// How the bucket is one for the whole fleet; none: each node has its own.
    pub fleet: Option<FleetLimit>,
}

/// How a limit holds for the whole fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetLimit {
    /// What is kept of what was admitted too much.
    pub debt: DebtMax,
    /// What is done while the node hears nothing of the fleet.
    pub on_loss: OnLoss,
    /// How many subjects the node may report that it sees for the first time.
    pub first_sights: Rate,
}

/// What rejections look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses {
    /// When to send `RateLimit` and `RateLimit-Policy`.
    pub ratelimit_headers: RateLimitHeaders,
    /// Whether to send `X-RateLimit-*` along with them.
    pub legacy_headers: bool,
}

/// When to send rate limit headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// Never.
    Off,
    /// With 429.
    OnReject,
    /// With every response.
    Always,
}

/// Where invalidations come from.
pub struct Invalidator {
    /// The Envoy cluster of the invalidator's poll endpoint.
    pub cluster: String,
    /// What authenticates this node there.
    pub secret: String,
    /// How long after the last proof of freshness the node counts as stale.
    pub stale_after: Duration,
    /// Whether staleness is only counted.
    pub shadow: bool,
}

impl fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidator")
            .field("cluster", &self.cluster)
            .field("secret", &"(redacted)")
            .field("stale_after", &self.stale_after)
            .field("shadow", &self.shadow)
            .finish()
    }
}

/// How shared memory is laid out. Everything that shares a `vm_id` must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Number of slabs, a power of two.
    pub slabs: u32,
    /// The most bytes that the buckets of one limit may take in one slab.
    pub slab_bytes_max: usize,
}

impl Config {
    /// Reads the plugin configuration as Envoy hands it over: JSON for a `StringValue`, or an
    /// encoded `google.protobuf.Struct`.
    ///
    /// # Errors
    /// The first rule that the configuration breaks, with the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, Violation> {
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(Violation::new(WHOLE, "must be at most 1 MiB"));
        }
        if bytes.trim_ascii().is_empty() {
            return Err(Violation::new(WHOLE, "must not be empty"));
        }
        // An encoded Struct can begin like JSON (its first byte is a line feed), but it is never
        // JSON as a whole: that has no bytes of lengths and tags in it.
        let json = serde_json::from_slice(bytes).or_else(|error| {
            let neither = || match bytes.trim_ascii_start().starts_with(b"{") {
                true => format!("must be JSON: {error}"),
                false => "must be a JSON object or a google.protobuf.Struct".to_owned(),
            };
            structure::to_json(bytes).ok_or_else(|| Violation::new(WHOLE, neither()))
        })?;
        let mut raw = raw::Config::default();
        raw.read(json).map_err(|error| match error.field.is_empty() {
            true => error.within(WHOLE),
            false => error,
        })?;
        check::config(raw)
    }

    /// Whether any limit holds for the whole fleet.
    #[must_use]
    pub fn has_fleet_limits(&self) -> bool {
        self.limits.iter().any(|limit| limit.fleet.is_some())
    }

    /// The first integration that a request is subject to, with its index. `path` is canonical.
    #[must_use]
    pub fn integration(
        &self,
        groups: Groups,
        method: &[u8],
        path: &[u8],
    ) -> Option<(usize, &Integration)> {
        let mut numbered = self.integrations.iter().enumerate();
        numbered.find(|(_, one)| LimitMatch::any(&one.matchers, groups, method, path))
    }

    /// The route groups that a request is in. `path` is canonical.
    #[must_use]
    pub fn groups(&self, method: &[u8], path: &[u8]) -> Groups {
        Groups::matching(&self.route_groups, method, path)
    }
}

#[cfg(test)]
mod tests;
