use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const FILL: u64 = 1_000;

fn key(number: u8) -> BucketKey {
    BucketKey {
        subject: SubjectHash([number % 7; 16]),
        limit: u32::from(number % 3),
        rate: RateTag(u32::from(number % 2)),
    }
}

fn raised(full_at: MonotonicNanos) -> Replica {
    let mut replica = Replica::default();
    replica.raise_to(full_at);
    replica
}

proptest! {
    /// Beside a map that forgets nobody: what was put is found until it is full.
    #[test]
    fn what_was_put_is_found_until_it_is_full(
        steps in prop::collection::vec((any::<u8>(), 0u64..3 * FILL, 0u64..FILL / 4), 1..60),
    ) {
        let (mut slab, mut oracle, mut now) = (Vec::new(), BTreeMap::new(), 0);
        for (number, ahead, passed) in steps {
            now += passed;
            let key = key(number);
            let name = (key.subject, key.limit, key.rate.0);
            let (place, mut replica) = find(&slab, &key).unwrap();
            let known: u64 = oracle.get(&name).copied().unwrap_or(0);
            prop_assert!(replica == raised(known) || known <= now && replica == Replica::default());
            replica.raise_to(now + ahead);
            slab = put(slab, place, (&key, &replica), usize::MAX, now).unwrap();
            oracle.insert(name, known.max(now + ahead));
        }
        for ((subject, limit, rate), full_at) in oracle {
            let key = BucketKey { subject, limit, rate: RateTag(rate) };
            let (place, replica) = find(&slab, &key).unwrap();
            prop_assert!(replica == raised(full_at) || full_at <= now && place.is_none());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), valid in any::<bool>()) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (valid, bytes.first_mut()) {
            *first = VERSION;
        }
        if let Ok((place, replica)) = find(&bytes, &key(1)) {
            let slab = put(bytes, place, (&key(1), &replica), 10_000, 5);
            if let Ok(slab) = slab {
                prop_assert!(find(&slab, &key(1)).is_ok());
            }
        }
    }
}

#[test]
fn another_version_is_not_touched() {
    assert_eq!(find(&[VERSION + 1], &key(1)), Err(Unreadable));
    let put = put(vec![VERSION + 1], None, (&key(1), &raised(9)), usize::MAX, 0);
    assert_eq!(put, Err(NoRoom));
}

#[test]
fn each_limit_has_room_of_its_own() {
    let of = |subject: u8, limit| BucketKey {
        subject: SubjectHash([subject; 16]),
        limit,
        rate: RateTag(0),
    };
    let mut slab = Vec::new();
    let room = 3 * BUCKET_BYTES;
    for subject in 0..3 {
        slab = put(slab, None, (&of(subject, 1), &raised(9)), room, 0).unwrap();
    }
    assert_eq!(put(slab.clone(), None, (&of(3, 1), &raised(9)), room, 0), Err(NoRoom));
    slab = put(slab, None, (&of(3, 2), &raised(9)), room, 0).unwrap();
    // One that has a place keeps it, and one that is full makes room.
    let (place, _) = find(&slab, &of(2, 1)).unwrap();
    slab = put(slab, place, (&of(2, 1), &raised(20)), room, 0).unwrap();
    slab = put(slab, None, (&of(4, 1), &raised(30)), room, 15).unwrap();
    assert_eq!(find(&slab, &of(0, 1)).unwrap().0, None);
    assert_eq!(find(&slab, &of(2, 1)).unwrap().1, raised(20));
}
