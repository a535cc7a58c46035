//! When to poll, what counts as an answer, and who is superseded.

use model::push::{BATCH_BYTES_MAX, REFUSALS_MAX};

use super::*;

#[test]
fn one_poll_is_on_its_way_at_a_time() {
    let (mut node, mut vm, daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    assert_eq!(node.tick(&mut vm, Rank::Singleton), None);
    let next = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll)).next;
    assert!(next.is_some(), "the acknowledgement goes out at once");
    assert_eq!(node.tick(&mut vm, Rank::Singleton), None);
}

#[test]
fn an_invalidator_that_does_not_hold_polls_is_not_called_in_a_loop() {
    let (mut node, mut vm, daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let poll = node.follow(&mut vm, &daemon);
    let heartbeat = daemon.answer(&poll);
    node.pass_ms(19);
    let early = node.answer(&mut vm, Rank::Singleton, &heartbeat);
    assert_eq!(early.next, None);
    assert!(node.tick(&mut vm, Rank::Singleton).is_some(), "but on the next tick");
    node.pass_ms(20);
    assert!(node.answer(&mut vm, Rank::Singleton, &heartbeat).next.is_some());
    let again = daemon.batch(Kind::Changes, 0, Vec::new());
    assert_eq!(node.answer(&mut vm, Rank::Singleton, &again).next, None, "no further either");
}

/// How many milliseconds pass until the next poll.
fn wait_ms(node: &mut Node, vm: &mut Poller) -> u64 {
    let ticks = (1..=2_000).find(|_| {
        node.pass_ms(1);
        node.tick(vm, Rank::Singleton).is_some()
    });
    ticks.unwrap()
}

#[test]
fn failures_are_tried_again_after_a_bounded_growing_wait() {
    for holder in 0..20 {
        let (mut node, mut vm) = (Node::new(), poller(holder));
        node.tick(&mut vm, Rank::Singleton).unwrap();
        for attempt in 0..40u32 {
            vm.on_failure(node.now());
            let longest = (100u64 << attempt.min(8)).min(1_000);
            let waited = wait_ms(&mut node, &mut vm);
            assert!((longest / 2..=longest).contains(&waited), "{attempt}: {waited} ms");
        }
        let daemon = Daemon::new("a");
        node.answer(&mut vm, Rank::Singleton, &daemon.answer(&Poll::default()));
        vm.on_failure(node.now());
        assert!(wait_ms(&mut node, &mut vm) <= 100, "a success starts over");
    }
}

#[test]
fn nodes_do_not_return_in_step() {
    let waits = (0..20).map(|holder| {
        let (mut node, mut vm) = (Node::new(), poller(holder));
        vm.on_failure(node.now());
        wait_ms(&mut node, &mut vm)
    });
    assert!(waits.collect::<std::collections::BTreeSet<_>>().len() > 5);
}

#[test]
fn what_is_no_answer_changes_nothing() {
    let mut daemon = Daemon::new("a");
    daemon.ingest(&user("alice"), blocked("evt", 0));
    let (mut node, mut vm) = (Node::new(), poller(1));
    node.follow(&mut vm, &daemon);
    daemon.ingest(&user("bob"), blocked("evt", 0));
    let good = daemon.answer(&Poll { epoch: "a".into(), applied: 1, ..Poll::default() });
    let changes = vec![good.changes[0].clone(); REFUSALS_MAX + 1];
    let wrong = [
        vec![0xff; 10],
        Vec::new(),
        Batch { protocol: PROTOCOL + 1, ..good.clone() }.encode_to_vec(),
        Batch { epoch: String::new(), ..good.clone() }.encode_to_vec(),
        Batch { cursor: vec![0; BATCH_BYTES_MAX], ..good.clone() }.encode_to_vec(),
        Batch { changes, ..good.clone() }.encode_to_vec(),
    ];
    for (i, body) in wrong.iter().enumerate() {
        let before = node.memory.values.clone();
        let answer = vm.on_answer(body, node.vm(Rank::Singleton));
        assert_eq!(answer, Err(PollFailure::Malformed), "{i}");
        assert_eq!(node.memory.values, before, "{i}");
        assert_eq!(node.tick(&mut vm, Rank::Singleton), None, "not at once: {i}");
        node.pass_ms(1_000);
        assert_eq!(node.tick(&mut vm, Rank::Singleton).unwrap().applied, 1, "{i}");
    }
    node.answer(&mut vm, Rank::Singleton, &good);
    assert!(node.is_blocked(&user("bob")));
}

#[test]
fn an_answer_that_nobody_asked_for_is_ignored() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    daemon.ingest(&user("alice"), blocked("evt", 0));
    let before = node.memory.values.clone();
    let report = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&Poll::default()));
    assert_eq!(report, Report::default());
    assert_eq!(node.memory.values, before);
}

