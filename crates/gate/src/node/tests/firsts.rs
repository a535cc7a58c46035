//! The first rejected request of each event: noted once, told until it is heard, and bounded.

use model::hash::SubjectHash;
use model::name::EventId;
use model::push::FIRST_REJECTIONS_MAX;
use model::testing::{block, zero};

use super::*;
use crate::node::firsts::{self, WAITING_MAX};
use crate::node::{Noted, Rejected, note_rejection};

fn id(text: &str) -> EventId {
    EventId::parse(text).unwrap()
}

impl Node {
    fn hash(&self, subject: &Subject) -> SubjectHash {
        self.gate.hash_key().subject(subject.as_ref())
    }

    /// A worker has rejected a request because of an event.
    fn reject(&mut self, subject: &Subject, event: &str) -> Noted {
        let mark = self.gate.hash_key().event(self.hash(subject), &id(event));
        let rejected = Rejected { mark, event_id: &id(event), at: self.now() };
        note_rejection(&mut self.memory, rejected, || Some(subject.clone()))
    }

    fn waiting(&mut self) -> Vec<push::FirstRejection> {
        let now = self.now();
        firsts::to_tell(&mut self.memory, now)
    }
}

/// A node that knows all that the daemon knows, and the poll that it waits for an answer to.
fn synced() -> (Node, Poller, Daemon, Poll) {
    let (mut node, mut vm, mut daemon) = (Node::new(), poller(1), Daemon::new("a"));
    daemon.ingest(&user("old"), blocked("old", 0));
    let poll = node.follow(&mut vm, &daemon);
    (node, vm, daemon, poll)
}

#[test]
fn the_first_rejection_is_noted_once_and_told_until_a_poll_with_it_is_answered() {
    let (mut node, mut vm, mut daemon, poll) = synced();
    let alice = user("alice");
    daemon.ingest(&alice, blocked("evt", 0));
    let next = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll)).next.unwrap();
    assert_eq!(next.first_rejections, []);
    assert_eq!(node.reject(&alice, "evt"), Noted::First);
    assert_eq!(node.reject(&alice, "evt"), Noted::Not, "another worker");
    node.pass_ms(3);
    vm.on_failure(node.now());
    node.pass_ms(1_000);
    let poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    let (subject, ago_us) = (Some(push::Subject::from(&alice)), 1_003_000);
    let first = push::FirstRejection { event_id: "evt".into(), subject, ago_us };
    assert_eq!(poll.first_rejections, [first]);
    // That poll is lost as well, and so is the VM that has sent it.
    let mut other = poller(2);
    node.pass_ms(500);
    let poll = node.tick(&mut other, Rank::Singleton).unwrap();
    assert_eq!(poll.first_rejections[0].ago_us, 1_503_000);
    let next = node.answer(&mut other, Rank::Singleton, &daemon.answer(&poll)).next;
    let next = next.expect("the next poll goes at once, since this answer was not held");
    assert_eq!(next.first_rejections, []);
    assert_eq!(node.reject(&alice, "evt"), Noted::Not, "it is no more the first");
}

#[test]
fn only_what_comes_to_a_node_that_knows_all_is_awaited() {
    let (mut node, mut vm, mut daemon, poll) = synced();
    assert_eq!(node.reject(&user("old"), "old"), Noted::Not, "there before");
    let alice = user("alice");
    daemon.ingest(&alice, event("o", 1, Effect::Override(crate::testing::rate_of(1))));
    daemon.ingest(&alice, event("z", 2, Effect::Zero(zero())));
    let poll = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll)).next.unwrap();
    assert_eq!(node.reject(&alice, "o"), Noted::Not, "it rejects nobody");
    assert_eq!(node.reject(&alice, "z"), Noted::First);
    daemon.ingest(&alice, blocked("b", 3));
    let poll = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll)).next.unwrap();
    assert_eq!(node.reject(&alice, "z"), Noted::Not, "it has come again, with the state");
    assert_eq!(node.reject(&alice, "b"), Noted::First);
    // What a check repairs was there before.
    let check = vec![change(9, &user("carol"), &state([blocked("c", 4)]))];
    let batch = Batch { check, ..daemon.batch(Kind::Heartbeat, poll.applied, Vec::new()) };
    node.answer(&mut vm, Rank::Singleton, &batch);
    assert!(node.is_blocked(&user("carol")));
    assert_eq!(node.reject(&user("carol"), "c"), Noted::Not);
}

