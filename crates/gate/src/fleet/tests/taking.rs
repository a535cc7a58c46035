//! While everything works: one bucket for all, however its requests are spread.

use super::*;

/// One bucket that sees every request.
struct Exact {
    bucket: Bucket,
    rate: Rate,
    admitted: usize,
}

impl Exact {
    fn new(max: u32, per_second: u32) -> Self {
        let rate = Rate::new(max, per_second, Duration::from_secs(1)).unwrap();
        Self { bucket: Bucket::default(), rate, admitted: 0 }
    }

    fn ask(&mut self, now: MonotonicNanos) {
        if let Ok((bucket, _)) = self.bucket.take(&self.rate, now) {
            (self.bucket, self.admitted) = (bucket, self.admitted + 1);
        }
    }
}

/// Plays so many seconds of a request every `every_ms`, at the node that `which` names; gives what was admitted, and what one
/// exact bucket would have.
fn play(
    (max, per_second): (u32, u32),
    nodes: u8,
    (seconds, each_ms): (u64, u64),
    which: impl Fn(u64) -> usize,
) -> (usize, usize, World) {
    let mut world = World::new(&config(max, per_second, local()), nodes);
    let (mut exact, mut admitted) = (Exact::new(max, per_second), 0);
    for ms in 0..seconds * 1_000 {
        for request in 0..each_ms {
            exact.ask(world.now());
            let node = which(ms * each_ms + request) % usize::from(nodes);
            admitted += usize::from(world.is_allowed(node, "alice"));
        }
        world.tick();
    }
    (admitted, exact.admitted, world)
}

fn ratio(admitted: usize, exact: usize) -> f64 {
    admitted as f64 / exact as f64
}

#[test]
fn a_user_gets_one_bucket_wherever_the_requests_go() {
    let sticky = |_| 3;
    let rotating = |request| usize::try_from(request / 500).unwrap();
    let uniform = |request: u64| usize::try_from(request.wrapping_mul(0x9e37_79b9) >> 7).unwrap();
    let ways: [&dyn Fn(u64) -> usize; 3] = [&sticky, &rotating, &uniform];
    for (which, way) in ways.into_iter().enumerate() {
        for limit in [(100, 10), (500, 250)] {
            let (admitted, exact, _) = play(limit, 8, (15, 1), way);
            let ratio = ratio(admitted, exact);
            assert!((0.97..=1.04).contains(&ratio), "way {which}, {limit:?}: {ratio}");
        }
    }
}

#[test]
fn all_nodes_at_once_overshoot_once_and_it_is_paid_back() {
    let mut world = World::new(&config(20, 10, local()), 4);
    let at_once: usize = (0..4).map(|node| world.allowed(node, "alice", 20)).sum();
    assert_eq!(at_once, 80, "within the same instant nobody knows of the others");
    // Of three buckets too many one is kept as debt, which two seconds pay back. Then comes the first token.
    world.pass_ms(2_050);
    let meanwhile: usize = (0..4).map(|node| world.allowed(node, "alice", 20)).sum();
    assert_eq!(meanwhile, 0, "debt is paid back first");
    world.pass_ms(100);
    assert!(world.is_allowed(2, "alice"));
}

#[test]
fn an_empty_bucket_is_news_to_nodes_that_have_never_seen_the_user() {
    let mut world = World::new(&config(20, 1, local()), 3);
    assert_eq!(world.allowed(0, "alice", 30), 20);
    world.pass_ms(10);
    assert_eq!((world.allowed(1, "alice", 30), world.allowed(2, "alice", 30)), (0, 0));
    let Verdict::Deny(denial) = world.nodes[2].ask(0, "alice", &world.time).verdict else {
        panic!("not denied");
    };
    let wait = denial.retry_after.unwrap();
    assert!(wait > Duration::from_millis(950) && wait < Duration::from_millis(1_010), "{wait:?}");
    assert_eq!(denial.rate.unwrap().max_tokens(), 20);
}

