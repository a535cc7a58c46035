//! What comes beside the changes in turn: urgent changes, and checks of what should be there.

use model::state::Block;
use proptest::prelude::*;

use super::*;

/// A node that has followed the daemon, and the poll that it waits for an answer to.
fn synced(users: u32) -> (Node, Poller, Daemon, Poll) {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    for i in 0..users {
        daemon.ingest(&user(&format!("user-{i}")), blocked(&format!("evt-{i}"), i64::from(i)));
    }
    let poll = node.follow(&mut vm, &daemon);
    (node, vm, daemon, poll)
}

/// An answer that asks to check everything the daemon knows.
fn check_of(daemon: &Daemon, applied: u64, id: u64) -> Batch {
    let states = daemon.states.iter().map(|(subject, state)| change(applied, subject, state));
    Batch { id, check: states.collect(), ..daemon.batch(Kind::Heartbeat, applied, Vec::new()) }
}

/// Makes the changes what a daemon sends that is as new as the node.
fn pack(changes: &mut [push::Change]) {
    for change in changes {
        let state = State::try_from(change.state.take().unwrap()).unwrap();
        change.packed = state.pack();
    }
}

/// Empties the slab of a subject: what no part of the node ever does.
fn forget(node: &mut Node, subject: &Subject) {
    let slab = node.gate.hash_key().subject(subject.as_ref()).slab(16);
    node.memory.values.remove(&MemoryKey::Slab(slab)).unwrap();
}

#[test]
fn an_urgent_change_is_applied_and_acknowledged_ahead_of_its_turn() {
    let (mut node, mut vm, mut daemon, poll) = synced(2);
    for i in 0..9 {
        daemon.ingest(&user("crowd"), event(&format!("c-{i}"), i, lift(None)));
    }
    let alice = user("alice");
    daemon.ingest(&alice, blocked("urgent", 0));
    let urgent = vec![change(daemon.last(), &alice, &daemon.states[&alice])];
    let report =
        node.answer(&mut vm, Rank::Singleton, &Batch { id: 7, urgent, ..daemon.answer(&poll) });
    assert!(node.is_blocked(&alice));
    assert_eq!((report.urgent, report.changes, report.repaired), (1, 4, 0));
    let next = report.next.unwrap();
    assert_eq!((next.applied, next.batch), (5, 7), "its own turn is still to come");
    // A batch without an id acknowledges nothing but its sequence.
    let report = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&next));
    assert_eq!(report.next.unwrap().batch, 0);
}

#[test]
fn what_a_check_finds_missing_is_repaired_counted_and_reported_once() {
    let (mut node, mut vm, daemon, poll) = synced(5);
    let lost = user("user-3");
    forget(&mut node, &lost);
    assert!(!node.is_blocked(&lost));
    let check = check_of(&daemon, poll.applied, 1);
    let report = node.answer(&mut vm, Rank::Singleton, &check);
    assert!(report.repaired >= 1 && report.checked == 5 && report.changes == 0, "{report:?}");
    assert!(node.is_blocked(&lost));
    let next = report.next.unwrap();
    assert_eq!(next.repaired, u64::try_from(report.repaired).unwrap());
    let report = node.answer(&mut vm, Rank::Singleton, &check_of(&daemon, poll.applied, 2));
    assert_eq!((report.checked, report.repaired), (5, 0));
    assert_eq!(report.next.unwrap().repaired, next.repaired, "as many as since the start");
}

#[test]
fn a_status_that_was_altered_is_repaired() {
    let (mut node, mut vm, daemon, poll) = synced(1);
    let (subject, gate) = (user("user-0"), &node.gate);
    let hash = gate.hash_key().subject(subject.as_ref());
    let key = MemoryKey::Slab(hash.slab(16));
    let other = state([event("older", -9, lift(None))]);
    let (slab, _) = node.memory.read(key);
    let slab = slab::with_status(slab.as_deref(), hash, &other.pack(), 0, |_| false).unwrap();
    node.memory.values.insert(key, (slab, 77));
    let report = node.answer(&mut vm, Rank::Singleton, &check_of(&daemon, poll.applied, 1));
    assert_eq!(report.repaired, 1);
    assert!(node.is_blocked(&subject));
}

#[test]
fn what_an_older_module_has_stored_is_not_missing_and_is_merged_with() {
    let (mut node, mut vm, mut daemon, poll) = synced(1);
    let subject = user("user-0");
    let hash = node.gate.hash_key().subject(subject.as_ref());
    let status = push::State::from(&daemon.states[&subject]).encode_to_vec();
    let slab = slab::with_status(None, hash, &status, 0, |_| false).unwrap();
    node.memory.values.insert(MemoryKey::Slab(hash.slab(16)), (slab, 77));
    let report = node.answer(&mut vm, Rank::Singleton, &check_of(&daemon, poll.applied, 1));
    assert_eq!((report.checked, report.repaired), (1, 0));
    daemon.ingest(&subject, event("another", 1, Effect::Block(block("cooling_off"))));
    let poll = report.next.unwrap();
    node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    assert_eq!(node.stored(&subject), daemon.states[&subject]);
}

