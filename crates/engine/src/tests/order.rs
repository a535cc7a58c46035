//! Which of two events has the last word, where more is known of them than when they were heard.

use events::Event;
use model::name::Name;
use model::state::{Lane, Sequence, State};
use proptest::prelude::*;

use super::*;

/// An event as it comes in its place in the stream, heard then.
fn placed(event: &Event, ms: u64) -> Incoming {
    let incoming = Incoming::from(heard(event.clone(), ms));
    Incoming { order: Order::Placed, ..incoming }
}

fn payload(what: u8) -> serde_json::Value {
    match what % 6 {
        0 | 1 => json!({ "action": "block", "reason": "fraud" }),
        2 => json!({ "action": "block", "reason": "kyc", "scope": ["bet"] }),
        3 => json!({ "action": "unblock", "reason": "fraud" }),
        4 => json!({ "action": "zero" }),
        _ => json!({ "action": "unblock" }),
    }
}

/// One event, and how it comes to one daemon.
#[derive(Clone, Debug)]
struct Story {
    what: u8,
    sequence: Option<u64>,
    /// By how many places its entry in the stream is late.
    written_late: usize,
    /// Somebody who heard it so many milliseconds late has written it before that.
    written_wrong: Option<u64>,
    /// By how many milliseconds its stamp is wrong at each daemon that hears it live, if it does.
    live: [Option<u64>; 2],
    /// Where among all that comes it is heard live.
    turn: [u8; 2],
}

fn stories() -> impl Strategy<Value = Vec<Story>> {
    let late = || prop_oneof![2 => Just(None), 3 => Just(Some(0)), 3 => (0..90_u64).prop_map(Some)];
    let story = (
        (0..6_u8, prop::option::weighted(0.3, 1..9_u64), 0..3_usize, late()),
        [late(), late()],
        [any::<u8>(), any::<u8>()],
    );
    let story = story.prop_map(|((what, sequence, written_late, written_wrong), live, turn)| {
        Story { what, sequence, written_late, written_wrong, live, turn }
    });
    prop::collection::vec(story, 1..9)
}

/// What has an effect on alice, by the ids of the events.
fn effects(state: &State) -> Vec<String> {
    let now = at(3_000).wall;
    let mut ids: Vec<_> = state
        .in_effect(now)
        .filter(|register| register.holds())
        .map(|register| register.version.event_id.to_string())
        .collect();
    ids.sort_unstable();
    ids
}

proptest! {
    /// Whatever daemons have stamped, in whatever order they heard what: once they have the stream,
    /// the order of places decides, for them and for the nodes that have merged all they were told.
    #[test]
    fn the_order_of_places_decides_on_every_daemon_alike(stories in stories()) {
        let events: Vec<_> = stories.iter().enumerate().map(|(number, story)| {
            let mut event = event(&format!("e{number}"), "alice", 0, payload(story.what));
            let lane = Lane::of(Some(&Name::parse("risk").unwrap()));
            event.register.version.sequence =
                story.sequence.map(|number| Sequence { lane, number });
            event
        }).collect();
        let place = |number: usize| 10 * (u64::try_from(number).unwrap() + 1);
        let mut oracle = State::default();
        for (number, event) in events.iter().enumerate() {
            oracle.merge(heard(event.clone(), place(number)).register);
        }
        let mut stream: Vec<_> = stories.iter().enumerate().flat_map(|(number, story)| {
            let turn = 2 * (number + story.written_late);
            let wrong = story.written_wrong.map(|wrong| (turn, number, place(number) + wrong));
            [Some((turn + 3, number, place(number))), wrong]
        }).flatten().collect();
        stream.sort_unstable();
        for daemon in 0..2 {
            let (mut engine, mut node) = (usual(), State::default());
            let mut live: Vec<_> = (0..events.len()).collect();
            live.sort_by_key(|number| stories[*number].turn[daemon]);
            let mut live = live.into_iter().peekable();
            for (turn, (_, written, heard_at)) in stream.iter().enumerate() {
                while let Some(number) = live.peek().copied() {
                    if usize::from(stories[number].turn[daemon]) * stream.len() > turn * 256 {
                        break;
                    }
                    live.next();
                    if let Some(wrong) = stories[number].live[daemon] {
                        let event = heard(events[number].clone(), place(number) + wrong);
                        engine.ingest(event, at(1_000)).unwrap();
                        tell(&engine, &mut node);
                    }
                }
                let id = &events[*written].register.version.event_id;
                let instant = at(*heard_at).wall;
                if engine.place(&user("alice"), id, instant, at(1_000)).is_none() {
                    engine.ingest(placed(&events[*written], *heard_at), at(1_000)).unwrap();
                }
                tell(&engine, &mut node);
            }
            let state = engine.view(&user("alice"), at(1_000)).unwrap().state;
            prop_assert_eq!(effects(&state), effects(&oracle), "daemon {}", daemon);
            prop_assert_eq!(effects(&node), effects(&oracle), "its node {}", daemon);
        }
    }
}

