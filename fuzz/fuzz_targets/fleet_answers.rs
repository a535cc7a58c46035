//! The answer to a node's reports of what it took from the fleet's buckets, and a slab of its replicas. Whatever they were, no
//! other replica is lost, and what was reported is reported again unless it was answered.
#![no_main]

use fleet::replica::Replica;
use gate::decide::WorkerMemo;
use gate::fleet::reporter::{Place, Reporter};
use gate::slab::replicas::{BucketKey, find, put};
use libfuzzer_sys::fuzz_target;
use model::bucket::RateTag;
use model::hash::SubjectHash;
use model::memory::{MemoryKey, SharedMemory};

fuzz_target!(|data: &[u8]| {
    let key = |byte: u8| BucketKey { subject: SubjectHash([byte; 16]), limit: 1, rate: RateTag(2) };
    if let Ok((place, replica)) = find(data, &key(1)) {
        let other = find(data, &key(2));
        if let Ok(slab) = put(data.to_vec(), place, (&key(1), &replica), usize::MAX, 0) {
            let kept = find(&slab, &key(1)).map(|(_, replica)| replica);
            assert_eq!(kept, Ok(replica));
            // Nothing is full at the instant 0 but what has never been touched.
            let still = find(&slab, &key(2)).map(|(_, replica)| replica);
            let before = other.map(|(_, replica)| replica);
            let is_idle = before.as_ref().is_ok_and(|replica| replica.is_idle(0));
            assert!(still == before || is_idle || before.is_err());
        }
    }
    if let Some(replica) = Replica::unpack(data) {
        let mut packed = Vec::new();
        replica.pack(&mut packed);
        assert_eq!(Replica::unpack(&packed), Some(replica));
    }
    let (config, mut memory) = (fuzz::GATE.config(), fuzz::Memory::default());
    let slab = MemoryKey::FleetSlab(0);
    let (_, mark) = memory.read(slab);
    let _ = memory.write(slab, data, mark);
    let mut worker = WorkerMemo::new(config);
    let mut reporter = Reporter::new(config, 1);
    let place = &mut Place { config, shared: &mut memory, memo: &mut worker.fleet };
    assert_eq!(reporter.call(place, ("edge", "ab"), 1).reports, None);
    let _ = reporter.on_answer(Some(data), place, 2);
});