#[test]
fn what_is_over_is_not_missing() {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    let mut ended = block("fraud");
    ended.until = Some(crate::testing::at(10));
    daemon.ingest(&user("alice"), event("1", 0, Effect::Block(ended)));
    daemon.ingest(&user("bob"), event("2", 0, lift(None)));
    let poll = node.follow(&mut vm, &daemon);
    node.pass_ms(2 * 3_600_000);
    vm.on_failure(node.now());
    node.pass_ms(1_100);
    node.tick(&mut vm, Rank::Singleton).unwrap();
    let report = node.answer(&mut vm, Rank::Singleton, &check_of(&daemon, poll.applied, 1));
    assert_eq!((report.checked, report.repaired), (2, 0));
}

#[test]
fn a_check_that_cannot_be_stored_is_refused() {
    let (mut node, mut vm, daemon, poll) = synced(1);
    let slab = node.gate.hash_key().subject(user("user-0").as_ref()).slab(16);
    node.memory.values.insert(MemoryKey::Slab(slab), (vec![slab::VERSION + 1], 1));
    let report = node.answer(&mut vm, Rank::Singleton, &check_of(&daemon, poll.applied, 1));
    assert_eq!((report.checked, report.repaired, report.refused), (0, 0, 1));
    assert_eq!(report.next.unwrap().refused[0].cause, "the slab is of another version");
}

#[test]
fn a_late_answer_does_not_hide_what_a_later_one_could_not_store() {
    let (mut node, mut vm, daemon, poll) = synced(1);
    let late = check_of(&daemon, poll.applied, 1);
    // Another VM takes over, and is asked to check what it cannot store.
    node.pass_ms(1_100);
    let mut other = poller(2);
    node.tick(&mut other, Rank::Singleton).unwrap();
    let slab = node.gate.hash_key().subject(user("user-0").as_ref()).slab(16);
    let whole =
        node.memory.values.insert(MemoryKey::Slab(slab), (vec![slab::VERSION + 1], 1)).unwrap();
    let check = check_of(&daemon, poll.applied, 2);
    node.answer(&mut other, Rank::Singleton, &check);
    node.memory.values.insert(MemoryKey::Slab(slab), whole);
    // The first one gets to its answer after its lease has come back to it.
    node.pass_ms(1_100);
    node.answer(&mut vm, Rank::Singleton, &late);
    let progress = read_progress(&mut node.memory);
    assert_eq!((progress.batch, progress.refused.len()), (2, 1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Event { user: u32, what: u8, ends_s: i64 },
    Poll { checks: bool },
    Pass { s: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..6, 0u8..6, 0i64..9_000)
            .prop_map(|(user, what, ends_s)| Step::Event { user, what, ends_s }),
        4 => any::<bool>().prop_map(|checks| Step::Poll { checks }),
        1 => (1u64..4_000).prop_map(|s| Step::Pass { s }),
    ]
}

fn effect(what: u8, ends_s: i64) -> Effect {
    let until = Some(crate::testing::at(ends_s));
    match what {
        0 => Effect::Block(block("fraud")),
        1 => Effect::Block(Block { until, ..block("fraud") }),
        2 => Effect::Block(Block { until, ..block("cooling_off") }),
        3 => lift(Some("fraud")),
        4 => lift(None),
        _ => Effect::Zero(model::state::Zero { until, ..crate::testing::zero() }),
    }
}

proptest! {
    /// Checking a healthy node, whatever happens meanwhile, finds nothing to repair.
    #[test]
    fn a_healthy_node_is_never_repaired(
        steps in prop::collection::vec(any_step(), 1..120),
        sequences in prop::collection::vec(any::<bool>(), 120),
    ) {
        let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
        let mut poll = node.follow(&mut vm, &daemon);
        let mut id = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Event { user: who, what, ends_s } => {
                    let second = i64::from(u32::try_from(number * 7919 % 101).unwrap());
                    let mut event = event(&format!("e-{number}"), second, effect(what, ends_s));
                    let lane = model::state::Lane::default();
                    let sequence = model::state::Sequence { lane, number: number as u64 };
                    event.version.sequence = sequences[number].then_some(sequence);
                    daemon.ingest(&user(&format!("user-{who}")), event);
                }
                Step::Pass { s } => node.pass_ms(s * 1_000),
                Step::Poll { checks } => {
                    node.pass_ms(25);
                    let mut batch = daemon.answer(&poll);
                    if checks {
                        id += 1;
                        // What the node knows once it has applied the batch.
                        let applied = usize::try_from(batch.sequence).unwrap();
                        let behind = &daemon.log[applied..];
                        let known = daemon.states.iter().filter(|(s, _)| !behind.contains(s));
                        batch.check = known.map(|(s, state)| change(1, s, state)).collect();
                        batch.id = id;
                    }
                    if id % 2 == 0 {
                        pack(&mut batch.changes);
                        pack(&mut batch.check);
                    }
                    let report = node.answer(&mut vm, Rank::Singleton, &batch);
                    prop_assert_eq!((report.repaired, report.refused), (0, 0));
                    poll = match report.next {
                        Some(next) => next,
                        None => node.tick(&mut vm, Rank::Singleton).unwrap(),
                    };
                }
            }
        }
    }
}
