//! Against a memory in a plain map, by one thread and by several.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use model::memory::{Step, update};
use model::testing;
use proptest::prelude::*;

use super::*;

/// One call, with small numbers so that calls meet.
#[derive(Clone, Debug)]
enum Call {
    Read(MemoryKey),
    Write(MemoryKey, Vec<u8>),
    /// Of a value that somebody has replaced meanwhile.
    WriteLate(MemoryKey, Vec<u8>),
    /// As if nobody had ever written it.
    Create(MemoryKey, Vec<u8>),
}

fn keys() -> impl Strategy<Value = MemoryKey> {
    prop_oneof![
        (0_u32..4).prop_map(MemoryKey::Slab),
        (0_u32..4).prop_map(MemoryKey::Replay),
        Just(MemoryKey::Lease),
        Just(MemoryKey::Progress),
    ]
}

fn calls() -> impl Strategy<Value = Call> {
    let value = || prop::collection::vec(any::<u8>(), 0..5);
    prop_oneof![
        keys().prop_map(Call::Read),
        (keys(), value()).prop_map(|(key, value)| Call::Write(key, value)),
        (keys(), value()).prop_map(|(key, value)| Call::WriteLate(key, value)),
        (keys(), value()).prop_map(|(key, value)| Call::Create(key, value)),
    ]
}

proptest! {
    /// The same calls have the same answers as in a map: values, refusals, and which marks are equal.
    #[test]
    fn it_answers_as_a_map_does(calls in prop::collection::vec(calls(), 0..60)) {
        let (mut memory, mut oracle) = (&Memory::default(), testing::Memory::default());
        let mut seen: HashMap<MemoryKey, (Mark, Mark)> = HashMap::new();
        for call in calls {
            let (key, value, marks) = match call {
                Call::Read(key) => {
                    let (mine, expected) = (memory.read(key), oracle.read(key));
                    prop_assert_eq!(mine.0, expected.0);
                    seen.insert(key, (mine.1, expected.1));
                    continue;
                }
                Call::Write(key, value) => (key, value, (memory.read(key).1, oracle.read(key).1)),
                Call::WriteLate(key, value) => {
                    let Some(marks) = seen.get(&key) else { continue };
                    (key, value, *marks)
                }
                Call::Create(key, value) => (key, value, (Mark::Absent, Mark::Absent)),
            };
            let (mine, expected) = (memory.write(key, &value, marks.0), oracle.write(key, &value, marks.1));
            prop_assert_eq!(mine, expected);
        }
    }
}

#[test]
fn of_writers_that_have_read_the_same_one_gets_in() {
    let memory = Memory::default();
    for _ in 0..200 {
        let (_, mark) = (&memory).read(MemoryKey::Slab(7));
        let write = |who: u8| (&memory).write(MemoryKey::Slab(7), &[who], mark).is_ok();
        let won: usize = thread::scope(|scope| {
            let writers: Vec<_> = (0..4).map(|who| scope.spawn(move || write(who))).collect();
            writers.into_iter().map(|writer| usize::from(writer.join().unwrap())).sum()
        });
        assert_eq!(won, 1);
    }
}

/// A sum that several threads add to, in values that change their length, is never torn and loses nothing.
#[test]
fn nothing_is_lost_or_torn_between_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    let (memory, given_up) = (Memory::default(), AtomicU64::new(0));
    let count = |value: &[u8]| {
        let (number, filling) = value.split_first_chunk::<8>().unwrap();
        let number = u64::from_le_bytes(*number);
        assert!(filling.iter().all(|byte| u64::from(*byte) == number % 251), "torn");
        assert_eq!(filling.len() as u64, number % 37);
        number
    };
    let add = |key: MemoryKey| {
        let mut shared = &memory;
        let added = update(&mut shared, key, |value| {
            let number = value.map_or(0, count) + 1;
            let mut new = number.to_le_bytes().to_vec();
            new.resize(8 + (number % 37) as usize, (number % 251) as u8);
            Step::Write(new, ())
        });
        given_up.fetch_add(u64::from(added.is_err()), Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..EACH).for_each(|turn| add(MemoryKey::Slab((turn % 3) as u32))));
        }
    });
    let mut shared = &memory;
    let sums = (0..3).map(|slab| count(&shared.read(MemoryKey::Slab(slab)).0.unwrap()));
    assert_eq!(sums.sum::<u64>() + given_up.into_inner(), THREADS * EACH);
}

#[test]
fn keys_stay_apart() {
    let mut memory = &Memory::default();
    let numbered = [
        MemoryKey::Slab,
        MemoryKey::Replay,
        MemoryKey::FleetSlab,
        MemoryKey::Awaited,
        MemoryKey::Changed,
    ];
    let single = [
        MemoryKey::HashKey,
        MemoryKey::Geometry,
        MemoryKey::Progress,
        MemoryKey::Lease,
        MemoryKey::Keys,
        MemoryKey::ReplayGeometry,
        MemoryKey::ReplayHorizon,
        MemoryKey::Known,
        MemoryKey::FleetLink,
        MemoryKey::FirstRejections,
        MemoryKey::ChangedEnd,
    ];
    let numbers = || (0..3_000).chain([(1 << 20) - 1]);
    let all = || numbered.into_iter().flat_map(|kind| numbers().map(kind)).chain(single);
    for (number, key) in all().enumerate() {
        assert_eq!(memory.read(key), (None, Mark::Absent), "{key:?}");
        memory.write(key, &(number as u32).to_le_bytes(), Mark::Absent).unwrap();
    }
    for (number, key) in all().enumerate() {
        assert_eq!(memory.read(key).0.unwrap(), (number as u32).to_le_bytes());
    }
    // More slabs than any configuration has.
    assert_eq!(memory.read(MemoryKey::Slab(1 << 20)), (None, Mark::Absent));
    assert_eq!(memory.write(MemoryKey::Slab(1 << 20), b"", Mark::Absent), Err(Mismatch));
}

#[test]
fn versions_go_around() {
    let mut memory = &Memory::default();
    let key = MemoryKey::Lease;
    memory.write(key, b"a", Mark::Absent).unwrap();
    memory.lock(key).unwrap().as_mut().unwrap().version = u32::MAX;
    let (_, last) = memory.read(key);
    memory.write(key, b"b", last).unwrap();
    assert_eq!(memory.write(key, b"c", last), Err(Mismatch));
    assert_eq!(memory.read(key), (Some(b"b".to_vec()), Mark::Present(0)));
}
