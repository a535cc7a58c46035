//! When calls fail, nodes are cut off, and workers die.

use super::*;

fn words(world: &mut World, node: usize, user: &str) -> String {
    let decision = world.nodes[node].ask(0, user, &world.time);
    decision.words(world.nodes[node].gate.config()).join(" ")
}

fn told(world: &mut World, node: usize) -> push::FleetUse {
    let now = world.now();
    link::told(&mut world.nodes[node].memory, now).unwrap()
}

#[test]
fn a_report_whose_answer_is_lost_is_sent_again_and_counted_once() {
    let mut world = World::new(&config(100, 1, local()), 2);
    world.loses_answers = true;
    assert_eq!(world.allowed(0, "alice", 40), 40);
    world.pass_ms(500);
    assert!(world.calls > 2, "{}", world.calls);
    world.loses_answers = false;
    world.pass_ms(300);
    assert_eq!(world.remaining(1, "alice"), 99);
    world.pass_ms(10);
    assert_eq!(world.remaining(1, "alice"), 58, "of 100 each node has taken what it has, once");
}

#[test]
fn a_node_that_is_cut_off_goes_on_alone_and_pays_when_it_is_back() {
    let mut world = World::new(&config(100, 1, local()), 2);
    assert_eq!(world.allowed(0, "alice", 10), 10);
    world.pass_ms(20);
    world.cut_off = true;
    assert_eq!(world.allowed(0, "alice", 50), 50);
    world.pass_ms(1_500);
    assert!(told(&mut world, 0).waiting_ms > 1_000);
    assert_eq!(world.allowed(0, "alice", 100), 41, "its replica, and what came back meanwhile");
    assert_eq!(world.allowed(1, "alice", 60), 60, "and the other one goes by what it knows");
    world.cut_off = false;
    world.pass_ms(300);
    assert_eq!(told(&mut world, 0).waiting_ms, 0);
    let both = world.allowed(0, "alice", 100) + world.allowed(1, "alice", 100);
    assert_eq!(both, 0, "the fleet has had 161 of 100");
    world.pass_ms(58_000);
    assert_eq!(world.allowed(0, "alice", 100) + world.allowed(1, "alice", 100), 0);
    world.pass_ms(2_500);
    assert!(world.allowed(0, "alice", 100) > 0, "the debt is paid");
}

#[test]
fn a_node_that_is_cut_off_for_long_is_heard_again() {
    let mut world = World::new(&config(100, 1, local()), 2);
    world.cut_off = true;
    for user in ["alice", "bob", "carol"] {
        assert_eq!(world.allowed(0, user, 20), 20);
    }
    world.pass_ms(1_500);
    let before = world.reports;
    world.pass_ms(30_000);
    assert!(world.reports - before < 400, "it asks a few times a second whether it is back");
    world.cut_off = false;
    world.pass_ms(700);
    assert_eq!(told(&mut world, 0).waiting_ms, 0);
    assert!(told(&mut world, 0).given_up > 0, "reports of more than 20 s ago");
    assert_eq!(world.allowed(0, "dave", 1), 1);
    world.pass_ms(500);
    world.is_allowed(1, "dave");
    world.pass_ms(20);
    assert_eq!(world.remaining(1, "dave"), 97);
}

#[test]
fn a_limit_may_let_nothing_through_that_the_fleet_does_not_hear_of() {
    let mut world = World::new(&config(100, 1, json!({"on_loss": "deny"})), 1);
    assert_eq!(words(&mut world, 0, "alice"), "");
    world.cut_off = true;
    world.pass_ms(20);
    assert_eq!(words(&mut world, 0, "bob"), "");
    world.pass_ms(1_200);
    assert_eq!(words(&mut world, 0, "alice"), "rule=fleet_lost");
    assert_eq!(words(&mut world, 0, "eve"), "rule=fleet_lost");
    assert_eq!(world.nodes[0].workers[0].memo.fleet.take_cut_off(), 2);
    // Longer than any report is sent again: there is nothing to report any more.
    world.pass_ms(30_000);
    assert_eq!(words(&mut world, 0, "alice"), "rule=fleet_lost");
    world.cut_off = false;
    world.pass_ms(700);
    assert_eq!(words(&mut world, 0, "alice"), "");
}

#[test]
fn a_limit_may_go_on_with_its_share() {
    let mut world = World::new(&config(100, 1, json!({"on_loss": "divide"})), 1);
    world.cut_off = true;
    assert_eq!(words(&mut world, 0, "alice"), "");
    world.pass_ms(1_200);
    assert_eq!(world.allowed(0, "bob", 100), 25, "a quarter, for there are four nodes");
}

#[test]
fn without_the_key_of_the_fleet_a_node_is_cut_off() {
    let mut world = World::new(&config(100, 1, json!({"on_loss": "deny"})), 1);
    world.nodes[0].memory = Memory::default();
    let Node { gate, memory, .. } = &mut world.nodes[0];
    link::join(memory, gate.config());
    assert_eq!(words(&mut world, 0, "alice"), "rule=fleet_lost");
    world.pass_ms(100);
    assert_eq!(world.calls, 0);
    let store = |world: &mut World, key: &push::FleetKey| {
        link::store(&mut world.nodes[0].memory, Some(key), 1)
    };
    let wrong = push::FleetKey { key: vec![1; 15], ..key() };
    assert!(store(&mut world, &wrong).is_err());
    assert!(store(&mut world, &push::FleetKey { partitions: 0, ..key() }).is_err());
    assert!(store(&mut world, &push::FleetKey { version: 0, ..key() }).is_err());
    store(&mut world, &key()).unwrap();
    let Node { workers, memory, .. } = &mut world.nodes[0];
    workers[0].memo.fleet.refresh(memory);
    assert_eq!(words(&mut world, 0, "alice"), "");
    assert_eq!(told(&mut world, 0).key_version, 7);
}

