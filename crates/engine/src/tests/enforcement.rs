//! Who enforces an event, asked by its id.

use model::push::{freshness, unsure};

use super::*;

fn id(text: &str) -> EventId {
    EventId::parse(text).unwrap()
}

/// How each node stands to an event, and whether that is in effect.
fn standing(engine: &Engine, event: &str, ms: u64) -> Option<(bool, Vec<(String, Enforces)>)> {
    let found = engine.enforcement(&user("alice"), &id(event), at(ms))?;
    let name = |key: &NodeKey| key.boot_id.to_string();
    Some((found.in_effect, found.nodes.iter().map(|(key, is)| (name(key), is.clone())).collect()))
}

fn one(is: Enforces) -> Option<(bool, Vec<(String, Enforces)>)> {
    Some((true, vec![("a".to_owned(), is)]))
}

#[test]
fn a_node_enforces_an_event_once_it_has_acknowledged_it() {
    let mut engine = usual();
    assert_eq!(standing(&engine, "1", 0), None);
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    assert_eq!(standing(&engine, "1", 0), Some((true, Vec::new())));
    assert_eq!(engine.applied_by_all(at(0)), None);
    ask(&mut engine, &poll("a"), 1);
    assert_eq!(standing(&engine, "1", 1), one(Enforces::NeverSynced));
    assert_eq!(engine.applied_by_all(at(1)), None);
    ask(&mut engine, &applied("a", 1), 2);
    assert_eq!(standing(&engine, "1", 2), one(Enforces::Yes));
    assert_eq!(engine.applied_by_all(at(2)), Some(1));
    engine
        .ingest(event("2", "alice", 3, json!({ "action": "block", "reason": "x" })), at(3))
        .unwrap();
    assert_eq!(standing(&engine, "2", 3), one(Enforces::Behind));
    assert_eq!(standing(&engine, "unheard-of", 3), None);
}

/// A node that has acknowledged an event and is gone; then another one that polls under its name. What is said of both.
fn succeeded(hung_up: bool) -> Option<(bool, Vec<(String, Enforces)>)> {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    ask(&mut engine, &poll("a"), 0);
    let Polled { ticket, .. } = engine.poll(&applied("a", 1), at(1)).unwrap();
    if hung_up {
        engine.hung_up(&ticket);
    }
    engine.release(&ticket);
    let later = 60_000;
    assert_eq!(standing(&engine, "1", later), one(Enforces::Gone), "nobody has its name");
    ask(&mut engine, &poll("b"), later);
    ask(&mut engine, &applied("b", 1), later + 1);
    standing(&engine, "1", later + 1)
}

#[test]
fn who_has_ended_and_has_a_successor_is_left_out_and_who_fell_silent_is_not() {
    let b = ("b".to_owned(), Enforces::Yes);
    assert_eq!(succeeded(true), Some((true, vec![b.clone()])));
    // Two processes with one name: the silent one may serve on.
    assert_eq!(succeeded(false), Some((true, vec![("a".to_owned(), Enforces::Gone), b])));
}

#[test]
fn who_polls_again_has_not_ended() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    ask(&mut engine, &poll("a"), 0);
    let Polled { ticket, .. } = engine.poll(&applied("a", 1), at(1)).unwrap();
    engine.hung_up(&ticket);
    engine.release(&ticket);
    assert!(engine.status(at(2)).nodes[0].hung_up);
    let Polled { ticket: again, .. } = engine.poll(&applied("a", 1), at(3)).unwrap();
    assert!(!engine.status(at(3)).nodes[0].hung_up);
    // What is said of the poll before comes too late.
    engine.hung_up(&ticket);
    assert!(!engine.status(at(3)).nodes[0].hung_up);
    engine.hung_up(&again);
    assert!(engine.status(at(3)).nodes[0].hung_up);
}

#[test]
fn an_event_that_is_overruled_is_not_in_effect() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    let lift = event("2", "alice", 5, json!({ "action": "unblock" }));
    engine.ingest(lift, at(5)).unwrap();
    assert_eq!(standing(&engine, "1", 5).map(|(in_effect, _)| in_effect), Some(false));
    assert_eq!(standing(&engine, "2", 5).map(|(in_effect, _)| in_effect), Some(true));
}

#[test]
fn an_event_says_whose_effect_it_has_ended() {
    let mut engine = usual();
    let mut ended = |event: Event, ms| {
        let ended = engine.ingest(event, at(ms)).unwrap().ended;
        ended.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let block = |id: &str, second, reason: &str| {
        event(id, "alice", second, json!({ "action": "block", "reason": reason }))
    };
    let none = Vec::<String>::new();
    assert_eq!(ended(block("1", 0, "fraud"), 0), none);
    assert_eq!(ended(block("2", 1, "debt"), 1), none, "both hold");
    assert_eq!(ended(block("3", 2, "fraud"), 2), ["1"], "one block of one reason");
    assert_eq!(ended(block("0", 1, "fraud"), 3), none, "it is overruled itself");
    assert_eq!(ended(event("4", "alice", 5, json!({ "action": "unblock" })), 5), ["2", "3"]);
    assert_eq!(ended(event("5", "alice", 6, json!({ "action": "unblock" })), 6), none);
}

#[test]
fn what_could_not_be_stored_or_does_nothing_is_refused_with_its_cause() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    ask(&mut engine, &poll("a"), 0);
    let idle = vec!["blocks".to_owned()];
    ask(&mut engine, &Poll { idle, ..applied("a", 1) }, 1);
    let cause = "blocks.shadow: blocks and zeros are only counted";
    assert_eq!(standing(&engine, "1", 1), one(Enforces::Refused(cause.to_owned())));
}

#[test]
fn what_a_node_does_is_what_it_says() {
    let does = |fresh: &str, stale: &str, never: &str| {
        let mut engine = usual();
        let said = Poll {
            freshness: fresh.into(),
            when_stale: stale.into(),
            when_never_synced: never.into(),
            ..poll("a")
        };
        ask(&mut engine, &said, 0);
        engine.status(at(0)).nodes[0].does
    };
    let (allow, deny, by_route) = (unsure::ALLOW, unsure::DENY, unsure::BY_ROUTE);
    assert_eq!(does(freshness::FRESH, allow, allow), Does::Enforces);
    assert_eq!(does(freshness::STALE, deny, allow), Does::DeniesStale);
    assert_eq!(does(freshness::STALE, allow, deny), Does::AllowsStale);
    assert_eq!(does(freshness::STALE, by_route, deny), Does::ByRouteStale);
    assert_eq!(does(freshness::NEVER_SYNCED, allow, deny), Does::DeniesNeverSynced);
    assert_eq!(does(freshness::NEVER_SYNCED, deny, allow), Does::AllowsNeverSynced);
    assert_eq!(does(freshness::NEVER_SYNCED, deny, by_route), Does::ByRouteNeverSynced);
    assert_eq!(does("", "", ""), Does::Unknown, "an older module");
    let wrong = Poll { freshness: "fine".into(), ..poll("a") };
    let refused = usual().poll(&wrong, at(0)).unwrap_err();
    let rule = "must be fresh, stale or never-synced";
    assert_eq!(refused, PollError::Malformed { field: "freshness", rule });
    let mut engine = usual();
    ask(&mut engine, &Poll { freshness: freshness::FRESH.into(), ..poll("a") }, 0);
    let gone = engine.status(at(60_000)).nodes[0].does;
    assert_eq!(gone, Does::Gone);
}
