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

/// All buckets or none.
fn put(
    slab: Option<&[u8]>,
    hash: SubjectHash,
    records: &[BucketRecord],
    now: u64,
    room: usize,
) -> Result<Vec<u8>, SlabError> {
    let Written { slab, without_room } = with_buckets(slab, hash, records, now, room)?;
    if without_room.is_empty() { Ok(slab) } else { Err(SlabError::Full) }
}

fn found(slab: &[u8], id: u8) -> Option<(Vec<BucketRecord>, Vec<u8>)> {
    let entry = find(Some(slab), hash(id)).unwrap()?;
    Some((entry.buckets().collect(), entry.status.to_vec()))
}

#[test]
fn a_subject_keeps_its_status_when_it_takes_a_token() {
    let slab = with_status(None, hash(1), b"blocked", 0, NEVER).unwrap();
    let slab = put(Some(&slab), hash(1), &[bucket(9)], 0, ROOM).unwrap();
    let slab = put(Some(&slab), hash(2), &[bucket(7)], 0, ROOM).unwrap();
    assert_eq!(found(&slab, 1), Some((vec![bucket(9)], b"blocked".to_vec())));
    assert_eq!(found(&slab, 2), Some((vec![bucket(7)], Vec::new())));
    let slab = with_status(Some(&slab), hash(1), b"", 0, NEVER).unwrap();
    assert_eq!(found(&slab, 1), Some((vec![bucket(9)], Vec::new())));
}

#[test]
fn only_what_is_full_is_dropped() {
    let slab = put(None, hash(1), &[bucket(5)], 0, ROOM).unwrap();
    let slab = put(Some(&slab), hash(2), &[bucket(10)], 4, ROOM).unwrap();
    assert!(found(&slab, 1).is_some(), "not full yet");
    let slab = put(Some(&slab), hash(2), &[bucket(10)], 5, ROOM).unwrap();
    assert_eq!(found(&slab, 1), None);
    let slab = with_status(Some(&slab), hash(3), b"s", 100, NEVER).unwrap();
    assert_eq!(entries(Some(&slab)).count(), 1, "a status stays, whatever the time");
}

#[test]
fn a_status_that_is_over_is_dropped_and_buckets_stay() {
    let is_over = |status: &[u8]| status == b"over";
    let slab = with_status(None, hash(1), b"over", 0, NEVER).unwrap();
    let slab = put(Some(&slab), hash(1), &[bucket(9)], 0, ROOM).unwrap();
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
    let slab = put(None, hash(1), &many, 0, usize::MAX).unwrap();
    assert_eq!(found(&slab, 1), Some((many.clone(), Vec::new())));
    let too_many = [many, vec![bucket(9)]].concat();
    assert_eq!(put(None, hash(1), &too_many, 0, usize::MAX), Err(SlabError::Full));
}

#[test]
fn buckets_and_statuses_do_not_starve_each_other() {
    let mut slab = None;
    let mut stored = 0;
    loop {
        let id = hash(stored);
        match put(slab.as_deref(), id, &[bucket(9)], 0, ROOM) {
            Ok(new) => slab = Some(new),
            Err(error) => break assert_eq!(error, SlabError::Full),
        }
        stored += 1;
    }
    assert_eq!(usize::from(stored), ROOM / (HEAD_BYTES + BUCKET_BYTES));
    let slab = with_status(slab.as_deref(), hash(200), &[7; 9_000], 0, NEVER).unwrap();
    let again = put(Some(&slab), hash(0), &[bucket(10)], 0, ROOM);
    assert!(again.is_ok(), "whoever has a bucket keeps it");
    let large = vec![7; STATUS_BYTES_MAX];
    assert_eq!(with_status(Some(&slab), hash(201), &large, 0, NEVER), Err(SlabError::Full));
}

#[test]
fn a_limit_that_is_full_takes_no_room_of_another() {
    let of = |limit: u32| BucketRecord { limit, ..bucket(9) };
    let mut slab = put(None, hash(0), &[of(1), of(2)], 0, ROOM).unwrap();
    for id in 1..29 {
        slab = put(Some(&slab), hash(id), &[of(2)], 0, ROOM).unwrap();
    }
    let written = with_buckets(Some(&slab), hash(30), &[of(1), of(2), of(3)], 0, ROOM).unwrap();
    assert_eq!(written.without_room, [2]);
    assert_eq!(found(&written.slab, 30), Some((vec![of(1), of(3)], Vec::new())));
    let again = with_buckets(Some(&slab), hash(0), &[of(1), of(2)], 0, 0).unwrap();
    assert_eq!(again.without_room, [0; 0], "who has a bucket keeps it, also with less room");
    let full = with_buckets(Some(&slab), hash(30), &[of(2)], 9, ROOM).unwrap();
    assert_eq!(full.without_room, [0; 0], "what has refilled makes room");
}