#[test]
fn what_is_left_is_what_the_fleet_has_left() {
    let mut world = World::new(&config(100, 1, local()), 3);
    for node in [0, 1] {
        assert_eq!(world.allowed(node, "alice", 30), 30);
        world.pass_ms(10);
    }
    // The first look at a node is a guess; then it knows.
    assert_eq!(world.remaining(2, "alice"), 99);
    world.pass_ms(60);
    assert_eq!(world.remaining(2, "alice"), 38);
    assert_eq!(world.remaining(0, "bob"), 99);
}

#[test]
fn who_is_far_from_the_limit_costs_little() {
    // Five requests a second of ten that come back in one, for twenty seconds.
    let mut world = World::new(&config(100, 10, local()), 4);
    for ms in 0..20_000u64 {
        if ms % 200 == 0 {
            assert!(world.is_allowed(usize::try_from(ms / 200 % 4).unwrap(), "alice"));
        }
        world.tick();
    }
    assert!(world.reports <= 100, "{} reports of 100 requests", world.reports);
}

#[test]
fn all_workers_of_a_node_share_its_replica() {
    let mut world = World::new(&config(20, 1, local()), 2);
    world.nodes[0].add_worker(1);
    let mut admitted = 0;
    for round in 0..40 {
        let decision = world.nodes[0].ask(round % 2, "alice", &world.time);
        admitted += usize::from(decision.verdict == Verdict::Allow);
        world.tick();
    }
    assert_eq!(admitted, 20);
    world.pass_ms(10);
    assert_eq!(world.allowed(1, "alice", 5), 0, "all of it was reported, once");
    // The 40 ms have brought no token, and nothing is owed.
    world.pass_ms(1_000);
    assert_eq!(world.allowed(1, "alice", 5), 1);
}

#[test]
fn a_zero_empties_the_bucket_once_and_an_unblock_fills_it_once() {
    let mut world = World::new(&config(20, 1, local()), 3);
    assert_eq!(world.allowed(0, "alice", 5), 5);
    world.pass_ms(200);
    let emptied = event("z", 0, Effect::Zero(zero()));
    for node in 0..3 {
        let (node, time) = (&mut world.nodes[node], &world.time);
        node.hear("alice", [emptied.clone()], time);
    }
    for node in 0..3 {
        assert_eq!(world.allowed(node, "alice", 5), 0, "node {node}");
    }
    // Three seconds bring three tokens, and not three at each node.
    world.pass_ms(3_000);
    let mut after = 0;
    for node in [0, 1, 2, 0, 1, 2] {
        after += world.allowed(node, "alice", 1);
        world.pass_ms(20);
    }
    assert_eq!(after, 3);
    let lifted = event("l", 10, lift(None));
    for node in 0..3 {
        let (node, time) = (&mut world.nodes[node], &world.time);
        node.hear("alice", [emptied.clone(), lifted.clone()], time);
    }
    let mut filled = 0;
    for round in 0..60 {
        filled += world.allowed(round % 3, "alice", 1);
        world.pass_ms(10);
    }
    assert_eq!(filled, 20, "one bucket, once");
}

#[test]
fn a_zero_in_a_node_that_others_have_not_heard_of_yet_holds_there_too_once_they_report() {
    let mut world = World::new(&config(20, 1, local()), 2);
    assert_eq!(world.allowed(1, "alice", 1), 1);
    world.pass_ms(20);
    let (node, time) = (&mut world.nodes[0], &world.time);
    node.hear("alice", [event("z", 0, Effect::Zero(zero()))], time);
    world.pass_ms(2_100);
    assert_eq!(world.allowed(0, "alice", 5), 2);
    world.pass_ms(20);
    assert_eq!(world.allowed(1, "alice", 5), 0, "the news of an empty bucket names its beginning");
}

