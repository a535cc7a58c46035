//! Who a request is from: cookie, claim and address, through the whole gate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::gate::{Freshness, HeadersDecision};
use policy::node::KeyCache;
use policy::response;

fuzz_target!(|data: &[u8]| {
    let [cookies, address, claim] = fuzz::parts(data);
    let (gate, mut memory) = (&*fuzz::GATE, fuzz::Memory::default());
    let request = fuzz::Arbitrary::new(cookies, address, claim);
    for _ in 0..4 {
        let (clock, mut keys) = (fuzz::Stopped, KeyCache::default());
        let decision =
            gate.decide_headers(&request, &mut memory, &clock, Freshness::Fresh, &mut keys);
        let HeadersDecision::Done(decision) = decision else { panic!("nothing is signed here") };
        let _ = response::rate_limit(gate.config(), &decision.quotas);
        assert!(decision.quotas.len() <= 3);
    }
});
