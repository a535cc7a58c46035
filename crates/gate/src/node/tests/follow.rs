//! From nothing to up to date, and how fresh that makes the node.

use super::*;

fn with_blocks(daemon: &mut Daemon, users: std::ops::Range<u32>) {
    for i in users {
        daemon.ingest(&user(&format!("user-{i}")), blocked(&format!("evt-{i}"), i64::from(i)));
    }
}

#[test]
fn the_first_poll_says_who_asks() {
    let mut node = Node::new();
    let poll = node.tick(&mut poller(1), Rank::Singleton).unwrap();
    let expected = Poll {
        protocol: PROTOCOL,
        node: "edge-1".into(),
        boot_id: "05".repeat(16),
        route_groups: vec!["bet".into(), "public".into()],
        limits: vec!["per-user".into()],
        takes_extras: true,
        packed_form: 2,
        // Its one limit counts by user: nothing here reads the limits of a session.
        idle: vec!["session-buckets".into()],
        freshness: "never-synced".into(),
        when_stale: "deny".into(),
        when_never_synced: "deny".into(),
        ..Poll::default()
    };
    assert_eq!(poll, expected);
}

#[test]
fn a_snapshot_in_chunks_makes_the_node_fresh_with_its_last_one() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    with_blocks(&mut daemon, 0..8);
    let mut poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    for chunk in 0.. {
        assert_eq!(node.freshness(), Freshness::NeverSynced, "chunk {chunk}");
        let batch = daemon.answer(&poll);
        // What happens meanwhile comes after the snapshot, also about subjects it has passed.
        if chunk < 3 {
            with_blocks(&mut daemon, 8 + chunk..9 + chunk);
        }
        let report = node.answer(&mut vm, Rank::Singleton, &batch);
        assert!(report.is_snapshot && report.refused == 0 && report.changes <= 3);
        poll = report.next.unwrap();
        assert_eq!(poll.applied, 8);
        if !poll.in_snapshot {
            break;
        }
    }
    assert_eq!(node.freshness(), Freshness::Fresh);
    let report = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    assert_eq!((report.changes, report.next.unwrap().applied), (3, 11));
    for i in 0..11 {
        assert!(node.is_blocked(&user(&format!("user-{i}"))), "user-{i}");
    }
}

#[test]
fn an_empty_snapshot_is_one_chunk() {
    let (mut node, mut vm, daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let poll = node.follow(&mut vm, &daemon);
    assert_eq!((poll.epoch.as_str(), poll.applied, poll.in_snapshot), ("a", 0, false));
    assert_eq!(node.freshness(), Freshness::Fresh);
}

#[test]
fn without_a_source_the_node_has_never_synced() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    daemon.source_age_ms = None;
    with_blocks(&mut daemon, 0..2);
    let poll = node.follow(&mut vm, &daemon);
    assert!(node.is_blocked(&user("user-1")), "what is known is enforced all the same");
    assert_eq!(node.freshness(), Freshness::NeverSynced);
    daemon.source_age_ms = Some(0);
    node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    assert_eq!(node.freshness(), Freshness::Fresh);
}

#[test]
fn silence_makes_the_node_stale() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    node.follow(&mut vm, &daemon);
    let mut cache = FreshnessCache::new(Duration::from_secs(5));
    assert_eq!(cache.get(&mut node.memory, node.time.monotonic()), Freshness::Fresh);
    node.pass_ms(4_999);
    assert_eq!(cache.get(&mut node.memory, node.time.monotonic()), Freshness::Fresh);
    node.pass_ms(1);
    assert_eq!(cache.get(&mut node.memory, node.time.monotonic()), Freshness::Stale);
    // A source that is silent since 2 s is known to be, whenever the answer comes.
    daemon.source_age_ms = Some(2_000);
    vm.on_failure(node.now());
    node.pass_ms(1_000);
    let poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    assert_eq!(cache.get(&mut node.memory, node.time.monotonic()), Freshness::Fresh);
    node.pass_ms(3_000);
    assert_eq!(cache.get(&mut node.memory, node.time.monotonic()), Freshness::Stale);
}

#[test]
fn an_older_proof_of_freshness_does_not_undo_a_newer_one() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let poll = node.follow(&mut vm, &daemon);
    daemon.source_age_ms = Some(u64::MAX);
    node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    assert_eq!(node.freshness(), Freshness::Fresh);
}

#[test]
fn an_answer_that_was_long_on_its_way_is_no_proof_for_now() {
    let (mut node, mut vm, daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let poll = node.follow(&mut vm, &daemon);
    // The invalidator answers, and is gone; the thread of this VM gets to the answer later.
    let heartbeat = daemon.answer(&poll);
    node.pass_ms(60_000);
    assert_eq!(node.freshness(), Freshness::Stale);
    node.answer(&mut vm, Rank::Singleton, &heartbeat);
    assert_eq!(node.freshness(), Freshness::Stale);
}

#[test]
fn another_epoch_means_a_snapshot_and_loses_nothing() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    with_blocks(&mut daemon, 0..5);
    node.follow(&mut vm, &daemon);
    // It starts again with nothing, and hears of other users.
    let mut restarted = Daemon::new("b");
    with_blocks(&mut restarted, 5..7);
    vm.on_failure(node.now());
    let poll = node.follow(&mut vm, &restarted);
    assert_eq!((poll.epoch.as_str(), poll.applied), ("b", 2));
    for i in 0..7 {
        assert!(node.is_blocked(&user(&format!("user-{i}"))), "user-{i}");
    }
    assert_eq!(node.freshness(), Freshness::Fresh);
    restarted.ingest(&user("user-0"), event("u", 9, lift(None)));
    vm.on_failure(node.now());
    node.follow(&mut vm, &restarted);
    assert!(!node.is_blocked(&user("user-0")));
}

#[test]
fn a_heartbeat_of_another_epoch_proves_nothing() {
    for epoch in ["b", "a"] {
        let (mut node, mut vm, daemon) = (Node::new(), poller(1), Daemon::new(epoch));
        node.tick(&mut vm, Rank::Singleton).unwrap();
        node.answer(&mut vm, Rank::Singleton, &daemon.batch(Kind::Heartbeat, 0, Vec::new()));
        assert_eq!(node.freshness(), Freshness::NeverSynced);
    }
}
