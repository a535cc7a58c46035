//! What is kept of one limit of one subject: its bucket, and beside it, while the rate changes, the
//! bucket under the rate before.
//!
//! Each bucket is what it would be had its rate always been in force: whatever is taken under one rate
//! is missing from the other as well, and each fills at its own speed. So two rates that are in force at
//! the same time, in two configurations while Envoy drains old connections, or in an override that
//! comes and goes, give no more together than the larger of the two.
//!
//! A third rate takes the place of one of them. The one with the larger bucket stays, since no other can
//! lack more tokens than it does: from it the buckets of new rates, and of those that come back, are made.

use crate::bucket::{Bucket, Rate, RateTag};
use crate::slab::{BucketRecord, Entry};
use crate::time::MonotonicNanos;

/// What is kept of one limit of one subject.
pub(super) struct Kept {
    limit: u32,
    tag: RateTag,
    /// The bucket under the rate that holds now.
    pub(super) bucket: Bucket,
    /// Whether this rate has had no bucket until now, and another has.
    pub(super) is_new: bool,
    other: Option<BucketRecord>,
}

impl Kept {
    /// What an entry has of a limit whose rate is this one now.
    pub(super) fn find(
        entry: Option<&Entry<'_>>,
        limit: u32,
        rate: &Rate,
        now: MonotonicNanos,
    ) -> Self {
        let tag = rate.tag();
        let (mut own, mut made, mut other) = (None, None, None::<BucketRecord>);
        let records = entry.into_iter().flat_map(Entry::buckets);
        for record in records.filter(|record| record.limit == limit) {
            if record.rate == tag {
                own = Some(record.bucket);
                continue;
            }
            made = made.max(Some(record.bucket.under(record.rate, rate, now)));
            let is_larger = |than: BucketRecord| record.rate.max_tokens() > than.rate.max_tokens();
            if record.rate.is_known() && other.is_none_or(is_larger) {
                other = Some(record);
            }
        }
        let bucket = own.or(made).unwrap_or_default();
        // What would be forgotten by now, had anything been written.
        let is_full = bucket.is_full(now) && other.is_none_or(|one| one.bucket.is_full(now));
        let is_new = own.is_none() && made.is_some() && !is_full;
        Self { limit, tag, bucket, is_new, other: other.filter(|_| !is_full) }
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
        let Self { limit, tag: rate, bucket, other, .. } = self;
        let own = BucketRecord { limit, rate, bucket: taken.unwrap_or(bucket) };
        let other = other.map(|record| match taken {
            Some(_) => BucketRecord { bucket: record.bucket.charged(record.rate, now), ..record },
            None => record,
        });
        [Some(own), other].into_iter().flatten()
    }
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
