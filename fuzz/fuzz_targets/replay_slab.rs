//! A slab of used requests: nothing that counts is forgotten, nobody has more than his share, and what was
//! forgotten is too old for good, whatever the tolerance is then.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::hash::SubjectHash;
use model::time::UnixMicros;
use signing::Failure;
use signing::replay::{ENTRY_BYTES, Since, Use, insert};

const ROOM: usize = 4_096;
const HOUR: Duration = Duration::from_secs(3_600);

fuzz_target!(|data: &[u8]| {
    let hash = SubjectHash([7; SubjectHash::BYTES]);
    let seconds = u64::from(data.first().copied().unwrap_or_default());
    let tolerance = Duration::from_secs(seconds);
    for since in [
        Since::Signed(fuzz::NOW),
        Since::Claimed(fuzz::NOW),
        Since::Until(UnixMicros(fuzz::NOW.0 + 1)),
    ] {
        let new = Use { hash, owner: 7, since };
        let Ok(slab) = insert(Some(data), &new, fuzz::NOW, tolerance, ROOM) else { continue };
        assert!(slab.len() <= data.len() * 2 + 9 + ENTRY_BYTES);
        assert_eq!(insert(Some(&slab), &new, fuzz::NOW, tolerance, ROOM), Err(Failure::Replay));
        let (head, entries) = slab.split_at(9);
        let owned = entries.chunks_exact(ENTRY_BYTES).filter(|one| one[16..20] == [7, 0, 0, 0]);
        assert!(owned.count() * ENTRY_BYTES <= ROOM);
        let forgotten = u64::from_le_bytes(head[1..].try_into().unwrap_or_default());
        let late = Use {
            hash: SubjectHash([8; 16]),
            owner: 8,
            since: Since::Signed(UnixMicros(forgotten)),
        };
        if !entries.chunks_exact(ENTRY_BYTES).any(|one| one[..16] == [8; 16]) {
            assert_eq!(insert(Some(&slab), &late, fuzz::NOW, HOUR, ROOM), Err(Failure::Stale));
        }
        // What is written is read back: nothing of it is over by the same rule.
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let known = SubjectHash(entry[..16].try_into().unwrap_or_default());
            let again = Use { hash: known, ..new };
            let found = insert(Some(&slab), &again, fuzz::NOW, tolerance, usize::MAX);
            assert_eq!(found, Err(Failure::Replay));
        }
    }
});