/// A node merges what its daemon knows.
fn tell(engine: &Engine, node: &mut State) {
    if let Some(view) = engine.view(&user("alice"), at(1_000)) {
        node.merge_state(view.state);
    }
}

#[test]
fn what_is_heard_late_overrules_nothing_that_stands_behind_it_in_the_stream() {
    let lift = event("1", "alice", 0, json!({ "action": "unblock" }));
    let block = event("2", "alice", 0, json!({ "action": "block", "reason": "fraud" }));
    for lift_first in [true, false] {
        let mut engine = usual();
        // A bare unblock of 10 ms is heard at 900 ms; the block was written at 20 ms.
        engine.ingest(heard(lift.clone(), 900), at(900)).unwrap();
        let verdict = engine.ingest(heard(block.clone(), 20), at(901)).unwrap().verdict;
        assert_eq!(verdict, Verdict::Stale, "nothing better is known yet");
        let entries = [placed(&lift, 10), placed(&block, 20)];
        let entries =
            if lift_first { [0, 1] } else { [1, 0] }.map(|number| entries[number].clone());
        let done = entries.map(|entry| engine.ingest(entry, at(902)).unwrap());
        assert!(is_blocked(&engine));
        let raised: Vec<_> = done.iter().flat_map(|done| &done.restamped).collect();
        assert_eq!(raised.len(), 1, "the store has to know");
        assert_eq!((raised[0].0.as_str(), raised[0].1.0), ("2", at(900).wall.0 + 1));
        // What is said again changes nothing.
        let sequence = engine.status(at(903)).sequence;
        let again = engine.ingest(placed(&block, 20), at(903)).unwrap();
        assert_eq!((again.verdict, again.in_effect), (Verdict::Duplicate, true));
        assert_eq!(engine.status(at(903)).sequence, sequence);
    }
}

#[test]
fn what_was_heard_first_stays_first_until_both_places_are_known() {
    let lift = event("1", "alice", 0, json!({ "action": "unblock" }));
    let block = event("2", "alice", 0, json!({ "action": "block", "reason": "fraud" }));
    let mut engine = usual();
    // Both were heard late, in their order; of the block that is known first.
    engine.ingest(heard(lift.clone(), 900), at(900)).unwrap();
    engine.ingest(heard(block.clone(), 901), at(901)).unwrap();
    let sequence = engine.status(at(902)).sequence;
    engine.ingest(placed(&block, 20), at(902)).unwrap();
    assert!(is_blocked(&engine));
    engine.ingest(placed(&lift, 10), at(903)).unwrap();
    assert!(is_blocked(&engine));
    assert_eq!(engine.status(at(904)).sequence, sequence, "nothing had to be said");
    // Others may have heard them in the other order.
    let mut engine = usual();
    engine.ingest(heard(lift.clone(), 900), at(900)).unwrap();
    engine.ingest(heard(block.clone(), 901), at(901)).unwrap();
    engine.ingest(placed(&block, 20), at(902)).unwrap();
    engine.ingest(placed(&lift, 30), at(903)).unwrap();
    assert!(!is_blocked(&engine));
}

