//! A slab of subjects: read, and written without losing anybody's status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::hash::SubjectHash;
use policy::slab::{STATUS_BYTES_MAX, entries, find, with_buckets, with_status};

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
    if let Ok(slab) = with_buckets(Some(data), hash, &[], 1, usize::MAX) {
        assert!(entries(Some(&slab)).all(|entry| entry.is_ok()));
    }
});
