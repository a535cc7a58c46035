//! A slab of used requests: nothing that counts is forgotten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::hash::SubjectHash;
use policy::sign::Failure;
use policy::sign::replay::insert;
use policy::time::UnixMicros;

const ROOM: usize = 4_096;

fuzz_target!(|data: &[u8]| {
    let hash = SubjectHash([7; SubjectHash::BYTES]);
    let later = UnixMicros(fuzz::NOW.0 + 1);
    if let Ok(slab) = insert(Some(data), hash, later, fuzz::NOW, ROOM) {
        assert!(slab.len() <= ROOM);
        let again = insert(Some(&slab), hash, later, later, ROOM);
        assert_eq!(again, Err(Failure::Replay));
        for entry in data.get(1..).unwrap_or_default().chunks_exact(24) {
            let (known, end) = entry.split_at(16);
            let end = u64::from_le_bytes(end.try_into().unwrap_or_default());
            let known = SubjectHash(known.try_into().unwrap_or_default());
            let found = insert(Some(&slab), known, later, fuzz::NOW, usize::MAX);
            assert!(end < fuzz::NOW.0 || found == Err(Failure::Replay));
        }
    }
});
