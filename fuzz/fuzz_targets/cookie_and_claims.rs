//! Who a request is from: cookie, claim and address, through the whole gate.
#![no_main]

use gate::claim::Claim;
use gate::decide::{Context, Freshness, HeadersDecision, Verdict, WorkerMemo};
use gate::request::Request;
use gate::response;
use libfuzzer_sys::fuzz_target;
use model::id::can_be_in_request;

fuzz_target!(|data: &[u8]| {
    let [cookies, address, claim] = fuzz::parts(data);
    let (gate, mut memory) = (&*fuzz::GATE, fuzz::Memory::default());
    let request = fuzz::Arbitrary::new(cookies, address, claim);
    let claim = request.jwt_claim("p", "sid");
    if let Claim::Id(id) = &claim {
        assert!(can_be_in_request(std::str::from_utf8(id).expect("an id is text")));
    }
    for _ in 0..4 {
        let (clock, mut worker) = (fuzz::Stopped, WorkerMemo::default());
        let mut context = Context { shared: &mut memory, clock: &clock, worker: &mut worker };
        let decision = gate.decide_headers(&request, Freshness::Fresh, &mut context);
        let HeadersDecision::Done(decision) = decision else { panic!("nothing is signed here") };
        let _ = response::rate_limit(gate.config(), &decision.quotas);
        assert!(decision.quotas.len() <= 4);
        if decision.verdict == Verdict::Allow {
            // By their order in gate.json: whoever was seen has a bucket.
            let has_bucket = |limit| decision.quotas.iter().any(|(index, _)| *index == limit);
            assert!(
                has_bucket(0) || !is_found(cookies),
                "a reader finds a user, and the gate none"
            );
            assert_eq!(has_bucket(1), matches!(claim, Claim::Id(_)));
            assert_ne!(claim, Claim::Unusable, "what is no id is not passed over");
        }
    }
});

/// Whether a reader that separates cookies in any way that any reader does finds the user's.
fn is_found(cookies: &[u8]) -> bool {
    let parts = cookies.split(|byte| b"\n;,\t ".contains(byte));
    parts
        .filter_map(|part| part.strip_prefix(b"uid="))
        .any(|value| value.iter().any(|byte| *byte != b'"'))
}
