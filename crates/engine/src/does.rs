//! What a node does with requests, by what it says of itself: also while nobody can say whether it should.

use model::push::{freshness, unsure};
use serde::{Deserialize, Serialize};

/// What a node does with requests now, as far as its daemon knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// It enforces what it knows, and knows what its daemon does.
    Enforces,
    /// It is stale and rejects requests.
    DeniesStale,
    /// It is stale and lets requests through, unless it knows of a block.
    AllowsStale,
    /// It is stale, and the route decides.
    ByRouteStale,
    /// It was never synchronized and rejects requests.
    DeniesNeverSynced,
    /// It was never synchronized and lets requests through.
    AllowsNeverSynced,
    /// It was never synchronized, and the route decides.
    ByRouteNeverSynced,
    /// It does not poll any more: whether it runs, and what it does, is not known.
    Gone,
    /// It is of a version that does not say it.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Does {
    /// By the words of its last poll: of its freshness, and of what it does while it is stale, and until it is
    /// synchronized.
    pub(super) fn of(fresh: &str, when_stale: &str, when_never_synced: &str) -> Self {
        match (fresh, when_stale, when_never_synced) {
            (freshness::FRESH, _, _) => Self::Enforces,
            (freshness::STALE, unsure::DENY, _) => Self::DeniesStale,
            (freshness::STALE, unsure::ALLOW, _) => Self::AllowsStale,
            (freshness::STALE, unsure::BY_ROUTE, _) => Self::ByRouteStale,
            (freshness::NEVER_SYNCED, _, unsure::DENY) => Self::DeniesNeverSynced,
            (freshness::NEVER_SYNCED, _, unsure::ALLOW) => Self::AllowsNeverSynced,
            (freshness::NEVER_SYNCED, _, unsure::BY_ROUTE) => Self::ByRouteNeverSynced,
            _ => Self::Unknown,
        }
    }
}
