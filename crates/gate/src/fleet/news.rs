//! What all nodes are told of buckets of the fleet without a token.

use std::collections::HashMap;

use fleet::replica::Told;
use fleet::terms::{DebtMax, Terms};
use fleet::wire::Answer;
use model::bucket::RateTag;
use model::hash::SubjectHash;
use model::memory::SharedMemory;
use model::push::{FLEET_NEWS_MAX, FleetBucket, FleetNews};
use model::time::MonotonicNanos;

use super::change::{change_at, epoch};
use super::link;
use crate::config::Config;
use crate::slab::replicas::BucketKey;

/// Empties this node's replicas of these buckets, as far as they say so; says how many it could. Buckets of limits that this
/// node does not have are none of its business.
pub fn hear(
    config: &Config,
    shared: &mut impl SharedMemory,
    news: &[FleetNews],
    now: MonotonicNanos,
) -> usize {
    let mut heard = 0_usize;
    let debts = if news.is_empty() { HashMap::new() } else { link::debts(shared) };
    for one in news.iter().take(FLEET_NEWS_MAX) {
        let Some((key, terms)) = one.bucket.as_ref().and_then(|it| known(config, &debts, it))
        else {
            continue;
        };
        let answer = Answer { epoch: epoch(one.epoch.as_ref()), remaining_us: one.remaining_us };
        let room = config.storage.slab_bytes_max / 2;
        let changed = change_at(shared, config, (&key, room), now, |replica| {
            let before = replica.clone();
            replica.hear(Told { answer, as_of: now }, &terms);
            ((), *replica != before)
        });
        heard = heard.saturating_add(usize::from(changed.is_some()));
    }
    heard
}

/// A bucket that this node has a limit for, in this plugin or in another one.
fn known(
    config: &Config,
    debts: &HashMap<u32, DebtMax>,
    bucket: &FleetBucket,
) -> Option<(BucketKey, Terms)> {
    let subject = bucket.subject.as_slice().try_into().ok().map(SubjectHash)?;
    let debt = *debts.get(&bucket.limit)?;
    let tag = RateTag(bucket.rate);
    let limit = config.limits.iter().find(|limit| limit.id == bucket.limit);
    let own = limit.map(|limit| limit.rate).filter(|rate| rate.tag() == tag);
    let rate = own.or_else(|| tag.rate())?;
    Some((BucketKey { subject, limit: bucket.limit, rate: tag }, Terms { rate, debt }))
}
