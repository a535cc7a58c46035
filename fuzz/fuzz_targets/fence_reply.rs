//! Replies to a question, as anybody may write them to Redis: whatever they say, nothing is enforced everywhere before the
//! daemon that is registered has said so itself, of each of its Envoys.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use fuzz::fence::{Heard, Members, Reply, Said, SaidState, Tally};
use libfuzzer_sys::fuzz_target;

/// The run of the daemon that is registered.
const RUN: &str = "r";

fuzz_target!(|data: &[u8]| {
    let mut members = Members { settled: true, ..Members::default() };
    members.include(RUN, &Default::default());
    let mut tally = Tally::default();
    tally.expect(Arc::new(members), Duration::ZERO);
    let mut last: Option<Said> = None;
    for line in data.split(|byte| *byte == b'\n') {
        let Some(reply) = Reply::read(line) else { continue };
        for answer in &reply.answers {
            let Ok(said) = serde_json::from_str::<Said>(&answer.said) else { continue };
            if reply.run == RUN && !last.as_ref().is_some_and(|last| last.settled) {
                last = Some(said.clone());
            }
            let (run, daemon) = (reply.run.clone(), reply.daemon.clone());
            let region = reply.region.clone();
            tally.hear(Heard { run, daemon, region, said, is_vouched: true }, Duration::ZERO);
        }
    }
    let result = tally.result(Duration::from_millis(1));
    assert_eq!(result.enforced_everywhere, result.missing.is_empty() && !result.nodes.is_empty());
    if result.enforced_everywhere {
        let said = last.expect("the daemon that is registered has said something");
        assert!(said.known && (said.in_effect || said.nodes.is_empty()));
        let elsewhere = |boot: &str| result.nodes.iter().any(|node| node.boot_id == boot);
        assert!(said.nodes.iter().all(|node| {
            node.state == SaidState::Enforced
                || (node.state == SaidState::Gone && elsewhere(&node.boot_id))
        }));
    }
});
