//! The order of events against what a person would say who watched all of it happen.

use proptest::prelude::*;

use super::room::override_of;
use super::*;

const SECOND: u64 = 1_000_000;
/// When stories begin: far enough from zero for clocks that are slow.
const BEGIN: u64 = 1_000_000 * SECOND;

/// One event of a story: told in real time, with what its publisher's clock said.
#[derive(Clone, Debug)]
struct Told {
    is_block: bool,
    /// Which of the publishers.
    who: usize,
    numbered: bool,
    /// Since the event before it was acknowledged, in milliseconds.
    after_ms: u64,
}

fn any_story() -> impl Strategy<Value = (Vec<Told>, Vec<i64>)> {
    let told = (any::<bool>(), 0usize..3, any::<bool>(), 1u64..10_000)
        .prop_map(|(is_block, who, numbered, after_ms)| Told { is_block, who, numbered, after_ms });
    // Seconds by which each publisher's clock is wrong, up to what is tolerated.
    let errors = prop::collection::vec(-300i64..=300, 3);
    (prop::collection::vec(told, 1..12), errors)
}

/// The events as they reach a daemon, at once, in the order in which they are published.
fn events(story: &[Told], errors: &[i64]) -> Vec<Register> {
    let mut now = BEGIN;
    let mut numbers = [0u64; 3];
    let events = story.iter().enumerate().map(|(index, told)| {
        now += told.after_ms * 1_000;
        let occurred = now.saturating_add_signed(errors[told.who] * SECOND as i64);
        numbers[told.who] += 1;
        let lane = Lane(told.who as u64 + 1);
        let sequence = told.numbered.then_some(Sequence { lane, number: numbers[told.who] });
        let lifts = Effect::Lift { reason: None };
        let at = Version::counts_from(UnixMicros(now), UnixMicros(occurred), &lifts);
        let event_id = EventId::parse(&format!("evt-{}", 99 - index)).unwrap();
        let version = Version { sequence, at, event_id };
        if told.is_block { block("fraud", version) } else { lift(None, version) }
    });
    events.collect()
}

fn is_blocked(state: &State) -> bool {
    state.blocks(UnixMicros(BEGIN)).next().is_some()
}

proptest! {
    /// Whatever the clocks say, who numbers events and who does not: the last word counts.
    #[test]
    fn what_is_published_last_is_in_effect((story, errors) in any_story()) {
        let mut state = State::default();
        for (told, event) in story.iter().zip(events(&story, &errors)) {
            state.merge(event.clone());
            prop_assert_eq!(is_blocked(&state), told.is_block);
            prop_assert_eq!(state.overruled_by(&event), None);
        }
    }

    /// And so it stays if the same events come in another order, repeatedly, to another daemon.
    #[test]
    fn another_order_of_delivery_changes_nothing(
        (events, shuffled, blocked) in any_story().prop_flat_map(|(story, errors)| {
            let events = events(&story, &errors);
            let twice: Vec<_> = events.iter().chain(&events).cloned().collect();
            let blocked = story.last().is_some_and(|told| told.is_block);
            (Just(events), Just(twice).prop_shuffle(), Just(blocked))
        }),
    ) {
        let state = merged(shuffled);
        prop_assert_eq!(is_blocked(&state), blocked);
        prop_assert_eq!(state, merged(events));
    }

    /// A publisher's number decides among its own events, however late one of them comes.
    #[test]
    fn a_late_event_of_a_publisher_that_numbers_does_not_undo_its_newer_ones(
        (story, errors) in any_story(),
        late_s in 1u64..100_000,
    ) {
        let story: Vec<_> =
            story.into_iter().map(|told| Told { who: 0, numbered: true, ..told }).collect();
        let mut events = events(&story, &errors);
        let mut late = events.remove(0);
        late.version.at = UnixMicros(BEGIN + (200 + late_s) * SECOND);
        if story.len() > 1 {
            let state = merged(events.into_iter().chain([late.clone()]));
            prop_assert_eq!(is_blocked(&state), story.last().unwrap().is_block);
            prop_assert!(state.overruled_by(&late).is_some() || !late.holds());
        }
    }
}

#[test]
fn an_event_that_is_heard_again_long_after_it_happened_counts_from_then() {
    let occurred = UnixMicros(BEGIN);
    let lifts = Effect::Lift { reason: None };
    let blocks = block("fraud", version(None, 0, "b")).effect;
    let over = override_of("l", Some(1), version(None, 0, "o")).effect;
    for (effect, late) in [(&lifts, BEGIN - 300 * SECOND), (&blocks, BEGIN + 300 * SECOND)] {
        let heard = |s: u64| Version::counts_from(UnixMicros(BEGIN + s * SECOND), occurred, effect);
        assert_eq!(heard(1), UnixMicros(BEGIN + SECOND));
        assert_eq!(heard(300), UnixMicros(BEGIN + 300 * SECOND));
        assert_eq!(heard(301), UnixMicros(late));
        assert_eq!(heard(86_400), UnixMicros(late));
        // What somebody wrote down as heard before it can have happened.
        let never = Version::counts_from(UnixMicros(0), occurred, effect);
        assert_eq!(never, UnixMicros(BEGIN - 300 * SECOND));
    }
    let late = Version::counts_from(UnixMicros(u64::MAX), occurred, &over);
    assert_eq!(late, UnixMicros(BEGIN - 300 * SECOND), "also what could loosen a limit");
}

proptest! {
    /// An unblock that was overtaken and forgotten, and is sent again as late as one likes, by a
    /// publisher whose clock was wrong: what has come since it was first heard stands. Within ten
    /// minutes of that it has to be recognized.
    #[test]
    fn an_unblock_that_is_sent_again_lifts_nothing_that_has_come_since(
        error in -300i64..=300,
        block_after in 1u64..100_000,
        again_after in 600u64..100_000,
    ) {
        let occurred = UnixMicros(BEGIN.saturating_add_signed(error * SECOND as i64));
        let effect = Effect::Lift { reason: None };
        let of = |s: u64| Version::counts_from(UnixMicros(BEGIN + s * SECOND), occurred, &effect);
        let block_at = UnixMicros(BEGIN + block_after);
        prop_assert!(of(again_after + 1) < block_at);
        prop_assert!(of(0) < block_at);
    }
}

#[test]
fn a_sequence_far_ahead_locks_nobody_out() {
    let forged = version(Some(u64::MAX), 10, "forged");
    let mut state = merged([lift(Some("fraud"), forged)]);
    // The publisher that counts so is overruled by its own number, and told so.
    let next = block("fraud", version(Some(8), 20, "next"));
    assert_eq!(state.merge(next.clone()), Merge::Stale);
    let by = state.overruled_by(&next).map(|by| by.version.event_id.as_str().to_owned());
    assert_eq!(by.as_deref(), Some("forged"));
    // Whoever publishes without a number, or under another name, is not.
    state.merge(block("fraud", version(None, 30, "operator")));
    assert_eq!(reasons(&state), ["fraud"]);
    let lane = Lane::of(Some(&name("another")));
    let version =
        Version { sequence: Some(Sequence { lane, number: 1 }), ..version(None, 40, "o") };
    state.merge(lift(None, version));
    assert!(reasons(&state).is_empty());
}

#[test]
fn of_two_heard_at_one_instant_the_block_stands() {
    let both = [block("fraud", version(None, 5, "a")), lift(None, version(None, 5, "z"))];
    assert_eq!(reasons(&merged(both.clone())), ["fraud"]);
    let [block, lift] = both;
    assert_eq!(reasons(&merged([lift, block])), ["fraud"]);
}
