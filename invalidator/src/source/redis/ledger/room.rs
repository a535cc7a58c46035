//! Keeps a part of Redis's memory for events. A Redis that is full takes no block any more, and whoever can be many subjects could
//! fill it with buckets: so these are counted only as long as there is memory to spare.

use std::sync::atomic::Ordering;

use tracing::{error, info};

use super::super::connect::Link;
use super::super::{REDIS, RedisSource};

/// Above so many hundredths of `maxmemory` nothing is counted any more.
const USED_PERCENT_MAX: u64 = 75;

impl RedisSource {
    /// Looks how much memory there is, and says in the log when counting stops and begins again.
    pub(super) async fn keep_room(&self, link: &mut Link) {
        let said: Result<String, _> = redis::cmd("INFO").arg("memory").query_async(link).await;
        // Not allowed, or a cluster's answer of another form: then nobody can say.
        let Ok(said) = said else { return };
        let is_short = is_short(&said);
        if self.ledger.is_short.swap(is_short, Ordering::Relaxed) == is_short {
            return;
        }
        if is_short {
            let percent = USED_PERCENT_MAX;
            error!(
                source = REDIS,
                percent, "Redis has no memory to spare: the fleet's buckets are not counted"
            );
        } else {
            info!(source = REDIS, "Redis has memory again: the fleet's buckets are counted");
        }
    }
}

/// Whether what `INFO memory` says leaves too little for events. Without a `maxmemory` nobody can say.
fn is_short(said: &str) -> bool {
    let number = |name: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let (used, max) = (number("used_memory"), number("maxmemory"));
    max > 0 && used.saturating_mul(100) > max.saturating_mul(USED_PERCENT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_memory_is_for_events() {
        let said = |used: u64, max: u64| {
            format!(
                "# Memory\r\nused_memory:{used}\r\nused_memory_human:1K\r\nmaxmemory:{max}\r\nmaxmemory_policy:noeviction\r\n"
            )
        };
        assert!(!is_short(&said(75, 100)));
        assert!(is_short(&said(76, 100)));
        assert!(!is_short(&said(u64::MAX, 0)), "there is no bound that could be reached");
        assert!(!is_short(""));
        assert!(!is_short("used_memory:x\nmaxmemory:5"));
    }
}
