use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::push;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn version(sequence: Option<u64>, occurred_at: u64, event_id: &str) -> Version {
    let event_id = EventId::parse(event_id).unwrap();
    Version { sequence, occurred_at: UnixMicros(occurred_at), event_id }
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
    state.blocks(UnixMicros(1_000)).map(|(block, _)| block.reason.as_str()).collect()
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
    assert_eq!(state.merge(block("fraud", version(None, 20, "a"))), Merge::Stale, "id decides");
    assert!(reasons(&state).is_empty());
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
fn a_sequence_outranks_the_clock() {
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
    state.prune(UnixMicros(1_000_500), retention);
    assert_eq!(state.registers().len(), 2, "not yet");
    state.prune(UnixMicros(1_000_501), retention);
    assert_eq!(state.registers().len(), 1, "a block without an end is never forgotten");
}

#[test]
fn topics_are_bounded_and_what_is_known_stays() {
    let mut state = State::default();
    for i in 0..REGISTERS_MAX {
        state.merge(block(&format!("r{i}"), version(None, 1, "a")));
    }
    let before = state.clone();
    assert_eq!(state.merge(block("one_more", version(None, 2, "b"))), Merge::TooManyTopics);
    assert_eq!(state, before);
    assert_eq!(state.merge(lift(None, version(None, 3, "c"))), Merge::Applied, "always possible");
    assert_eq!(state.registers().len(), 1);
}

/// What an event means, told naively: the whole history is kept and read anew.
fn oracle_reasons(history: &[Register]) -> Vec<String> {
    let mut decided = BTreeMap::new();
    let mentioned = history.iter().filter_map(|register| match &register.effect {
        Effect::Block(block) => Some(block.reason.clone()),
        _ => None,
    });
    for reason in mentioned {
        let about = |register: &&Register| match &register.effect {
            Effect::Block(block) => block.reason == reason,
            Effect::Lift { reason: Some(lifted) } => *lifted == reason,
            Effect::Lift { reason: None } => true,
            _ => false,
        };
        let newest = |sequenced: bool| {
            let same_sort = |r: &&Register| r.version.sequence.is_some() == sequenced;
            history.iter().filter(about).filter(same_sort).max_by_key(|r| {
                let v = &r.version;
                (v.sequence, v.occurred_at, v.event_id.clone())
            })
        };
        let winner = [newest(true), newest(false)]
            .into_iter()
            .flatten()
            .max_by_key(|r| (r.version.occurred_at, r.version.event_id.clone()));
        if let Some(Register { effect: Effect::Block(_), .. }) = winner {
            decided.insert(reason.to_string(), ());
        }
    }
    decided.into_keys().collect()
}

fn any_effect() -> impl Strategy<Value = Effect> {
    let reason = || prop::sample::select(vec!["fraud", "cooling_off", "kyc"]).prop_map(name);
    let block = (reason(), any::<bool>()).prop_map(|(reason, disclose)| {
        Effect::Block(Block { reason, scope: Scope::All, until: None, disclose })
    });
    let zero = (0u64..100)
        .prop_map(|at| Effect::Zero(Zero { scope: Scope::All, at: UnixMicros(at), until: None }));
    let over = (1u32..9).prop_map(|max| {
        let rate = Rate::new(max, 1, Duration::from_secs(1)).ok();
        Effect::Override(Override { limit: name("per-user"), rate, until: None })
    });
    prop_oneof![
        4 => block,
        2 => prop::option::of(reason()).prop_map(|reason| Effect::Lift { reason }),
        1 => zero,
        1 => over,
    ]
}

/// Events with ids of their own, and often the same times and sequences.
fn any_history() -> impl Strategy<Value = Vec<Register>> {
    let one = (prop::option::of(0u64..6), 0u64..8, any_effect());
    prop::collection::vec(one, 0..14).prop_map(|events| {
        let numbered = events.into_iter().enumerate();
        numbered
            .map(|(i, (sequence, occurred_at, effect))| Register {
                version: version(sequence, occurred_at, &format!("evt-{i}")),
                effect,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn any_order_and_any_repeats_give_the_same_state(
        (history, shuffled) in any_history().prop_flat_map(|history| {
            let twice: Vec<_> = history.iter().chain(&history).cloned().collect();
            (Just(history), Just(twice).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(merged(history), merged(shuffled));
    }

    #[test]
    fn states_merge_like_their_events(history in any_history(), split in 0usize..14) {
        let (left, right) = history.split_at(split.min(history.len()));
        let mut state = merged(left.to_vec());
        state.merge_state(merged(right.to_vec()));
        prop_assert_eq!(&state, &merged(history));
        prop_assert_eq!(state.clone().merge_state(state.clone()), Merge::Duplicate);
    }

    #[test]
    fn agrees_with_reading_the_whole_history(history in any_history()) {
        let state = merged(history.clone());
        prop_assert_eq!(reasons(&state), oracle_reasons(&history));
    }

    #[test]
    fn survives_the_wire(history in any_history()) {
        let state = merged(history);
        let bytes = push::Message::encode_to_vec(&push::State::from(&state));
        let read: push::State = push::Message::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(State::try_from(read), Ok(state));
    }

    #[test]
    fn any_bytes_from_the_wire_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(wire) = <push::State as push::Message>::decode(bytes.as_slice()) {
            let _ = State::try_from(wire);
        }
    }
}
