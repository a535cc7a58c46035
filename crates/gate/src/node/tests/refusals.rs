//! What cannot be stored is reported until the invalidator has heard it; what can be is.

use model::name::Name;
use model::push::Refusal;
use model::state::{Block, SCOPE_NAMES_MAX, Scope};

use super::*;
use crate::testing::at;

/// Blocks of one user, of about 9,000 bytes in all.
const BLOCKS: usize = 16;

/// A block as long as blocks can be.
fn long(number: usize, until: Option<i64>) -> Register {
    let reason = Name::parse(&format!("{number:0>64}")).unwrap();
    let scope = Scope::of(vec![reason.clone(); SCOPE_NAMES_MAX]);
    let until = until.map(at);
    let block = Block { reason, scope, until, disclose: false };
    event(&format!("evt-{number}"), 0, Effect::Block(block))
}

/// Users that share a slab.
fn neighbors(node: &Node) -> impl Iterator<Item = Subject> + use<> {
    let key = *node.gate.hash_key();
    let users = (0..).map(|i| user(&format!("user-{i}")));
    users.filter(move |user| key.subject(user.as_ref()).slab(16) == 3)
}

/// Fills one slab with blocks, and gives a user for whom there is no room left in it.
fn crowd(node: &mut Node, daemon: &mut Daemon, until: Option<i64>) -> Subject {
    let mut users = neighbors(node);
    let bytes = 9_000;
    for subject in users.by_ref().take(slab::STATUS_BYTES_MAX / bytes + 1) {
        for number in 0..BLOCKS {
            daemon.ingest(&subject, long(number, until));
        }
    }
    users.next().unwrap()
}

#[test]
fn a_refusal_is_reported_until_it_is_delivered() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    daemon.changes_max = 1_000;
    let late = crowd(&mut node, &mut daemon, None);
    node.follow(&mut vm, &daemon);
    for number in 0..BLOCKS {
        daemon.ingest(&late, long(number, None));
    }
    vm.on_failure(node.now());
    node.pass_ms(1_100);
    let poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    daemon.changes_max = 1;
    let report = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    assert!(report.refused == 1 && report.changes == 0);
    let told = report.next.unwrap();
    let sequence = told.applied;
    let cause = "the slab has no room for another status".to_owned();
    assert_eq!(told.refused, [Refusal { sequence, cause }]);
    // That poll is lost: it is told again.
    vm.on_failure(node.now());
    node.pass_ms(1_100);
    assert_eq!(node.tick(&mut vm, Rank::Singleton).unwrap().refused, told.refused);
    // The VM is lost: its successor tells.
    node.pass_ms(1_100);
    let mut successor = poller(2);
    let poll = node.tick(&mut successor, Rank::Worker).unwrap();
    assert_eq!((poll.applied, &poll.refused), (sequence, &told.refused));
    let heartbeat = daemon.batch(Kind::Heartbeat, sequence, Vec::new());
    let next = node.answer(&mut successor, Rank::Worker, &heartbeat).next;
    let next = next.or_else(|| node.tick(&mut successor, Rank::Worker)).unwrap();
    assert_eq!(next.refused, [], "told once is enough");
}

#[test]
fn what_is_over_makes_room() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    daemon.changes_max = 1_000;
    crowd(&mut node, &mut daemon, Some(10));
    node.follow(&mut vm, &daemon);
    let used = |node: &Node| node.memory.values.values().map(|(v, _)| v.len()).max().unwrap();
    assert!(used(&node) > 30_000);
    node.pass_ms(2 * 3_600_000);
    let newcomer = neighbors(&node).nth(40).unwrap();
    daemon.ingest(&newcomer, blocked("evt", 7_000));
    vm.on_failure(node.now());
    node.follow(&mut vm, &daemon);
    assert!(node.is_blocked(&newcomer));
    assert!(used(&node) < 1_000, "ended blocks do not stay for good");
}

#[test]
fn what_was_over_long_before_it_came_is_not_kept() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let alice = user("alice");
    daemon.ingest(&alice, long(1, Some(10)));
    node.pass_ms(2 * 3_600_000);
    node.follow(&mut vm, &daemon);
    assert!(node.stored(&alice).is_empty());
}

#[test]
fn topics_that_are_over_make_room_too() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let alice = user("alice");
    for number in 0..BLOCKS {
        daemon.ingest(&alice, long(number, Some(10)));
    }
    node.follow(&mut vm, &daemon);
    node.pass_ms(2 * 3_600_000);
    // It has forgotten them, or started anew.
    let mut daemon = Daemon::new("b");
    daemon.ingest(&alice, blocked("evt", 7_000));
    vm.on_failure(node.now());
    let poll = node.follow(&mut vm, &daemon);
    assert_eq!(poll.refused, []);
    assert!(node.is_blocked(&alice));
}

#[test]
fn a_change_that_cannot_be_read_is_refused_alone() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    daemon.ingest(&user("alice"), blocked("evt", 0));
    let poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    let mut batch = daemon.answer(&poll);
    let mut without_effect = batch.changes[0].clone();
    without_effect.state.as_mut().unwrap().registers[0].effect = None;
    let nobody = push::Change { subject: None, ..batch.changes[0].clone() };
    let garbled = push::Change { packed: vec![0x0f, 0], ..batch.changes[0].clone() };
    batch.changes.splice(0..0, [without_effect, nobody, garbled]);
    let report = node.answer(&mut vm, Rank::Singleton, &batch);
    assert_eq!((report.changes, report.refused), (1, 3));
    let causes: Vec<_> = report.next.unwrap().refused.into_iter().map(|r| r.cause).collect();
    let expected = [
        "effect: must be a known effect",
        "subject: must be 1 to 256 bytes",
        "packed: must be a state in a known form",
    ];
    assert_eq!(causes, expected);
    assert!(node.is_blocked(&user("alice")));
}

#[test]
fn a_slab_of_another_version_is_refused() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let alice = user("alice");
    daemon.ingest(&alice, blocked("evt", 0));
    let slab = node.gate.hash_key().subject(alice.as_ref()).slab(16);
    node.memory.values.insert(MemoryKey::Slab(slab), (vec![slab::VERSION + 1], 1));
    let poll = node.follow(&mut vm, &daemon);
    assert_eq!(poll.refused[0].cause, "the slab is of another version");
}