#[test]
fn a_better_placed_vm_takes_over() {
    let (mut node, mut daemon) = (Node::new(), Daemon::new("a"));
    daemon.ingest(&user("alice"), blocked("evt", 0));
    let (mut worker, mut main) = (poller(1), poller(2));
    let poll = node.tick(&mut worker, Rank::Worker).unwrap();
    assert!(node.tick(&mut main, Rank::Singleton).is_some());
    let before = node.memory.values.clone();
    let report = node.answer(&mut worker, Rank::Worker, &daemon.answer(&poll));
    assert!(report.is_superseded && report.next.is_none());
    assert_eq!(node.memory.values, before);
    assert_eq!(node.tick(&mut worker, Rank::Worker), None);
}

#[test]
fn a_vm_that_traps_is_replaced_where_it_stood() {
    let (mut node, mut daemon) = (Node::new(), Daemon::new("a"));
    daemon.ingest(&user("alice"), blocked("evt", 0));
    let (mut main, mut worker) = (poller(1), poller(2));
    node.follow(&mut main, &daemon);
    assert_eq!(node.tick(&mut worker, Rank::Worker), None);
    node.pass_ms(500);
    let poll = node.tick(&mut worker, Rank::Worker).unwrap();
    assert_eq!((poll.epoch.as_str(), poll.applied), ("a", 1), "no snapshot needed");
    assert_eq!(poll.boot_id, "05".repeat(16));
}

#[test]
fn a_late_answer_never_undoes_newer_state() {
    let (mut node, mut daemon) = (Node::new(), Daemon::new("a"));
    let alice = user("alice");
    let (mut slow, mut other) = (poller(1), poller(2));
    daemon.ingest(&alice, blocked("evt-1", 1));
    node.follow(&mut slow, &daemon);
    daemon.ingest(&alice, blocked("evt-2", 2));
    // The poll of the slow one is answered, and the answer takes its time.
    let late = daemon.answer(&Poll { epoch: "a".into(), applied: 1, ..Poll::default() });
    node.pass_ms(600);
    daemon.ingest(&alice, event("evt-3", 3, lift(None)));
    let poll = node.tick(&mut other, Rank::Worker).unwrap();
    node.answer(&mut other, Rank::Worker, &daemon.answer(&poll));
    assert!(!node.is_blocked(&alice));
    node.pass_ms(600);
    let next = node.answer(&mut slow, Rank::Worker, &late).next.unwrap();
    assert!(!node.is_blocked(&alice), "an older event never undoes a newer one");
    assert_eq!(next.applied, 3, "nor an older answer the progress");
}

#[test]
fn news_of_the_fleet_leave_no_gap_in_which_a_block_would_wait() {
    let (mut node, daemon) = (Node::new(), Daemon::new("e"));
    let mut poller = poller(1);
    node.follow(&mut poller, &daemon);
    let heartbeat = daemon.batch(Kind::Heartbeat, 0, Vec::new());
    let news = Batch { news: vec![push::FleetNews::default()], ..heartbeat.clone() };
    node.pass_ms(30);
    assert!(node.answer(&mut poller, Rank::Singleton, &heartbeat).next.is_some());
    for _ in 0..10 {
        node.pass_ms(5);
        let report = node.answer(&mut poller, Rank::Singleton, &news);
        assert!(report.next.is_some(), "the next poll goes out at once, not with the next tick");
    }
    // An invalidator that does not hold polls is not called in a loop, whatever it says.
    node.pass_ms(3);
    assert_eq!(node.answer(&mut poller, Rank::Singleton, &news).next, None);
    node.pass_ms(50);
    node.tick(&mut poller, Rank::Singleton).unwrap();
    node.pass_ms(5);
    assert_eq!(node.answer(&mut poller, Rank::Singleton, &heartbeat).next, None);
}
