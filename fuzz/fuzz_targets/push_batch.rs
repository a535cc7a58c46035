//! The invalidator's answer, applied to a node. Whatever it was, the next poll can be sent.
#![no_main]

use gate::decide::KeyCache;
use gate::node::{Poller, Rank, Vm, join};
use libfuzzer_sys::fuzz_target;
use model::push::{Message, POLL_BYTES_MAX};

fuzz_target!(|data: &[u8]| {
    let (gate, mut memory) = (&*fuzz::GATE, fuzz::Memory::default());
    let joined = join(&mut memory, gate.config().storage, None, [5; 32]);
    assert!(joined.is_ok());
    let mut poller = Poller::new(1, "edge-1".into());
    assert!(poller.on_tick(gate.config(), &mut memory, Rank::Singleton, 1).is_some());
    let rank = Rank::Singleton;
    let vm = Vm { gate, shared: &mut memory, clock: &fuzz::Stopped, rank };
    let answer = poller.on_answer(data, vm);
    if let Ok(report) = answer {
        let next = report.next.as_ref().map_or(0, |poll| poll.encoded_len());
        assert!(next <= POLL_BYTES_MAX, "{next}");
        // Nothing is missing the second time.
        if let Some(sent) = report.next {
            let vm = Vm { gate, shared: &mut memory, clock: &fuzz::Stopped, rank };
            let again = poller.on_answer(data, vm);
            let repaired = again.map_or(0, |report| report.repaired);
            assert_eq!(repaired, 0, "{sent:?}");
        }
    }
    let _ = KeyCache::new(gate.config()).get(&mut memory);
});
