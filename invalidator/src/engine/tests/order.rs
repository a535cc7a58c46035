//! Which of two events has the last word, where more is known of them than when they were heard.

use policy::event::Event;

use super::*;

/// An event as it comes in its place in the stream, heard then.
fn placed(event: &Event, ms: u64) -> Incoming {
    let mut incoming = Incoming::from(event.clone());
    let heard = at(ms).wall;
    incoming.event.register.version.at = heard;
    Incoming { placed: Some(heard), ..incoming }
}

#[test]
fn what_follows_in_the_stream_is_newer_than_what_came_late_and_has_passed_there() {
    let block = event("1", "alice", 0, json!({ "action": "block", "reason": "fraud" }));
    let lift = event("2", "alice", 0, json!({ "action": "unblock" }));
    for passed in [true, false] {
        let mut engine = usual();
        // Written at 10 ms, and heard here at 900 ms.
        let mut late = Incoming::from(block.clone());
        late.event.register.version.at = at(900).wall;
        let id = engine.ingest(late, at(900)).unwrap().event_id;
        if passed {
            engine.place(&user("alice"), &id, at(10).wall);
        }
        let verdict = engine.ingest(placed(&lift, 20), at(901)).unwrap().verdict;
        assert_eq!(verdict, if passed { Verdict::Applied } else { Verdict::Stale });
    }
    // What is heard before it stays before it, wherever it stands in the stream.
    let mut engine = usual();
    engine.ingest(placed(&block, 30), at(30)).unwrap();
    assert_eq!(engine.ingest(placed(&lift, 20), at(40)).unwrap().verdict, Verdict::Stale);
    // An old event that is written again counts from when it counts, and no later.
    let other = event("3", "alice", 0, json!({ "action": "unblock" }));
    let mut old = placed(&other, 50);
    old.event.register.version.at = at(0).wall;
    assert_eq!(engine.ingest(old, at(60)).unwrap().verdict, Verdict::Stale);
}

#[test]
fn what_came_together_with_an_older_event_that_was_heard_late_finds_its_place() {
    let block = event("1", "alice", 0, json!({ "action": "block" }));
    let lift = event("2", "alice", 0, json!({ "action": "unblock" }));
    let mut engine = usual();
    // A bare block of 10 ms and a written unblock of 20 ms, both heard here at 900 ms.
    let id = engine.ingest(heard(block, 900), at(900)).unwrap().event_id;
    engine.ingest(heard(lift.clone(), 20), at(900)).unwrap();
    assert!(is_blocked(&engine), "nothing better is known yet");
    // The stream has them in their places.
    engine.place(&user("alice"), &id, at(10).wall);
    let known = engine.digest();
    assert_eq!(engine.ingest(placed(&lift, 20), at(901)).unwrap().verdict, Verdict::Applied);
    assert!(!is_blocked(&engine));
    let after = engine.digest();
    assert!(after.count <= known.count + 1);
    assert_eq!(engine.ingest(placed(&lift, 20), at(902)).unwrap().verdict, Verdict::Duplicate);
    assert_eq!(engine.digest(), after);
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
