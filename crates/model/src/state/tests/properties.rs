//! States against an oracle that keeps the whole history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

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
        let heard = |r: &Register| (r.version.at, r.holds(), r.version.event_id.clone());
        // What each lane says last; then, of these, what was heard last.
        let lanes: BTreeSet<_> = history.iter().map(Register::lane).collect();
        let last_words = lanes.into_iter().filter_map(|lane| {
            let in_lane = history.iter().filter(about).filter(|r| r.lane() == lane);
            in_lane.max_by_key(|r| (r.version.sequence.map(|s| s.number), heard(r)))
        });
        let winner = last_words.max_by_key(|r| heard(r));
        if let Some(Register { effect: Effect::Block(block), .. }) = winner
            && block.until.is_none_or(|until| UnixMicros(NOW) < until)
        {
            decided.insert(reason.to_string(), ());
        }
    }
    decided.into_keys().collect()
}

fn any_effect() -> impl Strategy<Value = Effect> {
    let reason = || prop::sample::select(vec!["fraud", "cooling_off", "kyc"]).prop_map(name);
    let until = || prop::option::of((0u64..100).prop_map(UnixMicros));
    let block = (reason(), any::<bool>(), until()).prop_map(|(reason, disclose, until)| {
        Effect::Block(Block { reason, scope: Scope::All, until, disclose })
    });
    let zero = (0u64..100, until()).prop_map(|(at, until)| {
        Effect::Zero(Zero { scope: Scope::All, at: UnixMicros(at), until })
    });
    let over = (0u32..9, until()).prop_map(|(max, until)| {
        // A rate of no tokens cannot be: then it is the configured one.
        let rate = Rate::new(max, 1, Duration::from_secs(1)).ok();
        Effect::Override(Override { limit: name("per-user"), rate, until })
    });
    prop_oneof![
        4 => block,
        2 => prop::option::of(reason()).prop_map(|reason| Effect::Lift { reason }),
        1 => zero,
        1 => over,
    ]
}

/// Events with ids of their own, and often the same times, publishers and sequences.
pub(in crate::state) fn any_history() -> impl Strategy<Value = Vec<Register>> {
    let one = (prop::option::of((0u64..4, 0u64..6)), 0u64..8, any_effect());
    prop::collection::vec(one, 0..14).prop_map(|events| {
        let numbered = events.into_iter().enumerate();
        numbered
            .map(|(i, (sequence, at, effect))| Register {
                version: Version {
                    sequence: sequence.map(|(lane, number)| Sequence { lane: Lane(lane), number }),
                    ..version(None, at, &format!("evt-{i}"))
                },
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

    /// Forgetting is about room only: nothing that has an effect, now or later, changes by it.
    #[test]
    fn forgetting_changes_nothing_that_has_an_effect(
        history in any_history(),
        now in 0u64..120,
        retention in 0u64..20,
    ) {
        let state = merged(history);
        let mut pruned = state.clone();
        let forgotten = pruned.prune(UnixMicros(now), Duration::from_micros(retention));
        prop_assert_eq!(pruned.registers().len() + forgotten.len(), state.registers().len());
        // Whoever forgets by these instants alone forgets nothing too early.
        prop_assert!(forgotten.iter().all(|(_, from)| *from < UnixMicros(now)));
        for later in [now, now + 5, now + 200] {
            let effects = |state: &State| {
                let effects = state.in_effect(UnixMicros(later)).map(|r| r.effect.clone());
                effects.collect::<Vec<_>>()
            };
            prop_assert_eq!(effects(&pruned), effects(&state));
        }
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
