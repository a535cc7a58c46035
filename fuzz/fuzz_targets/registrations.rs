//! Registrations of daemons, as anybody may write them to Redis: one field a line, its name before the first tab. Nobody
//! who is there is left out, and nothing is enforced everywhere by what is registered alone.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use fuzz::fence::{DAEMONS_MAX, Members, Tally, remembered};
use fuzz::wire::DaemonState;
use libfuzzer_sys::fuzz_target;

const NOW_MS: u64 = fuzz::NOW_S * 1_000;

fuzz_target!(|data: &[u8]| {
    let field = |line: &[u8]| {
        let mut parts = line.splitn(2, |byte| *byte == b'\t');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        (name, parts.next().unwrap_or_default().to_vec())
    };
    let raw: Vec<_> = data.split(|byte| *byte == b'\n').map(field).collect();
    let members = Members::read(&raw, NOW_MS);
    let is_field = |run: &str| ["since", "clock", "full"].contains(&run);
    let runs = raw.iter().filter(|(run, _)| !is_field(run)).count();
    assert_eq!(members.daemons.len() + members.forgotten.len(), runs.min(DAEMONS_MAX));
    for one in &members.daemons {
        assert!(!one.said.name.is_empty() || one.run.is_empty());
        let is_there = matches!(one.state, DaemonState::Live | DaemonState::Unreadable);
        assert!(!is_there || one.gone_since.is_none());
    }
    for one in remembered(&raw, NOW_MS, "own") {
        assert!(one.run != "own" && !is_field(&one.run));
    }
    let equal = members.equal_names();
    let fleet = members.clone().fleet();
    assert_eq!(fleet.equal_names, equal);
    let mut tally = Tally::default();
    tally.expect(Arc::new(members), Duration::ZERO);
    let result = tally.result(Duration::ZERO);
    assert!(!result.enforced_everywhere && !tally.is_complete());
});
