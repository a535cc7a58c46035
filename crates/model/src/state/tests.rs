use std::time::Duration;

use super::*;
use crate::name::EventId;
use crate::push;

mod order;
pub(super) mod properties;
mod room;

/// When states are looked at.
const NOW: u64 = 50;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The number is of the publisher without a name.
fn version(number: Option<u64>, at: u64, event_id: &str) -> Version {
    let event_id = EventId::parse(event_id).unwrap();
    let sequence = number.map(|number| Sequence { lane: Lane::default(), number });
    Version { sequence, at: UnixMicros(at), event_id }
}

fn block(reason: &str, version: Version) -> Register {
    let (reason, scope) = (name(reason), Scope::All);
    Register {
        version,
        effect: Effect::Block(Block { reason, scope, until: None, disclose: false }),
    }
}

fn lift(reason: Option<&str>, version: Version) -> Register {
    Register { version, effect: Effect::Lift { reason: reason.map(name) } }
}

fn reasons(state: &State) -> Vec<&str> {
    state.blocks(UnixMicros(NOW)).map(|(block, _)| block.reason.as_str()).collect()
}

fn merged(registers: impl IntoIterator<Item = Register>) -> State {
    let mut state = State::default();
    for register in registers {
        assert_ne!(state.merge(register), Merge::TooManyTopics);
    }
    state
}

#[test]
fn an_older_event_never_undoes_a_newer_one() {
    let mut state = State::default();
    assert_eq!(state.merge(lift(None, version(None, 20, "b"))), Merge::Applied);
    assert_eq!(state.merge(block("fraud", version(None, 10, "a"))), Merge::Stale);
    assert!(reasons(&state).is_empty());
    assert_eq!(state.merge(block("fraud", version(None, 20, "b"))), Merge::Applied);
    assert_eq!(state.merge(block("fraud", version(None, 20, "a"))), Merge::Stale, "id decides");
    assert_eq!(state.merge(block("fraud", version(None, 20, "c"))), Merge::Applied);
    assert_eq!(state.merge(block("fraud", version(None, 20, "c"))), Merge::Duplicate);
    assert_eq!(reasons(&state), ["fraud"]);
}

#[test]
fn blocks_of_different_reasons_stand_side_by_side() {
    let mut state = merged([
        block("cooling_off", version(None, 1, "a")),
        block("fraud", version(None, 2, "b")),
        lift(Some("fraud"), version(None, 3, "c")),
    ]);
    assert_eq!(reasons(&state), ["cooling_off"]);
    state.merge(lift(None, version(None, 4, "d")));
    assert!(reasons(&state).is_empty());
}

#[test]
fn a_publishers_sequence_outranks_when_its_events_were_heard() {
    let state = merged([
        block("fraud", version(Some(2), 10, "a")),
        lift(Some("fraud"), version(Some(1), 20, "b")),
    ]);
    assert_eq!(reasons(&state), ["fraud"]);
}

#[test]
fn an_operator_without_sequences_can_overrule_and_be_overruled() {
    let mut state = merged([
        block("fraud", version(Some(7), 10, "a")),
        lift(None, version(None, 11, "operator")),
    ]);
    assert!(reasons(&state).is_empty());
    state.merge(block("fraud", version(Some(8), 12, "c")));
    assert_eq!(reasons(&state), ["fraud"]);
}

#[test]
fn ended_blocks_have_no_effect_and_are_forgotten_in_time() {
    let mut over = block("fraud", version(None, 1, "a"));
    if let Effect::Block(block) = &mut over.effect {
        block.until = Some(UnixMicros(500));
    }
    let mut state = merged([over, block("kyc", version(None, 2, "b"))]);
    assert_eq!(state.blocks(UnixMicros(499)).count(), 2);
    assert_eq!(state.blocks(UnixMicros(500)).count(), 1);
    let retention = Duration::from_secs(1);
    assert_eq!(state.prune(UnixMicros(1_000_500), retention), []);
    assert_eq!(state.registers().len(), 2, "not yet");
    let forgotten = state.prune(UnixMicros(1_000_501), retention);
    assert_eq!(forgotten, [(EventId::parse("a").unwrap(), UnixMicros(1_000_500))]);
    assert_eq!(state.registers().len(), 1, "a block without an end is never forgotten");
}

#[test]
fn forgetting_an_old_lift_does_not_let_a_wider_one_speak_for_it() {
    let mut state = merged([
        lift(Some("kyc"), version(Some(2), 0, "a")),
        lift(None, version(Some(0), 7, "b")),
        block("kyc", version(None, 0, "c")),
    ]);
    assert_eq!(reasons(&state), ["kyc"]);
    state.prune(UnixMicros(9), Duration::from_micros(2));
    assert_eq!(reasons(&state), ["kyc"]);
}

#[test]
fn forgetting_an_overruling_event_does_not_bring_back_what_it_overruled() {
    let mut state = merged([
        block("fraud", version(Some(7), 10, "a")),
        lift(None, version(None, 11, "operator")),
    ]);
    state.prune(UnixMicros(5_000_000), Duration::from_secs(1));
    assert!(reasons(&state).is_empty());
}
