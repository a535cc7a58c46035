//! What is kept of one limit of one subject: its bucket, and beside it, while the rate changes, the
//! buckets under the rates before.
//!
//! Each bucket is what it would be had its rate always been in force: whatever is taken under one rate
//! is missing from the other as well, and each fills at its own speed. So two rates that are in force at
//! the same time, in two configurations while Envoy drains old connections, or in an override that
//! comes and goes, give no more together than the larger of the two.
//!
//! Of too many rates the one that was used the longest ago is given up, and made anew if it comes back. But
//! the one with the largest bucket stays, since no other can lack more tokens than it does: from it the
//! buckets of new rates are made.

use model::bucket::{Bucket, Rate, RateTag};
use model::time::MonotonicNanos;

use crate::slab::{BucketRecord, SubjectEntry};

/// The most buckets of one limit beside that of the rate that holds now: for an override, and for a few
/// changes of the configuration within the time that Envoy drains connections.
pub(super) const OTHERS_MAX: usize = 3;

/// What is kept of one limit of one subject.
pub(super) struct Kept {
    limit: u32,
    tag: RateTag,
    /// The bucket under the rate that holds now.
    pub(super) bucket: Bucket,
    /// Whether this rate has had no bucket until now, and another has.
    pub(super) is_new: bool,
    /// Those of other rates, the one that was used last first.
    others: Vec<BucketRecord>,
}

impl Kept {
    /// What an entry has of a limit whose rate is this one now.
    pub(super) fn find(
        entry: Option<&SubjectEntry<'_>>,
        limit: u32,
        rate: &Rate,
        now: MonotonicNanos,
    ) -> Self {
        let tag = rate.tag();
        let (mut own, mut made, mut others) = (None, None, Vec::new());
        let records = entry.into_iter().flat_map(SubjectEntry::buckets);
        for record in records.filter(|record| record.limit == limit) {
            if record.rate == tag {
                own = Some(record.bucket);
                continue;
            }
            made = made.max(Some(record.bucket.under(record.rate, rate, now)));
            if record.rate.is_known() {
                others.push(record);
            }
        }
        if others.len() > OTHERS_MAX {
            give_one_up(&mut others);
        }
        let bucket = own.or(made).unwrap_or_default();
        // What would be forgotten by now, had anything been written.
        let is_full = bucket.is_full(now) && others.iter().all(|one| one.bucket.is_full(now));
        if is_full {
            others.clear();
        }
        let is_new = own.is_none() && made.is_some() && !is_full;
        Self { limit, tag, bucket, is_new, others }
    }

    /// Whether a record is about the same limit.
    pub(super) fn is_of(&self, record: &BucketRecord) -> bool {
        self.limit == record.limit
    }

    /// What is to be kept: once a token was taken, with this bucket.
    pub(super) fn after(
        self,
        taken: Option<Bucket>,
        now: MonotonicNanos,
    ) -> impl Iterator<Item = BucketRecord> {
        let Self { limit, tag: rate, bucket, others, .. } = self;
        let own = BucketRecord { limit, rate, bucket: taken.unwrap_or(bucket) };
        let others = others.into_iter().map(move |record| match taken {
            Some(_) => BucketRecord { bucket: record.bucket.charged(record.rate, now), ..record },
            None => record,
        });
        std::iter::once(own).chain(others)
    }
}

/// Removes the one that was used the longest ago, unless it is the largest.
fn give_one_up(others: &mut Vec<BucketRecord>) {
    let largest = others.iter().map(|record| record.rate.max_tokens()).max();
    let is_largest = others.last().map(|record| record.rate.max_tokens()) == largest;
    others.remove(others.len().saturating_sub(if is_largest { 2 } else { 1 }));
}

/// Forgets the limits whose buckets are all full. One that is full beside another that is not stays:
/// else it would be made again, from the other.
pub(super) fn forget_full(records: &mut Vec<BucketRecord>, now: MonotonicNanos) {
    if records.iter().all(|record| !record.bucket.is_full(now)) {
        return;
    }
    let all = std::mem::take(records);
    let lacks = |limit: u32| all.iter().any(|one| one.limit == limit && !one.bucket.is_full(now));
    records.extend(all.iter().filter(|record| lacks(record.limit)));
}
