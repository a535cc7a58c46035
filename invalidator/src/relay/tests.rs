//! What nodes are told, and what is kept of it.

use fleet::epoch::Epoch;
use fleet::wire::{Answer, BucketName, Partition};
use model::bucket::RateTag;
use model::hash::SubjectHash;
use model::push::Change;

use super::*;

const MS: Duration = Duration::from_millis(1);
/// Some time after the start.
const T: Duration = Duration::from_secs(100);

fn node(name: &str) -> NodeKey {
    NodeKey { node: name.into(), boot_id: name.into() }
}

fn has(key_version: u64) -> FleetUse {
    FleetUse { key_version, ..FleetUse::default() }
}

fn news(limit: u32, remaining_us: u64) -> News {
    let bucket = BucketName::new(Partition(0), SubjectHash([1; 16]), limit, RateTag(0));
    News { bucket, answer: Answer { epoch: Epoch::default(), remaining_us } }
}

fn limits(batch: &Batch) -> Vec<u32> {
    batch.news.iter().map(|news| news.bucket.as_ref().unwrap().limit).collect()
}

fn filled(relay: &Relay, name: &str, now: Duration) -> (Batch, Given) {
    let mut batch = Batch::default();
    let given = relay.fill(&mut batch, &node(name), &has(0), now);
    (batch, given)
}

fn key(version: u8) -> HashKey {
    HashKey::of_random([version, 0, 0, 0, 0, 0, 0, 0], [version; 16])
}

#[test]
fn each_node_is_told_news_once_and_those_from_before_it_came_are_not_for_it() {
    let relay = Relay::default();
    relay.hear(vec![news(1, 9_000_000)], T);
    for name in ["a", "b"] {
        assert_eq!(relay.due(&node(name), &has(0), T), None);
    }
    relay.hear(vec![news(2, 9_000_000), news(3, 9_000_000)], T);
    for name in ["a", "b"] {
        assert_eq!(relay.due(&node(name), &has(0), T), Some(T));
        let (batch, given) = filled(&relay, name, T);
        assert_eq!((limits(&batch), given.news, given.left_out), (vec![2, 3], 2, 0));
        assert_eq!(relay.due(&node(name), &has(0), T), None);
        assert!(filled(&relay, name, T).0.news.is_empty());
    }
}

#[test]
fn a_poll_is_answered_because_of_news_at_most_every_five_milliseconds() {
    let relay = Relay::default();
    assert_eq!(relay.due(&node("a"), &has(0), T), None);
    relay.hear(vec![news(1, 9_000_000)], T);
    filled(&relay, "a", T);
    relay.hear(vec![news(2, 9_000_000)], T + MS);
    assert_eq!(relay.due(&node("a"), &has(0), T + MS), Some(T + 5 * MS));
    assert_eq!(relay.due(&node("a"), &has(0), T + 7 * MS), Some(T + 7 * MS));
    // What goes along with a batch that is sent anyway does not wait.
    assert_eq!(limits(&filled(&relay, "a", T + 2 * MS).0), [2]);
}

#[test]
fn news_grow_old_while_they_wait_and_are_forgotten() {
    let relay = Relay::default();
    assert_eq!(relay.due(&node("a"), &has(0), T), None);
    relay.hear(vec![news(1, 9_000_000), news(2, 500)], T);
    let (batch, _) = filled(&relay, "a", T + MS);
    assert_eq!(limits(&batch), [1], "the other bucket is full by now");
    assert_eq!(batch.news[0].remaining_us, 8_999_000);
    relay.hear(vec![news(3, 9_000_000)], T);
    let late = T + Duration::from_secs(2);
    assert_eq!(relay.due(&node("a"), &has(0), late), None);
    relay.sweep(late);
    assert_eq!(relay.inner().board.size(), (0, 0));
    relay.sweep(T + Duration::from_secs(60));
    assert_eq!(relay.inner().told.len(), 0);
}

