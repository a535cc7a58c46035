use proptest::prelude::*;

use super::super::tests::properties::any_history;
use super::*;
use crate::name::{EventId, Name};
use crate::state::SCOPE_NAMES_MAX;

/// Event ids that are UUIDs, that nearly are, and others.
fn any_id() -> impl Strategy<Value = EventId> {
    let uuid = any::<[u8; UUID_BYTES]>().prop_map(|bytes| EventId::of_uuid(&bytes));
    let other = prop_oneof!["[!-~]{1,64}", "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"];
    let other = other.prop_map(|text| EventId::parse(&text).unwrap());
    prop_oneof![uuid, other]
}

fn any_time() -> impl Strategy<Value = UnixMicros> {
    let millis = (0u64..4_000_000_000_000).prop_map(|ms| UnixMicros(ms * 1_000));
    prop_oneof![millis, any::<u64>().prop_map(UnixMicros)]
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-z0-9_.-]{1,64}".prop_map(|text| Name::parse(&text).unwrap())
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop::collection::vec(any_name(), 0..=SCOPE_NAMES_MAX).prop_map(Scope::of)
}

/// Histories of the order of events, with whatever ids, times and scopes.
fn any_state() -> impl Strategy<Value = State> {
    let varied = (any_id(), any_time(), any_time(), any_scope());
    (any_history(), prop::collection::vec(varied, 14)).prop_map(|(history, varied)| {
        let mut state = State::default();
        for (mut register, (id, at, end, scope)) in history.into_iter().zip(varied) {
            register.version.event_id = id;
            register.version.at = at;
            match &mut register.effect {
                Effect::Block(block) => {
                    block.until = block.until.map(|_| end);
                    block.scope = scope;
                }
                Effect::Zero(zero) => (zero.at, zero.scope) = (end, scope),
                Effect::Lift { .. } | Effect::Override(_) => {}
            }
            state.merge(register);
        }
        state
    })
}

proptest! {
    #[test]
    fn survives_memory(state in any_state()) {
        let bytes = state.pack();
        prop_assert_eq!(State::unpack(&bytes), Some(state));
    }

    #[test]
    fn equal_states_only_are_equal_bytes(one in any_state(), other in any_state()) {
        prop_assert_eq!(one == other, one.pack() == other.pack());
    }

    #[test]
    fn what_an_older_module_has_written_is_read(state in any_state()) {
        let bytes = push::State::from(&state).encode_to_vec();
        prop_assert_eq!(State::unpack(&bytes), Some(state));
    }

    #[test]
    fn any_bytes_are_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        for first in [bytes.first().copied(), Some(SOLE), Some(first_byte(2))] {
            if let (Some(byte), Some(first)) = (bytes.first_mut(), first) {
                *byte = first;
            }
            let _ = State::is_over(&bytes, UnixMicros(50), Duration::ZERO);
            if let Some(state) = State::unpack(&bytes) {
                prop_assert_eq!(State::unpack(&state.pack()), Some(state));
            }
        }
    }

    #[test]
    fn bytes_that_are_cut_short_or_go_on_are_no_state(state in any_state(), more in any::<u8>()) {
        let mut bytes = state.pack();
        for end in 1..bytes.len() {
            prop_assert_eq!(State::unpack(&bytes[..end]), None);
        }
        if !bytes.is_empty() {
            bytes.push(more);
            prop_assert_eq!(State::unpack(&bytes), None);
        }
    }

    /// Without reading a state it is known whether all of it is over.
    #[test]
    fn is_over_once_pruning_leaves_nothing(
        state in prop_oneof![any_state(), any_history().prop_map(|history| {
            let mut state = State::default();
            history.into_iter().take(1).for_each(|register| { state.merge(register); });
            state
        })],
        now in prop_oneof![0u64..200, any::<u64>()],
        retention in 0u64..20,
    ) {
        let (now, retention) = (UnixMicros(now), Duration::from_micros(retention));
        let mut pruned = state.clone();
        pruned.prune(now, retention);
        prop_assert_eq!(State::is_over(&state.pack(), now, retention), pruned.is_empty());
    }
}

fn state_of_a_block() -> State {
    let id = "0192f3a4-5b6c-7d8e-9f00-aabbccddeeff";
    let version = Version {
        sequence: None,
        at: UnixMicros(1_800_000_000_123_000),
        event_id: EventId::parse(id).unwrap(),
    };
    let effect = Effect::Block(Block {
        reason: Name::parse("fraud").unwrap(),
        scope: Scope::All,
        until: Some(UnixMicros(1_800_000_500_123_000)),
        disclose: false,
    });
    let mut state = State::default();
    state.merge(Register { version, effect });
    state
}

#[test]
fn a_usual_block_takes_few_bytes() {
    let state = state_of_a_block();
    assert_eq!(state.pack().len(), 1 + 1 + 6 + UUID_BYTES + 6 + 1 + "fraud".len());
    assert_eq!(State::unpack(&state.pack()), Some(state));
}

/// It must fail there, and not skip to the end.
#[test]
fn a_decoder_of_protobuf_refuses_every_packed_state() {
    for count in 1..=31 {
        let bytes = [&[first_byte(count)][..], &[0; 64]].concat();
        assert!(push::State::decode(&*bytes).is_err(), "{count}");
    }
}

#[test]
fn what_is_no_known_form_is_no_state() {
    let block = state_of_a_block().pack();
    assert!(State::unpack(&block).is_some());
    for first in (0..=u8::MAX).filter(|first| *first != SOLE) {
        let bytes = [&[first], &block[1..]].concat();
        assert_eq!(State::unpack(&bytes), None, "{first:#x}");
        assert!(!State::is_over(&bytes, UnixMicros(u64::MAX), Duration::ZERO), "{first:#x}");
    }
    for bit in [KIND_BITS + 1, 0x80] {
        let tag = block[1] | bit;
        let bytes = [&[SOLE, tag], &block[2..]].concat();
        assert!(State::unpack(&bytes).is_none_or(|state| state.pack() == bytes), "{tag:#x}");
    }
    assert_eq!(State::unpack(&[FORM]), None);
}

#[test]
fn no_state_is_no_bytes() {
    assert!(State::default().pack().is_empty());
    assert_eq!(State::unpack(&[]), Some(State::default()));
    assert!(State::is_over(&[], UnixMicros(0), Duration::ZERO));
}