#[test]
fn an_override_is_a_bucket_of_its_own_for_all() {
    let mut world = World::new(&config(20, 1, local()), 2);
    assert_eq!(world.allowed(0, "alice", 30), 20);
    let rate = Rate::new(5, 1, Duration::from_secs(1)).unwrap();
    let limit = name("per-user");
    let smaller = Effect::Override(Override { limit, rate: Some(rate), until: Some(at(600)) });
    for node in 0..2 {
        let (node, time) = (&mut world.nodes[node], &world.time);
        node.hear("alice", [event("o", 0, smaller.clone())], time);
    }
    assert_eq!(world.allowed(0, "alice", 30), 5);
    world.pass_ms(10);
    assert_eq!(world.allowed(1, "alice", 30), 0);
}

#[test]
fn who_has_no_limit_for_the_fleet_touches_nothing_of_it() {
    let mut world = World::new(&base(), 1);
    world.nodes[0].memory = Memory::default();
    assert_eq!(world.allowed(0, "alice", 9), 3);
    world.pass_ms(50);
    let of_fleet = |key: &MemoryKey| matches!(key, MemoryKey::FleetSlab(_) | MemoryKey::FleetLink);
    assert!(!world.nodes[0].memory.values.keys().any(of_fleet));
    assert_eq!(world.calls, 0);
    assert_eq!(link::told(&mut world.nodes[0].memory, 1), None);
}

#[test]
fn a_lift_that_its_publisher_counts_after_a_zero_fills_the_bucket_though_it_was_heard_before() {
    let mut world = World::new(&config(20, 1, local()), 2);
    let numbered = |number, register: Register| {
        let lane = model::state::Lane::of(Some(&name("risk")));
        let sequence = Some(model::state::Sequence { lane, number });
        Register { version: model::state::Version { sequence, ..register.version }, ..register }
    };
    let emptied = numbered(7, event("z", 100, Effect::Zero(zero())));
    let lifted = numbered(8, event("l", 10, lift(None)));
    for node in 0..2 {
        let (node, time) = (&mut world.nodes[node], &world.time);
        node.hear("alice", [emptied.clone()], time);
    }
    assert_eq!(world.allowed(0, "alice", 5), 0);
    world.pass_ms(2_000);
    // It is told to Redis as well.
    assert_eq!(world.allowed(0, "alice", 1) + world.allowed(1, "alice", 1), 2);
    world.pass_ms(20);
    for node in 0..2 {
        let (node, time) = (&mut world.nodes[node], &world.time);
        node.hear("alice", [emptied.clone(), lifted.clone()], time);
    }
    let mut filled = 0;
    for round in 0..60 {
        filled += world.allowed(round % 2, "alice", 1);
        world.pass_ms(10);
    }
    assert_eq!(filled, 20);
}

/// The other one has forgotten it.
fn one_of_two_that_knows_an_unblock() -> World {
    let mut world = World::new(&config(20, 1, local()), 2);
    let (node, time) = (&mut world.nodes[0], &world.time);
    node.hear("alice", [event("l", 0, lift(None))], time);
    assert_eq!(world.allowed(0, "alice", 5), 5);
    world.pass_ms(200);
    world
}

#[test]
fn a_node_that_has_forgotten_an_unblock_is_counted_from_its_first_report_on() {
    let mut world = one_of_two_that_knows_an_unblock();
    assert_eq!(world.allowed(1, "alice", 7), 7);
    world.pass_ms(300);
    assert_eq!(world.allowed(1, "alice", 30), 8);
    world.pass_ms(10);
    assert_eq!(world.allowed(0, "alice", 30), 0);
}

#[test]
fn a_bucket_that_redis_has_forgotten_begins_with_whatever_comes_next() {
    let mut world = one_of_two_that_knows_an_unblock();
    // Redis forgets the bucket after a minute, and nodes the unblock after an hour; but one that has nothing else to write
    // has it still.
    world.time.pass(Duration::from_secs(2 * 60 * 60));
    assert_eq!(world.allowed(1, "alice", 30), 20);
    world.pass_ms(10);
    assert_eq!(world.allowed(0, "alice", 30), 0);
    world.pass_ms(90_000);
    assert_eq!(world.allowed(0, "alice", 30), 20);
    world.pass_ms(10);
    assert_eq!(world.allowed(1, "alice", 30), 0);
}
