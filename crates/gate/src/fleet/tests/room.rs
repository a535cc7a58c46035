//! How much of it there may be.

use ::fleet::epoch::Epoch;

use super::*;
use crate::fleet::memo::Look;
use crate::slab::replicas::BUCKET_BYTES;

/// A world of one node with 16 slabs that have room for so many buckets each.
fn tight(buckets: usize) -> World {
    let mut config = config(10, 1, local());
    config["storage"] = json!({"slabs": 16, "slab_bytes_max": BUCKET_BYTES * buckets});
    World::new(&config, 1)
}

#[test]
fn new_users_without_room_are_answered_as_configured_and_known_ones_go_on() {
    let mut world = tight(8);
    let mut refused = 0;
    for user in 0..400 {
        let decision = world.nodes[0].ask(0, &format!("user-{user}"), &world.time);
        let words = decision.words(world.nodes[0].gate.config()).join(" ");
        refused += usize::from(words == "rule=slab_full");
        assert!(words.is_empty() || words == "rule=slab_full", "{words}");
    }
    assert!(refused > 200, "{refused}");
    assert_eq!(world.allowed(0, "user-0", 20), 9, "who has a bucket keeps it");
    // Full buckets make room once they were reported.
    world.pass_ms(11_000);
    assert!(world.is_allowed(0, "somebody else"));
}

#[test]
fn news_of_strangers_take_no_more_than_half_of_the_room() {
    let mut world = tight(8);
    let (limit, now) = (world.nodes[0].gate.config().limits[0].id, world.now());
    let rate = world.nodes[0].gate.config().limits[0].rate.tag().0;
    let news = |number: u32| {
        let mut subject = [0; 16];
        subject[4..8].copy_from_slice(&number.to_le_bytes());
        let bucket = Some(push::FleetBucket { subject: subject.to_vec(), limit, rate });
        push::FleetNews { bucket, epoch: None, remaining_us: 10_000_000 }
    };
    let Node { gate, memory, .. } = &mut world.nodes[0];
    for number in 0..100 {
        hear(gate.config(), memory, &[news(number)], now);
    }
    let slab = memory.read(MemoryKey::FleetSlab(0)).0.unwrap();
    assert_eq!((slab.len() - 1) / BUCKET_BYTES, 4);
    // What is not for this node is none of its business.
    let others = [
        push::FleetNews { bucket: None, ..news(1) },
        push::FleetNews {
            bucket: Some(push::FleetBucket { limit: 1, ..news(1).bucket.unwrap() }),
            ..news(1)
        },
        push::FleetNews {
            bucket: Some(push::FleetBucket { subject: vec![1; 15], ..news(1).bucket.unwrap() }),
            ..news(1)
        },
        push::FleetNews {
            bucket: Some(push::FleetBucket { rate: 1, ..news(1).bucket.unwrap() }),
            ..news(1)
        },
    ];
    assert_eq!(hear(gate.config(), memory, &others, now), 0);
}

#[test]
fn subjects_at_first_sight_are_reported_within_their_budget() {
    let mut world =
        World::new(&config(10, 1, json!({"on_loss": "local", "first_sights_per_second": 50})), 1);
    for user in 0..500 {
        assert!(world.is_allowed(0, &format!("user-{user}")));
    }
    world.pass_ms(1_000);
    let reported = world.ledger.size().0;
    assert!((90..=110).contains(&reported), "a second's budget at once, and a second: {reported}");
    assert!(world.allowed(0, "user-0", 20) >= 9, "and who is not reported goes on");
}

#[test]
fn what_a_worker_has_in_mind_has_a_bound() {
    let mut memo = FleetMemo::default();
    let rate = Rate::new(1, 1, Duration::from_secs(1)).unwrap();
    let look = |number: u32, at| {
        let mut subject = SubjectHash([1; 16]);
        subject.0[..4].copy_from_slice(&number.to_le_bytes());
        Look { at, subject, limit: 0, rate, is_first_sight: number % 2 == 1 }
    };
    for number in 0..100_000 {
        memo.note(look(number, 5));
    }
    let mut popped = 0;
    while memo.pop(u64::MAX).is_some() {
        popped += 1;
    }
    assert_eq!(popped, crate::fleet::memo::LOOKS_MAX);
    let mut popped = 0;
    while memo.pop_first_sight(0, u64::MAX).is_some() {
        popped += 1;
    }
    assert_eq!(popped, crate::fleet::memo::FIRST_SIGHTS_MAX);
    // One bucket is in mind once: at the earliest of all times.
    for at in [9, 7, 8, 7, 3, 4] {
        memo.note(look(2, at));
    }
    assert_eq!(memo.next_at(), Some(3));
    assert_eq!(memo.pop(10).map(|look| look.at), Some(3));
    assert_eq!(memo.pop(10), None);
}

#[test]
fn a_bucket_that_is_busy_for_long_is_in_mind_once() {
    let mut world = World::new(&config(1_000, 100, local()), 1);
    for _ in 0..5_000 {
        world.is_allowed(0, "alice");
        world.tick();
    }
    let memo = &mut world.nodes[0].workers[0].memo.fleet;
    let mut looks = 0;
    while memo.pop(u64::MAX).is_some() {
        looks += 1;
    }
    assert!(looks <= 1, "{looks}");
}

#[test]
fn what_nobody_has_in_mind_makes_room_once_it_is_full_again() {
    let mut world = tight(8);
    for user in 0..200 {
        world.is_allowed(0, &format!("user-{user}"));
    }
    // The worker is gone, and nobody comes again.
    world.nodes[0].workers.clear();
    world.nodes[0].add_worker(9);
    world.pass_ms(40_000);
    let allowed = (200..300).filter(|user| world.is_allowed(0, &format!("user-{user}"))).count();
    assert!(allowed > 80, "{allowed}");
}

#[test]
fn a_flood_of_strangers_holds_up_nobody_who_is_known() {
    let fleet = json!({"on_loss": "local", "first_sights_per_second": 10});
    let mut world = World::new(&config(50, 1, fleet), 2);
    assert!(world.is_allowed(0, "alice"));
    world.pass_ms(10);
    let mut stranger = 0;
    for _ in 0..300 {
        for _ in 0..20 {
            stranger += 1;
            world.is_allowed(0, &format!("stranger-{stranger}"));
        }
        world.tick();
    }
    assert_eq!(world.allowed(0, "alice", 60), 49);
    world.pass_ms(20);
    assert_eq!(world.allowed(1, "alice", 60), 0, "the other node has heard of it");
}

#[test]
fn a_beginning_without_an_event_is_not_written() {
    let mut world = World::new(&config(10, 1, local()), 1);
    assert!(world.is_allowed(0, "alice"));
    let now = world.now() + 10 * MS;
    let node = &mut world.nodes[0];
    let called = node.with_place(0, |reporter, place| reporter.call(place, ("edge", "ab"), now));
    let report = called.reports.unwrap().reports.remove(0);
    assert_eq!((report.epoch, report.emptied, report.takes), (None, false, 1));
    assert_eq!(Epoch::default().id, 0);
}