#[test]
fn what_a_worker_that_is_gone_has_sent_another_sends_again() {
    let mut world = World::new(&config(100, 1, local()), 2);
    world.cut_off = true;
    assert_eq!(world.allowed(0, "alice", 30), 30);
    world.pass_ms(10);
    world.nodes[0].workers.clear();
    world.cut_off = false;
    world.nodes[0].add_worker(77);
    world.pass_ms(1_200);
    assert!(world.is_allowed(0, "alice"));
    world.pass_ms(300);
    world.is_allowed(1, "alice");
    world.pass_ms(60);
    assert!((68..=70).contains(&world.remaining(1, "alice")));
}

#[test]
fn an_answer_to_something_else_is_none() {
    let mut world = World::new(&config(100, 1, local()), 1);
    assert!(world.is_allowed(0, "alice"));
    let now = world.now() + 10 * MS;
    let node = &mut world.nodes[0];
    let called = node.with_place(0, |reporter, place| reporter.call(place, ("edge", "ab"), now));
    let reports = called.reports.unwrap();
    let serial = reports.reports[0].serial;
    let answer = |serial| FleetAnswer { serial, epoch: None, remaining_us: 1 };
    let bodies = [
        FleetAnswers::default(),
        FleetAnswers { answers: vec![answer(serial + 1)], fleet_nodes: 1 },
        FleetAnswers { answers: vec![answer(serial), answer(serial)], fleet_nodes: 1 },
    ];
    let mut bodies: Vec<_> = bodies.iter().map(Message::encode_to_vec).collect();
    bodies.extend([vec![0xff; 9], vec![0; push::FLEET_BYTES_MAX + 1]]);
    for (round, body) in (1u64..).zip(bodies) {
        let at = now + round * 200 * MS;
        let answered =
            node.with_place(0, |reporter, place| reporter.on_answer(Some(&body), place, at));
        assert_eq!(answered, Err(Malformed), "{round}");
        let at = at + 150 * MS;
        let again = node.with_place(0, |reporter, place| reporter.call(place, ("edge", "ab"), at));
        assert_eq!(again.reports.unwrap().reports[0].serial, serial, "{round}");
    }
}

#[test]
fn calls_are_apart_and_one_at_a_time() {
    let many = json!({"on_loss": "local", "first_sights_per_second": 10_000});
    let mut world = World::new(&config(1_000, 1, many), 1);
    for round in 0..100 {
        for user in 0..20 {
            world.is_allowed(0, &format!("user-{round}-{user}"));
        }
        world.tick();
    }
    world.pass_ms(60);
    let most = 160 / CALL_GAP.as_millis() + 1;
    assert!(u128::try_from(world.calls).unwrap() <= most, "{} calls in 160 ms", world.calls);
    assert_eq!(world.reports, 2_000);
}

#[test]
fn what_is_in_no_hurry_goes_in_rounds_and_what_is_does_not_wait_for_them() {
    let many = json!({"on_loss": "local", "first_sights_per_second": 10_000});
    let mut world = World::new(&config(100, 1, many), 1);
    for user in 0..200 {
        world.is_allowed(0, &format!("user-{user}"));
        world.tick();
    }
    world.pass_ms(60);
    assert_eq!(world.reports, 200);
    // Two a round: these requests come at whole milliseconds, so also at the very instant of a round.
    assert!(world.calls <= 10, "{} calls in 260 ms", world.calls);

    let (calls, reports) = (world.calls, world.reports);
    // 5 % of a bucket that is seen for the first time: four tokens can wait.
    world.pass_ms(u64::from(world.now().is_multiple_of(50 * MS)));
    assert_eq!(world.allowed(0, "alice", 4), 4);
    world.pass_ms(2);
    assert_eq!((world.calls, world.reports), (calls, reports));
    assert_eq!(world.allowed(0, "alice", 1), 1);
    world.pass_ms(2);
    assert_eq!((world.calls, world.reports), (calls + 1, reports + 1));
}

#[test]
fn who_has_kept_to_the_limit_while_the_node_was_cut_off_owes_nothing() {
    let mut world = World::new(&config(100, 10, local()), 2);
    assert!(world.is_allowed(0, "alice"));
    world.pass_ms(20);
    world.cut_off = true;
    // Five a second, for five minutes, of ten.
    for ms in 0..300_000u64 {
        if ms % 200 == 0 {
            assert!(world.is_allowed(0, "alice"), "{ms}");
        }
        world.tick();
    }
    world.cut_off = false;
    for ms in 0..5_000u64 {
        if ms % 200 == 0 {
            assert!(world.is_allowed(0, "alice"), "{ms} ms after it is back");
        }
        world.tick();
    }
}

#[test]
fn a_node_whose_poller_was_configured_before_there_were_limits_of_the_fleet_takes_part() {
    let mut world = World::new(&config(20, 1, local()), 2);
    // The worker that polls has another configuration, without any.
    let mut config = base();
    config["storage"] = json!({"slabs": 1_024});
    let other = gate(&config);
    let memory = &mut world.nodes[1].memory;
    assert!(link::told(memory, world.time.monotonic()).is_some());
    assert_eq!(world.allowed(0, "alice", 30), 20);
    let (mut at, mut news) = (0, Vec::new());
    while news.is_empty() && at < 20 {
        at += 1;
        world.tick();
        news.extend(world.news.drain(..).map(|(_, news)| news));
    }
    let now = world.now();
    assert_eq!(hear(other.config(), &mut world.nodes[1].memory, &news, now), 1);
    assert_eq!(world.allowed(1, "alice", 30), 0);
}
