//! News as they were heard, for as long as some node may not have them: each with the place that it came at. Of one
//! bucket the newest alone is kept.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleet::messages;
use fleet::wire::{BucketName, News};
use model::push::{BATCH_BYTES_MAX, Batch, FLEET_NEWS_MAX, FleetNews, Message};

/// Most news that are kept: the oldest go first.
const NEWS_MAX: usize = 4_096;
/// How long news are kept. A node polls at least once a second; who was away for longer learns with its next answer.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// Most news in a batch that has changes: their acknowledgement does not wait for more.
const BESIDE_CHANGES_MAX: usize = 64;
/// More bytes than one of them takes in a batch.
const NEWS_BYTES: usize = 128;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Board {
    news: BTreeMap<u64, Posted>,
    places: HashMap<BucketName, u64>,
    /// The place of the newest; 0 if none was ever heard.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Posted {
    news: News,
    at: Duration,
}

impl Posted {
    /// Whether it still tells something: the bucket has not filled by now, and it is not too old.
    fn tells(&self, now: Duration) -> bool {
        let ago = now.saturating_sub(self.at);
        ago < KEPT_FOR && u128::from(self.news.answer.remaining_us) > ago.as_micros()
    }
}

impl Board {
    pub(super) fn post(&mut self, news: Vec<News>, now: Duration) {
        for one in news {
            self.end = self.end.saturating_add(1);
            if let Some(before) = self.places.insert(one.bucket, self.end) {
                self.news.remove(&before);
            }
            self.news.insert(self.end, Posted { news: one, at: now });
            if self.news.len() > NEWS_MAX {
                self.drop_oldest();
            }
        }
    }

    /// The place of the newest.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether there are news after this place that still tell something.
    pub(super) fn has_after(&self, seen: u64, now: Duration) -> bool {
        self.newest(seen).any(|posted| posted.tells(now))
    }

    /// The newest news after this place, at most `room`, in the order in which they came; and how many were left out.
    pub(super) fn after(&self, seen: u64, room: usize, now: Duration) -> (Vec<FleetNews>, usize) {
        let mut all = self.newest(seen).filter(|posted| posted.tells(now));
        let to_wire = |posted: Posted| messages::news(&posted.news, now.saturating_sub(posted.at));
        let mut news: Vec<_> = all.by_ref().take(room).map(to_wire).collect();
        news.reverse();
        (news, all.count())
    }

    fn newest(&self, seen: u64) -> impl Iterator<Item = Posted> {
        self.news.range(seen.saturating_add(1)..).rev().map(|(_, posted)| *posted)
    }

    pub(super) fn forget(&mut self, now: Duration) {
        let is_old = |posted: &Posted| now.saturating_sub(posted.at) >= KEPT_FOR;
        while self.news.first_key_value().is_some_and(|(_, posted)| is_old(posted)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, posted)) = self.news.pop_first() {
            self.places.remove(&posted.news.bucket);
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.news.len(), self.places.len())
    }
}

/// For how many news there is room in a batch beside what it has.
pub(super) fn room(batch: &Batch) -> usize {
    let changes = batch.changes.len().saturating_add(batch.urgent.len());
    let bytes = BATCH_BYTES_MAX.saturating_sub(batch.encoded_len());
    let most = if changes == 0 { FLEET_NEWS_MAX } else { BESIDE_CHANGES_MAX };
    most.min(bytes.checked_div(NEWS_BYTES).unwrap_or_default())
}
