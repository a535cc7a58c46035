//! Keeps the connection for calls open, and learns what every node has to know besides answers: the fleet's key, and how
//! many Envoys there are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{ErrorKind, RedisError};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::super::connect::Link;
use super::super::write::ends_connection;
use super::super::{BACKOFF_MAX, Lost, REDIS, RedisSource, backoff};
use crate::fence::Members;
use crate::hub::{Hub, Ledger};
use crate::relay::HashKey;

/// Longest wait for the answer to one command. A call of a node waits no longer than a second.
const RESPONSE_MAX: Duration = Duration::from_millis(900);
/// How often the key is looked at: Redis may have lost it, and somebody may have made another one.
const KEY_INTERVAL: Duration = Duration::from_secs(3);
/// The pause after Redis has refused something.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked whether Redis can be asked.
const OPEN_INTERVAL: Duration = Duration::from_millis(200);
/// How often Envoys are counted, at least.
const CENSUS_INTERVAL: Duration = Duration::from_secs(5);
/// And so much longer for each daemon, since each reads what all have said: with a thousand of them, once a minute.
const CENSUS_PER_DAEMON: Duration = Duration::from_millis(50);

impl RedisSource {
    /// One connection after the other.
    pub(super) async fn keep_ledger(&self, hub: &Hub) {
        let mut pauses = backoff();
        let mut is_said = false;
        loop {
            let mut is_open = false;
            let lost = match self.servers.connect(RESPONSE_MAX).await {
                Ok(link) => self.serve_ledger(hub, link, &mut is_open).await,
                Err(lost) => lost,
            };
            self.ledger.set_open(None);
            if is_open {
                pauses = backoff();
            }
            let pause = pauses.next().unwrap_or(BACKOFF_MAX);
            // Once for each loss: that Redis is still away is said by what else is connected with it.
            if is_open || !std::mem::replace(&mut is_said, true) {
                let what = "the fleet's buckets cannot be reached";
                warn!(source = REDIS, part = "ledger", cause = %lost, "{what}");
            }
            sleep(pause).await;
        }
    }

    /// Until the connection is lost. It is open to calls once the key is known.
    async fn serve_ledger(&self, hub: &Hub, mut link: Link, is_open: &mut bool) -> Lost {
        loop {
            let mut pause = KEY_INTERVAL;
            match self.find_key(hub, &mut link).await {
                Ok(found) => {
                    // In this order: whoever hears of a key reports with it at once.
                    if !std::mem::replace(is_open, true) {
                        self.open_ledger(hub, &link);
                    }
                    if let Some(key) = found {
                        hub.fleet_key_agreed(key);
                    }
                }
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    let what = "Redis does not hand out the key of limits across the fleet";
                    warn!(source = REDIS, cause = %error, "{what}");
                    pause = REFUSED_PAUSE;
                }
            }
            self.keep_room(&mut link).await;
            // A call that finds the connection gone does not wait for the next look.
            let _ = timeout(pause, self.ledger.lost.notified()).await;
            if *is_open && !self.ledger.is_open() {
                return Lost::Closed;
            }
        }
    }

    fn open_ledger(&self, hub: &Hub, link: &Link) {
        self.ledger.set_open(Some(link.clone()));
        if self.ledger.was_open.swap(true, Ordering::Relaxed) {
            hub.metrics.ledger.reconnected();
        }
        info!(source = REDIS, "the fleet's buckets can be reached");
    }

    /// The key that Redis has, made now if it had none; nothing if a file has it.
    async fn find_key(&self, hub: &Hub, link: &mut Link) -> Result<Option<HashKey>, RedisError> {
        if hub.relay.is_configured() {
            // A sign of life all the same.
            return redis::cmd("PING").query_async::<()>(link).await.map(|()| None);
        }
        // Redis that has lost it gets back what the nodes name subjects with: with another key all buckets would be full.
        let ours = match hub.relay.key() {
            Some(known) => known,
            None => made()?,
        };
        let mut call = self.ledger.key.key(&self.scripts.layout.fleet_key);
        let text: Vec<u8> = call.arg(ours.to_text()).invoke_async(link).await?;
        let strange = || RedisError::from((ErrorKind::Parse, "the fleet's key has another form"));
        HashKey::read(&text).map(Some).ok_or_else(strange)
    }

    /// Counts the fleet's Envoys once in a while.
    pub(super) async fn count_envoys_forever(&self, hub: &Hub) {
        loop {
            if !self.ledger.is_open() {
                sleep(OPEN_INTERVAL).await;
                continue;
            }
            let pause = match self.count_envoys(hub).await {
                Ok(next) => next,
                Err(lost) => {
                    warn!(source = REDIS, cause = %lost, "Envoys of the fleet are not counted");
                    REFUSED_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// How many Envoys poll; gives when to count them again. A fleet may be large, and no call is to wait behind what it says:
    /// hence a connection for this alone.
    async fn count_envoys(&self, hub: &Hub) -> Result<Duration, Lost> {
        let mut link = self.servers.connect(self.config.dead_after).await?;
        let daemons = &self.scripts.layout.daemons;
        let members: Members = self.fences.read_members(daemons, &mut link).await?;
        hub.relay.set_nodes(u32::try_from(members.live_envoys()).unwrap_or(u32::MAX));
        let daemons = u32::try_from(members.daemons.len()).unwrap_or(u32::MAX);
        Ok(CENSUS_INTERVAL.saturating_add(CENSUS_PER_DAEMON.saturating_mul(daemons)))
    }
}

/// A key that nobody has.
fn made() -> Result<HashKey, RedisError> {
    let (mut version, mut key) = ([0; 8], [0; 16]);
    let filled = getrandom::fill(&mut version).and_then(|()| getrandom::fill(&mut key));
    filled.map_err(|_| (ErrorKind::Client, "the system has no random bytes"))?;
    Ok(HashKey::of_random(version, key))
}
