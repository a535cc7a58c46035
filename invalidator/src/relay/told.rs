//! What each node has been told: up to which place it has the news, and which key it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::NodeKey;

/// The least time between two answers to polls that are held because of news.
const NEWS_APART: Duration = Duration::from_millis(5);
/// How long after its last poll a node is forgotten. It polls at least every two seconds.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// Most nodes: more than `limits.nodes_max` can be.
const NODES_MAX: usize = 65_536;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<NodeKey, One>);

/// What one node has been told.
#[derive(Debug)]
pub(super) struct One {
    seen: u64,
    /// When it was last given news.
    given_at: Option<Duration>,
    /// The version of the key that it was last sent; 0 for none.
    key: u64,
    polled_at: Duration,
}

impl Told {
    /// Of a node that was not known: it has all up to now, since news tell what is so at this moment, and its first reports are
    /// still to come.
    pub(super) fn of(&mut self, node: &NodeKey, end: u64, now: Duration) -> &mut One {
        if self.0.len() >= NODES_MAX && !self.0.contains_key(node) {
            // What is told twice, or is not, does no harm.
            self.0.clear();
        }
        let new = || One { seen: end, given_at: None, key: 0, polled_at: now };
        let one = self.0.entry(node.clone()).or_insert_with(new);
        one.polled_at = now;
        one
    }

    pub(super) fn forget(&mut self, now: Duration) {
        self.0.retain(|_, one| now.saturating_sub(one.polled_at) < REMEMBERED_FOR);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl One {
    /// Whether it has another key than this one and was not sent this: a node that cannot take it must not poll in
    /// circles.
    pub(super) fn lacks_key(&self, version: u64, has: u64) -> bool {
        version != has && version != self.key
    }

    pub(super) fn was_given_key(&mut self, version: u64) {
        self.key = version;
    }

    /// The place up to which it has seen news.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// From when on a poll of it may be answered because of news.
    pub(super) fn next_news_at(&self, now: Duration) -> Duration {
        self.given_at.map_or(now, |at| at.saturating_add(NEWS_APART).max(now))
    }

    /// Notes that it has seen news up to there, and when it was given some of them, if any.
    pub(super) fn has_seen(&mut self, end: u64, given_at: Option<Duration>) {
        self.seen = end;
        self.given_at = given_at.or(self.given_at);
    }
}
