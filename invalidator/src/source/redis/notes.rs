//! What each look at Redis says beside the events: its clock, what it may take away, what was damaged.

use std::time::Duration;

use model::time::UnixMicros;
use tracing::error;

use super::connect::Link;
use super::outbox::micros;
use super::scripts::Look;
use super::skew::Skew;
use super::{REDIS, RedisSource, locked};
use crate::hub::Hub;

impl RedisSource {
    /// A Redis that evicts keys for want of memory takes blocks away, without a word.
    pub(super) async fn note_policy(&self, link: &mut Link) {
        let info: Result<String, _> = redis::cmd("INFO").arg("memory").query_async(link).await;
        // Not allowed, or a cluster's answer of another form: then nobody can say.
        let Ok(info) = info else { return };
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        let evicts = policy.is_some_and(|policy| policy.trim().starts_with("allkeys"));
        self.metrics.evicts(evicts);
        if evicts {
            let policy = policy.map(str::trim);
            error!(
                source = REDIS,
                policy, "Redis may evict blocks: set maxmemory-policy noeviction"
            );
        }
    }

    pub(super) fn note_look(&self, hub: &Hub, asked: Duration, look: &Look) {
        self.note_skew(hub, asked, look.time);
        self.metrics.put_aside(look.aside);
        if look.aside > 0 {
            let keys = look.aside;
            error!(source = REDIS, keys, "keys in Redis were damaged, and are put aside");
        }
    }

    fn note_skew(&self, hub: &Hub, asked: Duration, told: UnixMicros) {
        let now = hub.now();
        let Some(new) = Skew::of_answer(told, (asked, now.mono)) else { return };
        let mut skew = locked(&self.skew);
        let better = skew.map_or(new, |before| before.with(new));
        *skew = Some(better);
        self.outbox.set_ahead_us(better.latest());
        let theirs = i128::from(micros(now.mono)) + i128::from(better.micros());
        let ahead = theirs - i128::from(now.wall.0);
        self.metrics.skew(i64::try_from(ahead).unwrap_or(i64::MAX));
    }
}