#[test]
fn an_event_that_is_handed_over_comes_after_all_that_is_known() {
    let lift = event("1", "alice", 0, json!({ "action": "unblock" }));
    let block = event("2", "alice", 0, json!({ "action": "block", "reason": "fraud" }));
    let mut engine = usual();
    engine.ingest(heard(lift, 900), at(900)).unwrap();
    // Meanwhile the daemon's idea of the time has gone back.
    let handed = Incoming { order: Order::Last, ..heard(block, 700).into() };
    let done = engine.ingest(handed, at(700)).unwrap();
    assert_eq!((done.verdict, done.in_effect), (Verdict::Applied, true));
    assert_eq!(done.register.version.at, UnixMicros(at(900).wall.0 + 1));
}

#[test]
fn what_is_overtaken_by_a_late_stamp_and_forgotten_comes_back_once_it_stands_in_redis() {
    let lift = event("lift", "alice", 0, json!({ "action": "unblock" }));
    let block = event("block", "alice", 0, json!({ "action": "block", "reason": "fraud" }));
    let mut engine = usual();
    engine.ingest(placed(&block, 20), at(900)).unwrap();
    engine.ingest(heard(lift.clone(), 900), at(900)).unwrap();
    for number in 0..40 {
        let payload = json!({ "action": "unblock", "reason": format!("r{number}") });
        let other = event(&format!("e{number}"), "alice", 0, payload);
        engine.ingest(placed(&other, 100 + number), at(901)).unwrap();
    }
    engine.ingest(placed(&lift, 10), at(902)).unwrap();
    assert!(!is_blocked(&engine), "more was overtaken than is remembered");
    let standing = Incoming { order: Order::Standing, ..placed(&block, 20) };
    let done = engine.ingest(standing.clone(), at(903)).unwrap();
    assert_eq!((done.verdict, done.in_effect, done.is_kept), (Verdict::Applied, true, true));
    assert!(is_blocked(&engine));
    assert_eq!(engine.ingest(standing, at(904)).unwrap().verdict, Verdict::Duplicate);
    // What was lifted stays so.
    let lifted = event("last", "alice", 0, json!({ "action": "unblock" }));
    engine.ingest(placed(&lifted, 905), at(905)).unwrap();
    let standing = Incoming { order: Order::Standing, ..placed(&block, 20) };
    assert!(!engine.ingest(standing, at(906)).unwrap().is_kept);
    assert!(!is_blocked(&engine));
}

#[test]
fn the_earliest_instant_is_remembered_whatever_is_written_later() {
    let lift = event("1", "alice", 0, json!({ "action": "unblock" }));
    let id = &lift.register.version.event_id;
    let mut engine = usual();
    engine.ingest(heard(lift.clone(), 20), at(20)).unwrap();
    assert_eq!(engine.heard_first(&user("alice"), id), Some(at(20).wall));
    engine.ingest(placed(&lift, 10), at(21)).unwrap();
    assert_eq!(engine.heard_first(&user("alice"), id), Some(at(10).wall));
    engine.ingest(placed(&lift, 900), at(901)).unwrap();
    assert_eq!(engine.heard_first(&user("alice"), id), Some(at(10).wall));
}

/// An event of a publisher, that says it occurred so many seconds before it is heard.
fn of(id: &str, publisher: &str, late_s: u64, payload: serde_json::Value) -> Event {
    let occurred = at(0).wall.saturating_sub(Duration::from_secs(late_s));
    let event = json!({
        "event_id": id, "event_type": "test", "schema_version": "1.0", "publisher": publisher,
        "occurred_at": occurred.to_string(), "key": { "user_id": "alice" }, "payload": payload,
    });
    Event::parse(event.to_string().as_bytes(), at(0).wall).unwrap()
}

