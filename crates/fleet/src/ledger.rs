//! The fleet's buckets as Redis keeps them: reports are counted once, answered, and what is empty is told to all.
//!
//! This is the rule and its oracle: `invalidator/redis/fleet.lua` does the same in Redis, and a test compares both.
//! All times are whole microseconds, by Redis's clock. Numbers in Lua are doubles, which hold whole numbers exactly up to 2^53:
//! microseconds since 1970 until the year 2255.
//!
//! **When the clock is set.** Nobody is denied for longer than the time in which a bucket fills times one plus the
//! debt, because no instant counts as lying further ahead than that. Set back, buckets can be empty for so long;
//! set forward, they are full once. No beginning counts as later than the clock by more than publishers' clocks may be
//! wrong ([`AHEAD_MAX`]): whoever could set one further ahead would keep every event after it from being one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::state::CLOCK_ERROR_MAX;
use model::time::UnixMicros;

use crate::bounds::REPORT_MEMORY;
use crate::epoch::{Begins, Epoch};
use crate::wire::{Answer, BucketName, News, Report, ReportId};

/// By how much a beginning may lie ahead of Redis's clock. An event counts from no later than this.
pub const AHEAD_MAX: Duration = CLOCK_ERROR_MAX;

/// All buckets of one partition, and the reports that were counted lately.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    buckets: Kept<BucketName, Entry>,
    reports: Kept<ReportId, ()>,
    forgiven_us: u64,
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    full_at: UnixMicros,
    epoch: Epoch,
}

impl Ledger {
    /// Counts one report, if it was not counted before and belongs to the bucket as it is, and answers. News is there to be
    /// published if the bucket has changed and has no token left.
    pub fn report(&mut self, report: &Report, now: UnixMicros) -> (Answer, Option<News>) {
        self.buckets.forget(now);
        self.reports.forget(now);
        let terms = &report.terms;
        let cap_us = terms.cap_us();
        let latest = UnixMicros(now.0.saturating_add(cap_us));
        let kept = self.buckets.get(&report.bucket);
        let mut entry = kept.unwrap_or(Entry { full_at: now, epoch: Epoch::default() });
        entry.full_at = entry.full_at.clamp(now, latest);
        let last = now.saturating_add(AHEAD_MAX);
        if entry.epoch.at > last {
            entry.epoch = Epoch::default();
        }

        let epoch = Epoch { at: report.epoch.at.min(last), ..report.epoch };
        let begins = epoch.is_after(entry.epoch);
        if begins {
            entry = begun(report, epoch, now);
        }
        let counts = epoch.is_same(entry.epoch) && self.reports.get(&report.id).is_none();
        if counts {
            let memory_us = micros(REPORT_MEMORY);
            self.reports.keep(report.id, (), UnixMicros(now.0.saturating_add(memory_us)));
            let full_at = entry.full_at.0.saturating_add(terms.spent_us(report.takes));
            self.forgiven_us = self.forgiven_us.saturating_add(full_at.saturating_sub(latest.0));
            entry.full_at = UnixMicros(full_at.min(latest.0));
        }
        let remaining_us = entry.full_at.0.saturating_sub(now.0);
        if begins || counts {
            // In whole milliseconds, as Redis counts.
            let kept_us = remaining_us.div_ceil(1_000).saturating_mul(1_000);
            let kept_us = kept_us.saturating_add(micros(REPORT_MEMORY));
            self.buckets.keep(report.bucket, entry, UnixMicros(now.0.saturating_add(kept_us)));
        }
        let answer = Answer { epoch: entry.epoch, remaining_us };
        let is_empty = remaining_us.saturating_add(terms.spent_us(1)) > terms.fill_us();
        let news = News { bucket: report.bucket, answer };
        (answer, ((begins || counts) && is_empty).then_some(news))
    }

    /// How many buckets and how many ids of reports are kept.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.buckets.entries.len(), self.reports.entries.len())
    }

    /// How much debt was forgiven because it was more than is kept, in microseconds of filling.
    #[must_use]
    pub fn forgiven_us(&self) -> u64 {
        self.forgiven_us
    }
}

/// The bucket as it is at the beginning that the report belongs to. When that was is known by Redis's own
/// clock.
fn begun(report: &Report, epoch: Epoch, now: UnixMicros) -> Entry {
    let fill_us = report.terms.fill_us();
    let full_at = match report.begins {
        Begins::Full => now.0,
        Begins::Emptied => epoch.at.0.saturating_add(fill_us),
    };
    let latest = now.0.saturating_add(fill_us);
    Entry { full_at: UnixMicros(full_at.clamp(now.0, latest)), epoch }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Values that are forgotten at a time of their own, as Redis's keys are.
#[derive(Clone, Debug)]
struct Kept<K, V> {
    entries: BTreeMap<K, (V, UnixMicros)>,
    by_end: BTreeSet<(UnixMicros, K)>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_end: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, V: Copy> Kept<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| *value)
    }

    fn keep(&mut self, key: K, value: V, until: UnixMicros) {
        if let Some((_, before)) = self.entries.insert(key, (value, until)) {
            self.by_end.remove(&(before, key));
        }
        self.by_end.insert((until, key));
    }

    fn forget(&mut self, now: UnixMicros) {
        while let Some((until, key)) = self.by_end.first().copied() {
            if until > now {
                return;
            }
            self.by_end.remove(&(until, key));
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
