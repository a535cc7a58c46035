//! A slab of subjects: read, and written without losing anybody's status.
#![no_main]

use std::time::Duration;

use gate::slab::{
    BucketRecord, STATUS_BYTES_MAX, SUBJECT_BYTES, entries, find, with_buckets, with_status,
};
use libfuzzer_sys::fuzz_target;
use model::bucket::{Bucket, Rate, RateTag};
use model::hash::SubjectHash;

const NOW: u64 = 1_000_000_000_000;

fuzz_target!(|data: &[u8]| {
    let hash = SubjectHash([7; SubjectHash::BYTES]);
    let statuses = |slab: &[u8]| -> usize {
        entries(Some(slab)).flatten().map(|entry| usize::from(!entry.status.is_empty())).sum()
    };
    if entries(Some(data)).any(|entry| entry.is_err()) {
        assert!(with_status(Some(data), hash, b"s", 1, |_| false).is_err());
        return;
    }
    let had = find(Some(data), hash).ok().flatten().is_some_and(|e| !e.status.is_empty());
    if let Ok(slab) = with_status(Some(data), hash, b"new", 1, |_| false) {
        assert!(slab.len() <= data.len() + STATUS_BYTES_MAX);
        assert!(find(Some(&slab), hash).ok().flatten().is_some_and(|e| e.status == b"new"));
        let known = statuses(data) + usize::from(!had);
        // The same hash twice is nothing that we write; the last of them goes.
        assert!(statuses(&slab) <= known);
    }
    if let Ok(written) = with_buckets(Some(data), hash, &[], 1, usize::MAX) {
        assert!(entries(Some(&written.slab)).all(|entry| entry.is_ok()));
    }
    no_room_of_others(data);
    let Ok(rate) = Rate::new(10, 1, Duration::from_secs(1)) else { return };
    for record in entries(Some(data)).flatten().flat_map(|entry| entry.buckets()) {
        rebased(record, &rate);
        kept_as_two(data, hash, record, &rate);
    }
});

/// Whatever is kept of a rate: what is made of its bucket has a token one token's time later at the latest,
/// and taking one under another rate gives nothing back.
fn rebased(BucketRecord { rate: tag, bucket, .. }: BucketRecord, rate: &Rate) {
    let made = bucket.under(tag, rate, NOW);
    assert!(made.full_at <= NOW + 10_000_000_000);
    assert!(made.take(rate, NOW + 1_000_000_000).is_ok());
    assert!(bucket.charged(tag, NOW) >= bucket || bucket.is_full(NOW));
    // As many tokens are missing, however often it is made anew.
    if made.take(rate, NOW).is_err() {
        assert!(made.under(rate.tag(), rate, NOW) == made);
    }
}

/// A second bucket of the same limit is read as it was written, and takes no room that counts.
fn kept_as_two(data: &[u8], hash: SubjectHash, record: BucketRecord, rate: &Rate) {
    let own = BucketRecord { rate: rate.tag(), bucket: Bucket { full_at: u64::MAX }, ..record };
    let other = BucketRecord { rate: RateTag(!own.rate.0), ..own };
    let alone = with_buckets(Some(data), hash, &[own], 1, 4_096);
    let both = with_buckets(Some(data), hash, &[own, other], 1, 4_096);
    let room = |written: &gate::slab::Written| written.without_room.clone();
    assert_eq!(alone.as_ref().map(room).ok(), both.as_ref().map(room).ok());
    if let Ok(written) = both {
        let entry = find(Some(&written.slab), hash).ok().flatten();
        let read: Vec<_> = entry.into_iter().flat_map(|entry| entry.buckets()).collect();
        assert!(if written.without_room.is_empty() {
            read == [own, other]
        } else {
            read.is_empty()
        });
    }
}

/// Whatever is there, a limit has the room that its own subjects leave, and who has a bucket keeps it.
fn no_room_of_others(data: &[u8]) {
    let new = SubjectHash([9; SubjectHash::BYTES]);
    let record =
        |limit| BucketRecord { limit, rate: RateTag(1), bucket: Bucket { full_at: u64::MAX } };
    let limits: Vec<u32> = entries(Some(data))
        .flatten()
        .flat_map(|entry| entry.buckets().map(|one| one.limit).collect::<Vec<_>>())
        .take(8)
        .collect();
    for limit in limits {
        let others = entries(Some(data)).flatten().filter(|entry| {
            entry.buckets().any(|one| one.limit == limit && !one.bucket.is_full(1))
        });
        let room = SUBJECT_BYTES * 4;
        let is_full = others.count() >= 4;
        let Ok(None) = find(Some(data), new) else { return };
        let Ok(written) = with_buckets(Some(data), new, &[record(limit)], 1, room) else { return };
        assert_eq!(written.without_room, if is_full { vec![limit] } else { vec![] });
        let Ok(free) = with_buckets(Some(data), new, &[record(!limit)], 1, usize::MAX) else {
            return;
        };
        assert!(free.without_room.is_empty());
        let again = with_buckets(Some(&free.slab), new, &[record(!limit)], 1, 0);
        assert!(again.is_ok_and(|again| again.without_room.is_empty()));
    }
}
