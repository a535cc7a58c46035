//! States from the wire: merging is commutative and idempotent, also for what nobody has sent, as
//! long as one event does not say two things. Of such a pair the first that is heard stands.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::push;
use model::state::{IDLE_MAX, LANES_MAX, Register, State};
use model::time::UnixMicros;

fn read(bytes: &[u8]) -> Option<State> {
    // Both forms: a packed state is told by its first byte.
    let state = State::unpack(bytes)?;
    let is_over = State::is_over(bytes, UnixMicros(1 << 50), Duration::ZERO);
    let mut pruned = state.clone();
    pruned.prune(UnixMicros(1 << 50), Duration::ZERO);
    assert_eq!(is_over, pruned.is_empty());
    Some(state)
}

fn merged(first: &State, second: &State) -> State {
    let mut state = first.clone();
    state.merge_state(second.clone());
    state
}

fuzz_target!(|data: &[u8]| {
    let half = data.len() / 2;
    for cut in [half, usize::from(data.first().copied().unwrap_or(0)).min(data.len())] {
        let (first, second) = data.split_at(cut);
        let (Some(first), Some(second)) = (read(first), read(second)) else { continue };
        let all = || first.registers().iter().chain(second.registers());
        let agree = |one: &Register, other: &Register| one.version != other.version || one == other;
        if !all().all(|one| all().all(|other| agree(one, other))) {
            continue;
        }
        assert_eq!(State::unpack(&first.pack()).as_ref(), Some(&first));
        let wire = push::State::from(&first);
        assert!(State::try_from(wire).is_ok_and(|read| read == first));
        assert_eq!(merged(&first, &first), first);
        let mut lanes: Vec<_> = all().filter_map(|register| register.version.sequence).collect();
        lanes.sort_unstable_by_key(|sequence| sequence.lane);
        lanes.dedup_by_key(|sequence| sequence.lane);
        // Beyond these, who comes first finds room.
        if all().count() <= IDLE_MAX && lanes.len() <= LANES_MAX {
            assert_eq!(merged(&first, &second), merged(&second, &first));
        }
    }
});
