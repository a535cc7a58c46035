//! What all nodes are told of buckets of the fleet without a token.

use fleet::replica::Told;
use fleet::terms::Terms;
use fleet::wire::Answer;
use model::bucket::RateTag;
use model::hash::SubjectHash;
use model::memory::SharedMemory;
use model::push::{FLEET_NEWS_MAX, FleetBucket, FleetNews};
use model::time::MonotonicNanos;

use super::change::{change_at, epoch};
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
    for one in news.iter().take(FLEET_NEWS_MAX) {
        let Some((key, terms)) = one.bucket.as_ref().and_then(|bucket| known(config, bucket))
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

/// A bucket that this node has a limit for.
fn known(config: &Config, bucket: &FleetBucket) -> Option<(BucketKey, Terms)> {
    let subject = bucket.subject.as_slice().try_into().ok().map(SubjectHash)?;
    let rate = RateTag(bucket.rate);
    let limit = config.limits.iter().find(|limit| limit.id == bucket.limit)?;
    let named = if limit.rate.tag() == rate { Some(limit.rate) } else { rate.rate() };
    let terms = super::terms(limit, named?)?;
    Some((BucketKey { subject, limit: limit.id, rate }, terms))
}