#[test]
fn of_workers_that_reject_at_once_one_is_the_first() {
    let (mut node, mut vm, mut daemon, poll) = synced();
    let alice = user("alice");
    daemon.ingest(&alice, blocked("evt", 0));
    node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    let intruder: Intruder = Box::new(|values| {
        for (key, (value, mark)) in values.iter_mut() {
            if matches!(key, MemoryKey::Awaited(_)) {
                (*value, *mark) = (Vec::new(), *mark + 1_000);
            }
        }
    });
    node.memory.intruder = Some(intruder);
    assert_eq!(node.reject(&alice, "evt"), Noted::Not);
    assert_eq!(node.waiting(), []);
}

#[test]
fn a_crowd_of_blocked_users_takes_bounded_memory_and_what_is_left_out_stays_so() {
    let (mut node, mut vm, mut daemon, mut poll) = synced();
    daemon.changes_max = 500;
    let crowd: Vec<Subject> = (0..6_000).map(|i| user(&format!("user-{i}"))).collect();
    for subject in &crowd {
        daemon.ingest(subject, event("evt", 0, Effect::Block(block("fraud"))));
    }
    let mut unawaited = 0;
    while poll.applied < daemon.last() {
        let report = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
        unawaited += report.unawaited;
        poll = report.next.unwrap();
    }
    let bytes = |node: &Node, wanted: fn(&MemoryKey) -> bool| -> usize {
        let values = node.memory.values.iter().filter(|(key, _)| wanted(key));
        values.map(|(_, (value, _))| value.len()).sum()
    };
    let awaited = bytes(&node, |key| matches!(key, MemoryKey::Awaited(_))) / 8;
    assert!(awaited <= 4_096 && awaited + unawaited == crowd.len(), "{awaited} and {unawaited}");
    let noted: Vec<Noted> = crowd.iter().map(|subject| node.reject(subject, "evt")).collect();
    let count = |noted: &[Noted], what| noted.iter().filter(|one| **one == what).count();
    assert_eq!(count(&noted, Noted::First), WAITING_MAX);
    assert_eq!(count(&noted, Noted::Not), unawaited);
    assert_eq!(count(&noted, Noted::LeftOut), awaited - WAITING_MAX);
    assert!(bytes(&node, |key| *key == MemoryKey::FirstRejections) < WAITING_MAX * 64);
    assert_eq!(node.waiting().len(), FIRST_REJECTIONS_MAX);
    // No later request is ever taken for the first.
    let again: Vec<Noted> = crowd.iter().map(|subject| node.reject(subject, "evt")).collect();
    assert_eq!(count(&again, Noted::Not), crowd.len());
    let mut told = 0;
    vm.on_failure(node.now());
    node.pass_ms(1_000);
    let mut poll = node.tick(&mut vm, Rank::Singleton).unwrap();
    while !poll.first_rejections.is_empty() {
        told += poll.first_rejections.len();
        poll = node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll)).next.unwrap();
    }
    assert_eq!(told, WAITING_MAX);
    assert!(poll.encoded_len() < push::POLL_BYTES_MAX);
}

#[test]
fn with_too_many_writers_nothing_is_called_the_first() {
    let (mut node, mut vm, mut daemon, poll) = synced();
    let alice = user("alice");
    daemon.ingest(&alice, blocked("evt", 0));
    node.answer(&mut vm, Rank::Singleton, &daemon.answer(&poll));
    node.memory.lose_next = u32::MAX;
    assert_eq!(node.reject(&alice, "evt"), Noted::LeftOut);
    node.memory.lose_next = 0;
    assert_eq!(node.waiting(), []);
}
