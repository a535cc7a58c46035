//! What one subject has room for, and what nobody can fill.

use super::*;

pub(super) fn override_of(limit: &str, max: Option<u32>, version: Version) -> Register {
    let rate = max.map(|max| Rate::new(max, 1, Duration::from_secs(1)).unwrap());
    let effect = Effect::Override(Override { limit: name(limit), rate, until: None });
    Register { version, effect }
}

#[test]
fn what_has_no_effect_takes_no_room_of_a_block() {
    let mut state = State::default();
    for i in 0..100 {
        let heard = version(None, i, "a");
        assert_eq!(state.merge(lift(Some(&format!("r{i}")), heard)), Merge::Applied);
    }
    assert_eq!(state.registers().len(), IDLE_MAX, "the oldest are forgotten");
    for i in 0..100 {
        state.merge(override_of(&format!("l{i}"), Some(1), version(None, 200, "a")));
    }
    assert_eq!(state.registers().len(), IDLE_MAX + OVERRIDES_MAX);
    assert_eq!(state.merge(block("fraud", version(None, 300, "b"))), Merge::Applied);
    assert_eq!(reasons(&state), ["fraud"]);
}

#[test]
fn blocks_are_bounded_and_what_is_known_stays() {
    let mut state = State::default();
    for i in 0..BLOCKS_MAX {
        state.merge(block(&format!("r{i}"), version(None, 1, "a")));
    }
    let before = state.clone();
    assert_eq!(state.merge(block("one_more", version(None, 2, "b"))), Merge::TooManyTopics);
    assert_eq!(state, before);
    let mut both = state.clone();
    let other = merged([block("one_more", version(None, 2, "b"))]);
    assert_eq!(both.merge_state(other), Merge::TooManyTopics);
    assert_eq!(both, before, "all or nothing");
    assert_eq!(state.merge(lift(None, version(None, 3, "c"))), Merge::Applied, "always possible");
    assert_eq!(state.registers().len(), 1);
}

#[test]
fn what_is_lifted_or_ended_makes_room() {
    let mut state = State::default();
    for i in 0..BLOCKS_MAX {
        let mut ends = block(&format!("r{i}"), version(Some(1), 1, "a"));
        if let Effect::Block(block) = &mut ends.effect {
            block.until = (i == 3).then_some(UnixMicros(20));
        }
        state.merge(ends);
    }
    let before = state.clone();
    assert_eq!(state.merge(block("early", version(None, 19, "b"))), Merge::TooManyTopics);
    assert_eq!(state.merge(block("late", version(None, 20, "b"))), Merge::Applied);
    assert!(!reasons(&state).contains(&"r3") && reasons(&state).contains(&"late"));
    // A node has not heard that it is forgotten, whatever else has come meanwhile.
    let mut node = before;
    state.merge(lift(None, version(None, 0, "older")));
    assert_eq!(node.merge_state(state.clone()), Merge::Applied);
    assert_eq!(node, state);
    assert_eq!(node.merge_state(state.clone()), Merge::Duplicate);
    // An operator without sequences lifts what a publisher with sequences has set.
    state.merge(lift(None, version(None, 30, "operator")));
    for i in 0..BLOCKS_MAX {
        let heard = version(None, 31, "c");
        assert_eq!(state.merge(block(&format!("other{i}"), heard)), Merge::Applied);
    }
    assert_eq!(reasons(&state).len(), BLOCKS_MAX);
    let wire = push::State::from(&state);
    assert_eq!(State::try_from(wire), Ok(state.clone()));
    assert_eq!(State::unpack(&state.pack()), Some(state));
}

#[test]
fn a_block_that_is_overruled_needs_no_room() {
    let mut state = merged([lift(Some("late"), version(None, 9, "a"))]);
    for i in 0..BLOCKS_MAX {
        state.merge(block(&format!("r{i}"), version(None, 1, "a")));
    }
    let late = block("late", version(Some(1), 5, "b"));
    assert_eq!(state.merge(late), Merge::Applied);
    assert_eq!(reasons(&state).len(), BLOCKS_MAX);
}

#[test]
fn the_publishers_that_count_are_bounded_and_the_others_are_still_heard() {
    let mut state = State::default();
    for lane in 1..=100 {
        let sequence = Some(Sequence { lane: Lane(lane), number: u64::MAX });
        let heard = Version { sequence, ..version(None, lane, "a") };
        assert_eq!(state.merge(lift(None, heard)), Merge::Applied);
    }
    assert_eq!(state.registers().len(), LANES_MAX + 1);
    let sequence = Some(Sequence { lane: Lane(999), number: 1 });
    let last = Version { sequence, ..version(None, 101, "b") };
    assert_eq!(state.merge(block("fraud", last)), Merge::Applied);
    assert_eq!(reasons(&state), ["fraud"]);
}