#[test]
fn a_full_bucket_beside_another_takes_no_room() {
    let quick = |full_at| BucketRecord { limit: 1, ..bucket(full_at) };
    let slow = BucketRecord { limit: 2, ..bucket(1_000) };
    let mut slab = None;
    for id in 0..29 {
        slab = Some(put(slab.as_deref(), hash(id), &[quick(5), slow], 0, ROOM).unwrap());
    }
    let add = |now| with_buckets(slab.as_deref(), hash(30), &[quick(now + 5)], now, ROOM).unwrap();
    assert_eq!(add(4).without_room, [1]);
    assert_eq!(add(5).without_room, [0; 0]);
}

#[test]
fn another_version_is_not_touched() {
    let slab = [VERSION + 1, 0, 0];
    assert_eq!(find(Some(&slab), hash(1)), Err(Unreadable));
    assert_eq!(with_status(Some(&slab), hash(1), b"s", 0, NEVER), Err(SlabError::Unreadable));
    assert_eq!(put(Some(&slab), hash(1), &[], 0, ROOM), Err(SlabError::Unreadable));
    assert_eq!(find(Some(&[]), hash(1)), Ok(None), "an emptied value is an empty slab");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = find(Some(&bytes), hash(0));
        let _ = with_status(Some(&bytes), hash(0), b"s", 0, NEVER);
    }

    /// Beside a map that forgets nothing: whatever the slab no longer knows was full, no status is ever
    /// lost, also with ten times more subjects than there is room for, and whether a limit has room for
    /// one more depends on its own subjects alone.
    #[test]
    fn forgets_only_what_makes_no_difference(
        steps in prop::collection::vec(
            (0u8..60, 0u32..3, 0u64..20, prop::option::of(0usize..40)), 1..120,
        ),
    ) {
        const SUBJECTS: usize = 4;
        let room = SUBJECTS * SUBJECT_BYTES;
        let mut slab: Option<Vec<u8>> = None;
        let mut statuses: BTreeMap<u8, usize> = BTreeMap::new();
        let mut truth: BTreeMap<(u8, u32), u64> = BTreeMap::new();
        for (now, (id, limit, ahead, status)) in steps.into_iter().enumerate() {
            let now = now as u64;
            if let Some(len) = status {
                let status = vec![1; len];
                let new = with_status(slab.as_deref(), hash(id), &status, now, NEVER);
                slab = Some(new.unwrap());
                statuses.insert(id, len);
            } else {
                let entry = find(slab.as_deref(), hash(id)).unwrap();
                let mut records: Vec<_> = entry.iter().flat_map(SubjectEntry::buckets).collect();
                let has_one = records.iter().any(|record| record.limit == limit);
                let known = truth.get(&(id, limit)).copied().unwrap_or_default();
                let full_at = known.max(now + ahead);
                records.retain(|record| record.limit != limit);
                records.push(BucketRecord { limit, ..bucket(full_at) });
                let lacking = truth.iter().filter(|((other, of), full_at)| {
                    *other != id && *of == limit && **full_at > now
                });
                let has_room = has_one || lacking.count() < SUBJECTS;
                let new = with_buckets(slab.as_deref(), hash(id), &records, now, room).unwrap();
                prop_assert_eq!(new.without_room.is_empty(), has_room);
                slab = Some(new.slab);
                if has_room {
                    truth.insert((id, limit), full_at);
                }
            }
            for (id, status) in &statuses {
                let entry = find(slab.as_deref(), hash(*id)).unwrap();
                prop_assert_eq!(entry.map_or(0, |entry| entry.status.len()), *status);
            }
            for ((id, limit), full_at) in &truth {
                let entry = find(slab.as_deref(), hash(*id)).unwrap();
                let stored = entry.and_then(|one| one.buckets().find(|it| it.limit == *limit));
                let seen = stored.map_or(0, |record| record.bucket.full_at);
                prop_assert!(seen == *full_at || *full_at <= now, "amnesty");
            }
        }
    }
}