#[test]
fn of_one_bucket_the_newest_counts_and_of_too_many_the_newest_are_told() {
    let relay = Relay::default();
    assert_eq!(relay.due(&node("a"), &has(0), T), None);
    relay.hear(vec![news(1, 5_000_000), news(2, 9_000_000), news(1, 6_000_000)], T);
    let (batch, _) = filled(&relay, "a", T);
    assert_eq!(limits(&batch), [2, 1]);
    assert_eq!(batch.news[1].remaining_us, 6_000_000);
    relay.hear((0..300).map(|limit| news(limit, 9_000_000)).collect(), T);
    let (batch, given) = filled(&relay, "a", T);
    assert_eq!((given.news, given.left_out), (256, 44));
    assert_eq!(limits(&batch), (44..300).collect::<Vec<_>>());
    for round in 0..100 {
        relay.hear((0..1_000).map(|limit| news(round * 1_000 + limit, 9_000_000)).collect(), T);
    }
    assert_eq!(relay.inner().board.size(), (4_096, 4_096));
}

#[test]
fn changes_come_first_and_news_have_the_room_that_is_left() {
    let relay = Relay::default();
    assert_eq!(relay.due(&node("a"), &has(0), T), None);
    relay.hear((0..300).map(|limit| news(limit, 9_000_000)).collect(), T);
    let mut batch = Batch { urgent: vec![Change::default()], ..Batch::default() };
    let given = relay.fill(&mut batch, &node("a"), &has(0), T);
    assert_eq!((given.news, given.left_out), (64, 236));
    relay.hear(vec![news(1, 9_000_000)], T);
    let change = Change { packed: vec![0; model::push::BATCH_BYTES_MAX], ..Change::default() };
    let mut full = Batch { changes: vec![change], ..Batch::default() };
    assert_eq!(relay.fill(&mut full, &node("a"), &has(0), T).news, 0);
}

#[test]
fn a_key_is_told_at_once_and_once_and_beside_every_batch_until_the_node_has_it() {
    let relay = Relay::default();
    assert_eq!(relay.due(&node("a"), &has(0), T), None);
    assert!(relay.agree(key(1)) && !relay.agree(key(1)));
    assert_eq!(relay.due(&node("a"), &has(0), T), Some(T));
    let (batch, given) = filled(&relay, "a", T);
    assert_eq!((batch.fleet_key.unwrap().version, given.key), (1, Some(1)));
    assert_eq!(relay.due(&node("a"), &has(0), T), None, "it must not poll in circles");
    let (batch, given) = filled(&relay, "a", T);
    assert_eq!((batch.fleet_key.unwrap().version, given.key), (1, None));
    let mut batch = Batch::default();
    relay.fill(&mut batch, &node("a"), &has(1), T);
    assert_eq!(batch.fleet_key, None);
    assert!(relay.agree(key(2)));
    assert_eq!(relay.due(&node("a"), &has(1), T), Some(T));
}

#[test]
fn a_key_of_a_file_overrides_that_of_redis() {
    let relay = Relay::default();
    relay.agree(key(1));
    assert_eq!(relay.status(Some(true), T).key_from, Some("redis"));
    assert!(relay.configure(key(2)) && !relay.agree(key(3)));
    assert_eq!(relay.key().unwrap().version(), 2);
    let status = relay.status(Some(true), T);
    assert_eq!((status.key_version, status.key_from), (Some(2), Some("file")));
}

#[test]
fn nothing_is_wanted_where_no_node_has_such_limits() {
    let relay = Relay::default();
    let wanted = relay.wanted();
    assert!(!relay.is_wanted(T) && !wanted.has_changed().unwrap());
    assert_eq!(relay.status(Some(false), T).ledger, "unused");
    relay.takes_part(T);
    assert!(relay.is_wanted(T) && wanted.has_changed().unwrap());
    assert_eq!(relay.status(Some(false), T).ledger, "unreachable");
    assert!(!relay.is_wanted(T + Duration::from_secs(60)));
    assert_eq!(relay.status(None, T).ledger, "none");
}

#[test]
fn any_number_of_nodes_takes_no_more_than_so_much() {
    let relay = Relay::default();
    for number in 0..70_000 {
        assert_eq!(relay.due(&node(&number.to_string()), &has(0), T), None);
    }
    assert!(relay.inner().told.len() <= 65_536);
}