fn heard(mut event: Event, ms: u64) -> Event {
    event.register.version.at = at(ms).wall;
    event
}

fn is_blocked(engine: &Engine) -> bool {
    let view = engine.view(&user("alice"), at(0));
    view.is_some_and(|view| view.state.blocks(at(0).wall).next().is_some())
}

#[test]
fn a_late_unblock_does_not_lift_what_its_publisher_says_came_after_it() {
    let block = of("b", "risk", 10, json!({ "action": "block" }));
    let late = of("u", "risk", 20, json!({ "action": "unblock" }));
    for both in [[(&block, 0), (&late, 5)], [(&late, 5), (&block, 0)]] {
        let mut engine = usual();
        for (event, ms) in both {
            engine.ingest(heard(event.clone(), ms), at(9)).unwrap();
        }
        assert!(is_blocked(&engine), "in any order of delivery");
    }
    let mut engine = usual();
    engine.ingest(block.clone(), at(0)).unwrap();
    let done = engine.ingest(heard(late, 5), at(5)).unwrap();
    assert_eq!((done.verdict, done.in_effect), (Verdict::Stale, false));
    assert_eq!(done.overruled_by[0].event_id, "b");
    // Of another publisher's clock nothing is known.
    let other = of("o", "support", 20, json!({ "action": "unblock" }));
    assert_eq!(engine.ingest(heard(other, 6), at(6)).unwrap().verdict, Verdict::Applied);
    assert!(!is_blocked(&engine));
}

#[test]
fn a_block_that_may_be_late_stands() {
    let mut engine = usual();
    engine.ingest(of("u", "risk", 10, json!({ "action": "unblock" })), at(0)).unwrap();
    let block = heard(of("b", "risk", 20, json!({ "action": "block" })), 5);
    assert_eq!(engine.ingest(block, at(5)).unwrap().verdict, Verdict::Applied);
    assert!(is_blocked(&engine));
}

#[test]
fn what_is_overtaken_before_it_is_written_is_dropped_once_more_when_it_is() {
    let mut engine = engine(Limits::default(), BatchBounds::default());
    let (old, new) = (event("old", "alice", 0, payload(0)), event("new", "alice", 0, payload(0)));
    let dropped = |engine: &mut Engine| -> Vec<String> {
        let all = engine.take_dropped(9).into_iter().flat_map(|dropped| dropped.event_ids);
        all.map(|id| id.to_string()).collect()
    };
    for (event, ms) in [(&old, 1), (&new, 2)] {
        engine.ingest(heard(event.clone(), ms), at(3)).unwrap();
    }
    assert_eq!(dropped(&mut engine), ["old"], "and Redis has not got it yet");
    for (event, ms) in [(&old, 1), (&new, 2)] {
        let id = &event.register.version.event_id;
        if engine.place(&user("alice"), id, UnixMicros(ms * 1_000), at(4)).is_none() {
            engine.ingest(placed(event, ms), at(4)).unwrap();
        }
    }
    assert_eq!(dropped(&mut engine), ["old"], "now it has");
}

#[test]
fn an_event_that_counts_from_later_than_it_was_answered_overrules_nothing_of_itself() {
    let mut engine = usual();
    let block = event("1", "alice", 0, json!({ "action": "block", "reason": "fraud" }));
    let last = Incoming { order: Order::Last, ..Incoming::from(heard(block.clone(), 10)) };
    let mut answer = engine.ingest(last, at(10)).unwrap();
    // It is written at an instant of Redis's clock, which is ahead.
    engine.ingest(placed(&block, 20), at(11)).unwrap();
    engine.renew(&user("alice"), &mut answer, at(12));
    assert_eq!((answer.verdict, answer.in_effect), (Verdict::Applied, true), "{answer:?}");
}
