//! The fleet's buckets in Redis: reports of nodes are counted by a script ([`count`]), the key that names the buckets is
//! agreed on ([`keep`]), and news of buckets without a token are heard ([`news`]). What nodes are told of it is decided
//! in [`crate::relay`]; here bytes are moved.
//!
//! It has connections of its own, one for calls and one that listens, so that neither delays a block. They are there
//! while a node has limits across the fleet, and no other: until then nothing is asked of Redis, and no right is
//! needed. This daemon keeps nothing of what is counted.

mod count;
mod keep;
mod news;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::wire::{Partition, Report};
use redis::Script;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::connect::Link;
use super::{RedisSource, locked};
use crate::hub::{Counting, Hub, Ledger};

/// How often it is looked whether a node still has limits across the fleet.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The scripts, and the connection for calls while there is one.
#[derive(Debug)]
pub(super) struct RedisLedger {
    prefix: String,
    count: Arc<Script>,
    key: Script,
    open: Mutex<Option<Open>>,
    /// Numbers the connections.
    connections: AtomicU64,
    /// There was one before.
    was_open: AtomicBool,
    /// Rings when a call has found that the connection is of no use any more.
    lost: Notify,
}

/// A connection, and which one it is.
#[derive(Clone)]
struct Open {
    number: u64,
    link: Link,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("number", &self.number).finish_non_exhaustive()
    }
}

impl RedisLedger {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            count: Arc::new(Script::new(include_str!("../../../../redis/fleet.lua"))),
            key: Script::new(include_str!("../../../../redis/key.lua")),
            open: Mutex::default(),
            connections: AtomicU64::default(),
            was_open: AtomicBool::default(),
            lost: Notify::new(),
        }
    }

    /// The channel of the news of one partition.
    fn channel(&self, partition: Partition) -> String {
        format!("{}.fleet.{}", self.prefix, partition.0)
    }

    fn set_open(&self, link: Option<Link>) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        *locked(&self.open) = link.map(|link| Open { number, link });
    }

    fn current(&self) -> Option<Open> {
        locked(&self.open).clone()
    }

    /// This connection is of no use any more, unless there is another one already.
    fn give_up(&self, number: u64) {
        let mut open = locked(&self.open);
        if open.as_ref().is_some_and(|open| open.number == number) {
            *open = None;
            self.lost.notify_one();
        }
    }
}

impl Ledger for RedisLedger {
    fn count(&self, reports: Vec<Report>) -> Counting<'_> {
        Box::pin(self.count_all(reports))
    }

    fn is_open(&self) -> bool {
        locked(&self.open).is_some()
    }
}

impl RedisSource {
    /// Serves limits across the fleet whenever a node has any.
    pub(super) async fn serve_ledger_forever(&self, hub: &Hub) {
        let mut wanted = hub.relay.wanted();
        loop {
            while !hub.relay.is_wanted(hub.now().mono) {
                // The sender lives in the hub, so this cannot fail.
                let _ = wanted.changed().await;
            }
            tokio::select! {
                () = self.keep_ledger(hub) => {}
                () = self.hear_news_forever(hub) => {}
                () = self.count_envoys_forever(hub) => {}
                () = until_unwanted(hub) => {}
            }
            self.ledger.set_open(None);
        }
    }
}

async fn until_unwanted(hub: &Hub) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while hub.relay.is_wanted(hub.now().mono) {
        ticks.tick().await;
    }
}
