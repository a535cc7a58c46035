//! What is heard, pushed and kept: events, batches, records.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use events::Event;
use events::record::Record;
use model::push::{Batch, Message};
use model::state::State;

use crate::fixture::{self, NOW, Node};

/// Changes of a batch.
const CHANGES: usize = 1_000;

pub(crate) fn all(criterion: &mut Criterion) {
    event(criterion);
    record(criterion);
    push(criterion);
}

fn event(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    let bytes = fixture::block("alice", "bet").into_bytes();
    let known = fixture::block("alice", "bet").replace("cooling_off", "fraud").into_bytes();
    let mut state = State::default();
    state.merge(Event::parse(&known, NOW).unwrap().register);
    group.bench_function("parse", |b| b.iter(|| Event::parse(black_box(&bytes), NOW)));
    group.bench_function("parse_and_merge", |b| {
        b.iter_batched_ref(
            || state.clone(),
            |state| Event::parse(black_box(&bytes), NOW).map(|event| state.merge(event.register)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let event = fixture::block("alice", "bet").into_bytes().into();
    let record = Record { first_heard: NOW, source: "redis".into(), event };
    let bytes = record.encode().unwrap();
    assert!(Record::decode(&bytes).is_ok_and(|read| read == record));
    group.bench_function("encode", |b| b.iter(|| black_box(&record).encode()));
    group.bench_function("decode", |b| b.iter(|| Record::decode(black_box(&bytes))));
    group.finish();
}

fn push(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("push");
    let bytes = fixture::batch(CHANGES);
    group.throughput(Throughput::Elements(CHANGES as u64));
    group.bench_function("decode_1000", |b| b.iter(|| Batch::decode(black_box(&*bytes))));
    group.bench_function("apply_1000", |b| {
        b.iter_batched_ref(Node::new, |node| node.hear(black_box(&bytes)), BatchSize::LargeInput);
    });
    group.finish();
}
