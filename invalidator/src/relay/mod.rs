//! Limits across the fleet, as far as they pass through this daemon: the key that nodes name subjects with, news of
//! buckets without a token, and how many Envoys the fleet has. Plain and synchronous: no connection, and times are
//! arguments. What a node took is not kept here: that goes straight to whoever keeps the fleet's buckets
//! ([`crate::hub::Ledger`]).
//!
//! Nothing of it is on a disk. News that are lost are harmless: a node without them learns with its next answer.

mod board;
mod key;
#[cfg(test)]
mod tests;
mod told;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::NodeKey;
use fleet::wire::News;
use model::push::{Batch, FleetUse};
use serde::Serialize;
use tokio::sync::watch;

use board::Board;
pub use key::{HashKey, load};
use told::Told;

/// In how many parts the fleet's buckets lie.
pub const PARTITIONS: u16 = 1;
/// How long after its last word a node counts as having no limits of the fleet: with none, nothing is asked of Redis.
const TAKES_PART_FOR: Duration = Duration::from_secs(60);

/// See the module's description.
#[derive(Debug)]
pub struct Relay {
    inner: Mutex<Inner>,
    /// Rings when there are news.
    heard: watch::Sender<()>,
    /// When a node last said that it has limits of the fleet.
    asked_at: watch::Sender<Option<Duration>>,
}

#[derive(Debug, Default)]
struct Inner {
    key: Option<HashKey>,
    /// The key is that of a file, and no other counts.
    is_configured: bool,
    nodes: u32,
    board: Board,
    told: Told,
}

/// What a node was given with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// How many news.
    pub news: usize,
    /// How many more it had not seen, for which there was no room.
    pub left_out: usize,
    /// The version of the key, if it was among it for the first time.
    pub key: Option<u64>,
}

/// The daemon's part at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelayStatus {
    /// Whether what keeps the fleet's buckets can be reached.
    pub ledger: &'static str,
    /// The version of the key that nodes name subjects with; nothing: none is known.
    pub key_version: Option<u64>,
    /// Where the key is from: `file` or `redis`.
    pub key_from: Option<&'static str>,
    /// How many Envoys the fleet has; 0: that is not known.
    pub nodes: u32,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            heard: watch::Sender::new(()),
            asked_at: watch::Sender::new(None),
        }
    }
}

impl Relay {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a node has limits of the fleet; `now` is the daemon's steady clock, as everywhere here.
    pub fn takes_part(&self, now: Duration) {
        self.asked_at.send_if_modified(|at| {
            let was_wanted = is_recent(*at, now);
            *at = Some(now);
            !was_wanted
        });
    }

    /// Whether a node has had limits of the fleet within the last minute.
    #[must_use]
    pub fn is_wanted(&self, now: Duration) -> bool {
        is_recent(*self.asked_at.borrow(), now)
    }

    /// Rings when a node is the first to have limits of the fleet.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<Option<Duration>> {
        self.asked_at.subscribe()
    }

    /// The key that nodes are to name subjects with.
    #[must_use]
    pub fn key(&self) -> Option<HashKey> {
        self.inner().key.clone()
    }

    /// Whether a file has the key, so that none is to be looked for elsewhere.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.inner().is_configured
    }

    /// Puts the key of a file in force; says whether it is another one.
    pub fn configure(&self, key: HashKey) -> bool {
        let mut inner = self.inner();
        inner.is_configured = true;
        inner.replace(key)
    }

    /// Puts the key in force that all daemons have, unless there is one of a file; says whether it is another one.
    pub fn agree(&self, key: HashKey) -> bool {
        let mut inner = self.inner();
        !inner.is_configured && inner.replace(key)
    }

    /// How many Envoys the fleet has; 0 if that is not known.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.inner().nodes
    }

    /// Notes how many Envoys the fleet has.
    pub fn set_nodes(&self, nodes: u32) {
        self.inner().nodes = nodes;
    }

    /// Takes in news, and wakes polls that are held.
    pub fn hear(&self, news: Vec<News>, now: Duration) {
        if news.is_empty() {
            return;
        }
        self.inner().board.post(news, now);
        self.heard.send_replace(());
    }

    /// Rings when there are news.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.heard.subscribe()
    }

    /// When a poll that is held is to be answered because of the key or of news; nothing if there is nothing to say.
    #[must_use]
    pub fn due(&self, node: &NodeKey, has: &FleetUse, now: Duration) -> Option<Duration> {
        let mut inner = self.inner();
        let Inner { key, board, told, .. } = &mut *inner;
        let told = told.of(node, board.end(), now);
        if key.as_ref().is_some_and(|key| told.lacks_key(key.version(), has.key_version)) {
            return Some(now);
        }
        board.has_after(told.seen(), now).then(|| told.next_news_at(now))
    }

    /// Adds to a batch what its node has not been told: the key if it has another one, and as many news as there is room
    /// for, the newest.
    pub fn fill(&self, batch: &mut Batch, node: &NodeKey, has: &FleetUse, now: Duration) -> Given {
        let mut inner = self.inner();
        let Inner { key, board, told, nodes, .. } = &mut *inner;
        let told = told.of(node, board.end(), now);
        batch.fleet_nodes = *nodes;
        let mut given = Given::default();
        if let Some(key) = key.as_ref().filter(|key| key.version() != has.key_version) {
            given.key = told.lacks_key(key.version(), has.key_version).then_some(key.version());
            batch.fleet_key = Some(key.to_wire(PARTITIONS));
            told.was_given_key(key.version());
        }
        let (news, left_out) = board.after(told.seen(), board::room(batch), now);
        told.has_seen(board.end(), (!news.is_empty()).then_some(now));
        (given.news, given.left_out) = (news.len(), left_out);
        batch.news = news;
        given
    }

    /// Forgets what nobody needs any more; call it about once a second.
    pub fn sweep(&self, now: Duration) {
        let mut inner = self.inner();
        inner.board.forget(now);
        inner.told.forget(now);
    }

    /// At a glance; `is_open` says whether what keeps the buckets can be reached, if there is any.
    #[must_use]
    pub fn status(&self, is_open: Option<bool>, now: Duration) -> RelayStatus {
        let is_wanted = self.is_wanted(now);
        let ledger = match is_open {
            None => "none",
            Some(true) => "open",
            Some(false) if !is_wanted => "unused",
            Some(false) => "unreachable",
        };
        let inner = self.inner();
        let from = || if inner.is_configured { "file" } else { "redis" };
        RelayStatus {
            ledger,
            key_version: inner.key.as_ref().map(HashKey::version),
            key_from: inner.key.as_ref().map(|_| from()),
            nodes: inner.nodes,
        }
    }
}

impl Inner {
    fn replace(&mut self, key: HashKey) -> bool {
        let is_other = self.key.as_ref().map(HashKey::version) != Some(key.version());
        self.key = Some(key);
        is_other
    }
}

/// Why reports have no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uncounted {
    /// There is no connection, or it has ended.
    Unreachable,
    /// No answer came in time.
    Late,
    /// They were refused: the code of the error.
    Refused(String),
    /// What was answered is not what the script answers.
    Strange,
}

impl Uncounted {
    /// Every name.
    pub const NAMES: [&'static str; 4] = ["unreachable", "late", "refused", "strange"];

    /// As a metric label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Late => "late",
            Self::Refused(_) => "refused",
            Self::Strange => "strange",
        }
    }
}

fn is_recent(at: Option<Duration>, now: Duration) -> bool {
    at.is_some_and(|at| now.saturating_sub(at) < TAKES_PART_FOR)
}
