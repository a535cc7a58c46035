use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ROOM: usize = 1_024;
const NEVER: fn(&[u8]) -> bool = |_| false;

fn hash(id: u8) -> SubjectHash {
    SubjectHash([id; SubjectHash::BYTES])
}

fn bucket(full_at: u64) -> BucketRecord {
    BucketRecord { limit: 1, rate: RateTag(2), bucket: Bucket { full_at } }
}

fn found(slab: &[u8], id: u8) -> Option<(Vec<BucketRecord>, Vec<u8>)> {
    let entry = find(Some(slab), hash(id)).unwrap()?;
    Some((entry.buckets().collect(), entry.status.to_vec()))
}

#[test]
fn a_subject_keeps_its_status_when_it_takes_a_token() {
    let slab = with_status(None, hash(1), b"blocked", 0, NEVER).unwrap();
    let slab = with_buckets(Some(&slab), hash(1), &[bucket(9)], 0, ROOM).unwrap();
    let slab = with_buckets(Some(&slab), hash(2), &[bucket(7)], 0, ROOM).unwrap();
    assert_eq!(found(&slab, 1), Some((vec![bucket(9)], b"blocked".to_vec())));
    assert_eq!(found(&slab, 2), Some((vec![bucket(7)], Vec::new())));
    let slab = with_status(Some(&slab), hash(1), b"", 0, NEVER).unwrap();
    assert_eq!(found(&slab, 1), Some((vec![bucket(9)], Vec::new())));
}

#[test]
fn only_what_is_full_is_dropped() {
    let slab = with_buckets(None, hash(1), &[bucket(5)], 0, ROOM).unwrap();
    let slab = with_buckets(Some(&slab), hash(2), &[bucket(10)], 4, ROOM).unwrap();
    assert!(found(&slab, 1).is_some(), "not full yet");
    let slab = with_buckets(Some(&slab), hash(2), &[bucket(10)], 5, ROOM).unwrap();
    assert_eq!(found(&slab, 1), None);
    let slab = with_status(Some(&slab), hash(3), b"s", 100, NEVER).unwrap();
    assert_eq!(entries(Some(&slab)).count(), 1, "a status stays, whatever the time");
}

#[test]
fn a_status_that_is_over_is_dropped_and_buckets_stay() {
    let is_over = |status: &[u8]| status == b"over";
    let slab = with_status(None, hash(1), b"over", 0, NEVER).unwrap();
    let slab = with_buckets(Some(&slab), hash(1), &[bucket(9)], 0, ROOM).unwrap();
    let slab = with_status(Some(&slab), hash(2), b"over", 0, NEVER).unwrap();
    let slab = with_status(Some(&slab), hash(3), b"holds", 0, NEVER).unwrap();
    let slab = with_status(Some(&slab), hash(4), b"over", 0, is_over).unwrap();
    assert_eq!(found(&slab, 1), Some((vec![bucket(9)], Vec::new())));
    assert_eq!(found(&slab, 2), None);
    assert_eq!(found(&slab, 3), Some((Vec::new(), b"holds".to_vec())));
    assert!(found(&slab, 4).is_some(), "what was just written is the caller's own business");
}

#[test]
fn a_subject_may_have_more_buckets_than_a_configuration_has_limits() {
    let many: Vec<_> = (0..255).map(|limit| BucketRecord { limit, ..bucket(9) }).collect();
    let slab = with_buckets(None, hash(1), &many, 0, usize::MAX).unwrap();
    assert_eq!(found(&slab, 1), Some((many.clone(), Vec::new())));
    let too_many = [many, vec![bucket(9)]].concat();
    assert_eq!(with_buckets(None, hash(1), &too_many, 0, usize::MAX), Err(SlabError::Full));
}

#[test]
fn buckets_and_statuses_do_not_starve_each_other() {
    let mut slab = None;
    let mut stored = 0;
    loop {
        let id = hash(stored);
        match with_buckets(slab.as_deref(), id, &[bucket(9)], 0, ROOM) {
            Ok(new) => slab = Some(new),
            Err(error) => break assert_eq!(error, SlabError::Full),
        }
        stored += 1;
    }
    assert_eq!(usize::from(stored), ROOM / (HEAD_BYTES + BUCKET_BYTES));
    let slab = with_status(slab.as_deref(), hash(200), &[7; 9_000], 0, NEVER).unwrap();
    let again = with_buckets(Some(&slab), hash(0), &[bucket(10)], 0, ROOM);
    assert!(again.is_ok(), "whoever has a bucket keeps it");
    let large = vec![7; STATUS_BYTES_MAX];
    assert_eq!(with_status(Some(&slab), hash(201), &large, 0, NEVER), Err(SlabError::Full));
}

#[test]
fn another_version_is_not_touched() {
    let slab = [VERSION + 1, 0, 0];
    assert_eq!(find(Some(&slab), hash(1)), Err(Unreadable));
    assert_eq!(with_status(Some(&slab), hash(1), b"s", 0, NEVER), Err(SlabError::Unreadable));
    assert_eq!(with_buckets(Some(&slab), hash(1), &[], 0, ROOM), Err(SlabError::Unreadable));
    assert_eq!(find(Some(&[]), hash(1)), Ok(None), "an emptied value is an empty slab");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = find(Some(&bytes), hash(0));
        let _ = with_status(Some(&bytes), hash(0), b"s", 0, NEVER);
    }

    /// Beside a map that forgets nothing: whatever the slab no longer knows was full, and no
    /// status is ever lost, also with ten times more subjects than there is room for.
    #[test]
    fn forgets_only_what_makes_no_difference(
        steps in prop::collection::vec((0u8..60, 0u64..20, prop::option::of(0usize..40)), 1..80),
    ) {
        let room = 6 * (HEAD_BYTES + BUCKET_BYTES);
        let mut slab: Option<Vec<u8>> = None;
        let mut truth: BTreeMap<u8, (u64, usize)> = BTreeMap::new();
        for (now, (id, ahead, status)) in steps.into_iter().enumerate() {
            let now = now as u64;
            let known = truth.entry(id).or_default();
            if let Some(len) = status {
                let status = vec![1; len];
                let new = with_status(slab.as_deref(), hash(id), &status, now, NEVER);
                slab = Some(new.unwrap());
                known.1 = len;
            } else {
                let full_at = known.0.max(now + ahead);
                let records = [bucket(full_at)];
                if let Ok(new) = with_buckets(slab.as_deref(), hash(id), &records, now, room) {
                    slab = Some(new);
                    known.0 = full_at;
                }
            }
            for (id, (full_at, status)) in &truth {
                let entry = find(slab.as_deref(), hash(*id)).unwrap();
                prop_assert_eq!(entry.map_or(0, |entry| entry.status.len()), *status);
                let stored = entry.and_then(|entry| entry.buckets().next());
                let seen = stored.map_or(0, |record| record.bucket.full_at);
                prop_assert!(seen == *full_at || *full_at <= now, "amnesty");
            }
        }
    }
}
