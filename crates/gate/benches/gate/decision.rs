//! A bucket alone, and the whole decision on a request by what is known of its user.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use events::Event;
use gate::decide::{Cause, Verdict};
use model::bucket::{Bucket, Rate};
use model::state::State;

use crate::fixture::{self, NOW, Node, Plain, user};

/// How many users the node knows to be blocked.
const BLOCKED: usize = 1_000;

pub(crate) fn all(criterion: &mut Criterion) {
    bucket(criterion);
    state(criterion);
    gate(criterion);
}

fn bucket(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bucket");
    let rate = Rate::new(100, 100, Duration::from_secs(60)).unwrap();
    let now = Duration::from_secs(24 * 60 * 60).as_nanos() as u64;
    let full = Bucket::default();
    group.bench_function("take", |b| b.iter(|| black_box(full).take(&rate, black_box(now))));
    let empty = Bucket::emptied(Duration::ZERO, &rate, now);
    assert!(full.take(&rate, now).is_ok() && empty.take(&rate, now).is_err());
    group.bench_function("take_from_empty", |b| {
        b.iter(|| black_box(empty).take(&rate, black_box(now)));
    });
    group.finish();
}

fn state(criterion: &mut Criterion) {
    let mut known = State::default();
    for scope in ["bet", "withdraw"] {
        let event = fixture::block("alice", scope).replace("cooling_off", scope);
        known.merge(Event::parse(event.as_bytes(), NOW).unwrap().register);
    }
    assert_eq!(known.blocks(NOW).count(), 2);
    criterion.bench_function("state/blocks_in_effect", |b| {
        b.iter(|| black_box(&known).blocks(black_box(NOW)).count());
    });
}

fn gate(criterion: &mut Criterion) {
    let mut node = Node::new();
    node.hear(&fixture::batch(BLOCKED));
    let mut group = criterion.benchmark_group("gate");
    let cases = [
        ("allowed", "/", "somebody else".to_owned(), None),
        ("allowed_with_status", "/withdraw", user(1), None),
        ("blocked", "/bet", user(2), Some("block")),
        ("limited", "/rare", user(3), Some("limit")),
    ];
    for (name, path, user, expected) in cases {
        let request = Plain::get(path, &user);
        // The first request takes what the scarce limit has.
        node.decide(&request);
        let denied = match node.decide(&request).verdict {
            Verdict::Allow => None,
            Verdict::Deny(denial) => Some(Cause::as_str(&denial.cause)),
        };
        assert_eq!(denied, expected, "{name}");
        group.bench_function(name, |b| b.iter(|| node.decide(black_box(&request))));
    }
    group.finish();
}
