//! What nodes tell of first rejections.

use model::push::{self, FIRST_REJECTIONS_MAX};

use super::*;

fn first(event: &str, id: &str, ago_us: u64) -> push::FirstRejection {
    let subject = Some(push::Subject::from(&user(id)));
    push::FirstRejection { event_id: event.into(), subject, ago_us }
}

/// What comes of it that a node tells of these.
fn tell(
    engine: &mut Engine,
    boot: &str,
    first_rejections: Vec<push::FirstRejection>,
    ms: u64,
) -> FirstRejections {
    let poll = Poll { first_rejections, ..applied(boot, 0) };
    let Polled { ticket, .. } = engine.poll(&poll, at(ms)).unwrap();
    engine.first_rejections(&ticket, &poll, at(ms))
}

#[test]
fn each_is_news_once_for_each_node_and_has_its_instant_by_our_clock() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    let told = tell(&mut engine, "a", vec![first("1", "alice", 30_000)], 100);
    let event_id = EventId::parse("1").unwrap();
    let expected = FirstRejection { subject: user("alice"), event_id, at: at(70).wall };
    assert_eq!((told.new, told.known, told.unknown), (vec![expected], 0, 0));
    let again = tell(&mut engine, "a", vec![first("1", "alice", 130_000)], 200);
    assert_eq!((again.new.len(), again.known), (0, 1));
    let other = tell(&mut engine, "b", vec![first("1", "alice", 0)], 200);
    assert_eq!((other.new.len(), other.new[0].at), (1, at(200).wall));
}

#[test]
fn only_of_events_that_are_known_a_node_is_believed() {
    let mut engine = usual();
    engine.ingest(block("1", "alice"), at(0)).unwrap();
    engine.ingest(event("2", "alice", 5, json!({ "action": "unblock" })), at(5)).unwrap();
    let nobody = push::FirstRejection { subject: None, ..first("1", "alice", 0) };
    let cases = [
        first("unheard-of", "alice", 0),
        first("1", "bob", 0),
        first("not an id", "alice", 0),
        first("1", "alice", u64::MAX),
        nobody,
    ];
    let told = tell(&mut engine, "a", cases.to_vec(), 10);
    assert_eq!((told.new.len(), told.unknown), (0, cases.len()));
    let lifted = tell(&mut engine, "a", vec![first("1", "alice", 8_000)], 10);
    assert_eq!(lifted.new.len(), 1, "it was in force then");
    let many = vec![first("1", "alice", 0); FIRST_REJECTIONS_MAX + 1];
    let refused = engine.poll(&Poll { first_rejections: many, ..applied("a", 0) }, at(11));
    let (field, rule) = ("first_rejections", "must be at most 64");
    assert_eq!(refused.unwrap_err(), PollError::Malformed { field, rule });
}
