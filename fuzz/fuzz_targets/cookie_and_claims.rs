//! Who a request is from: cookie, claim and address, through the whole gate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::gate::Freshness;
use policy::response;

fuzz_target!(|data: &[u8]| {
    let [cookies, address, claim] = fuzz::parts(data);
    let (gate, mut memory) = (&*fuzz::GATE, fuzz::Memory::default());
    let request = fuzz::Arbitrary::new(cookies, address, claim);
    for _ in 0..4 {
        let decision = gate.decide(&request, &mut memory, &fuzz::Stopped, Freshness::Fresh);
        let _ = response::rate_limit(gate.config(), &decision.quotas);
        assert!(decision.quotas.len() <= 3);
    }
});
