//! The scripts that take events out of inboxes, in a real Redis, beside an oracle that keeps queues.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Connection, FromRedisValue, Script, Value};

use crate::harness::{Redis, free_port};

const TAKE: &str = include_str!("../../redis/take.lua");
const SETTLE: &str = include_str!("../../redis/settle.lua");
const KEYS: [&str; 3] =
    ["{portcullis}:inbox:desk", "{portcullis}:taken:desk", "{portcullis}:leases:desk"];
/// Longer than any test.
const LONG_MS: u64 = 3_600_000;
/// Most that lies aside.
const TAKEN_MAX: usize = 8;

struct Inbox {
    _redis: Redis,
    connection: Connection,
}

/// What the script answers.
#[derive(Debug)]
struct Batch {
    waiting: u64,
    held: u64,
    aside: u64,
    events: Vec<(u64, String)>,
}

impl Inbox {
    fn start() -> Self {
        let redis = Redis::start(free_port(), &[]);
        let connection = redis.connect();
        Self { _redis: redis, connection }
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connection).unwrap()
    }

    fn take(&mut self, lease_ms: u64, most: usize) -> Batch {
        let raw: Vec<Value> = Script::new(TAKE)
            .key(&KEYS)
            .arg(lease_ms)
            .arg(most)
            .arg(10)
            .arg(TAKEN_MAX)
            .invoke(&mut self.connection)
            .unwrap();
        let number = |at: usize| redis::from_redis_value(raw[at].clone()).unwrap();
        let text = |value: &Value| -> String { redis::from_redis_value(value.clone()).unwrap() };
        let pair = |pair: &[Value]| (text(&pair[0]).parse().unwrap_or(0), text(&pair[1]));
        let events = raw[3..].chunks(2).map(pair).collect();
        Batch { waiting: number(0), held: number(1), aside: number(2), events }
    }

    fn settle(&mut self, done: &[u64], later: &[(u64, u64)]) {
        let script = Script::new(SETTLE);
        let mut call = script.prepare_invoke();
        call.key(KEYS[1]).key(KEYS[2]).arg(done.len()).arg(done);
        for (stamp, ms) in later {
            call.arg(*stamp).arg(*ms);
        }
        call.invoke::<()>(&mut self.connection).unwrap();
    }

    fn clear(&mut self) {
        self.ask::<()>(&["FLUSHALL"]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Take(usize),
    /// Of those that are held, the one at this place is done with, or is to be taken again at once.
    Settle(usize, bool),
    /// The leases of a daemon that has died are over.
    Die,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..5).prop_map(Step::Put),
        (1usize..6).prop_map(Step::Take),
        (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(at, done)| Step::Settle(at.index(TAKEN_MAX), done)),
        Just(Step::Die),
    ]
}

/// What is given is what was put, in order and once, unless it is to be given again; and nothing is
/// gone that is not done with.
#[test]
fn what_is_put_is_given_until_it_is_done_with() {
    let inbox = RefCell::new(Inbox::start());
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    runner
        .run(&prop::collection::vec(any_step(), 1..60), |steps| {
            let mut inbox = inbox.borrow_mut();
            inbox.clear();
            let (mut waiting, mut number) = (VecDeque::new(), 0_u32);
            // What is held: the event, and whether it may be given again.
            let mut held: BTreeMap<u64, (String, bool)> = BTreeMap::new();
            let mut last = 0;
            for step in steps {
                match step {
                    Step::Put(count) => {
                        for _ in 0..count {
                            number += 1;
                            waiting.push_back(format!("e{number}"));
                            inbox.ask::<u64>(&["RPUSH", KEYS[0], &format!("e{number}")]);
                        }
                    }
                    Step::Take(most) => {
                        let batch = inbox.take(LONG_MS, most);
                        let due = held.values().filter(|(_, due)| *due).count().min(most);
                        let room = (most - due).min(TAKEN_MAX - held.len());
                        let new = room.min(waiting.len());
                        prop_assert_eq!(batch.events.len(), due + new);
                        let (again, fresh) = batch.events.split_at(due);
                        for (stamp, event) in again {
                            let known = held.get_mut(stamp).unwrap();
                            prop_assert_eq!(&*known, &(event.clone(), true));
                            known.1 = false;
                        }
                        for (stamp, event) in fresh {
                            prop_assert!(*stamp > last, "{} after {}", stamp, last);
                            last = *stamp;
                            prop_assert_eq!(event, &waiting.pop_front().unwrap());
                            held.insert(*stamp, (event.clone(), false));
                        }
                        prop_assert_eq!(batch.waiting, waiting.len() as u64);
                        prop_assert_eq!((batch.held, batch.aside), (held.len() as u64, 0));
                    }
                    Step::Settle(at, done) => {
                        let Some(stamp) = held.keys().nth(at).copied() else { continue };
                        if done {
                            held.remove(&stamp);
                            inbox.settle(&[stamp], &[]);
                        } else {
                            held.get_mut(&stamp).unwrap().1 = true;
                            inbox.settle(&[], &[(stamp, 0)]);
                        }
                    }
                    Step::Die => {
                        for (stamp, (_, due)) in &mut held {
                            *due = true;
                            inbox.ask::<u64>(&["ZADD", KEYS[2], "1", &stamp.to_string()]);
                        }
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_leased_is_given_to_nobody_else_until_the_lease_is_over() {
    let mut inbox = Inbox::start();
    inbox.ask::<u64>(&["RPUSH", KEYS[0], "a"]);
    let first = inbox.take(LONG_MS, 9);
    assert_eq!(first.events.len(), 1);
    assert!(inbox.take(LONG_MS, 9).events.is_empty());
    inbox.settle(&[], &[(first.events[0].0, 0)]);
    assert_eq!(inbox.take(0, 9).events, first.events);
    assert_eq!(inbox.take(0, 9).events, first.events, "a lease of no time is over at once");
    // Of what somebody else has done with, nothing is noted.
    inbox.settle(&[first.events[0].0], &[]);
    inbox.settle(&[], &[(first.events[0].0, 0)]);
    assert_eq!(inbox.ask::<u64>(&["EXISTS", KEYS[0], KEYS[1], KEYS[2]]), 0);
}

#[test]
fn of_what_is_too_long_only_the_beginning_is_taken() {
    let mut inbox = Inbox::start();
    inbox.ask::<u64>(&["RPUSH", KEYS[0], &"x".repeat(1_000_000), "0123456789"]);
    let events = inbox.take(LONG_MS, 9).events;
    assert_eq!(events.iter().map(|(_, event)| event.len()).collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn what_is_damaged_is_put_aside_and_what_is_left_is_given() {
    let mut inbox = Inbox::start();
    for key in KEYS {
        inbox.ask::<()>(&["SET", key, "x"]);
    }
    assert_eq!(inbox.take(LONG_MS, 9).aside, 3);
    inbox.ask::<u64>(&["RPUSH", KEYS[0], "a", "b"]);
    assert_eq!(inbox.take(LONG_MS, 9).events.len(), 2);
    inbox.ask::<u64>(&["DEL", KEYS[2]]);
    assert_eq!(inbox.take(LONG_MS, 9).events.len(), 2, "leases are gone");
    inbox.ask::<u64>(&["ZADD", KEYS[2], "inf", "foreign"]);
    assert_eq!(inbox.take(LONG_MS, 9).events.len(), 0);
    assert_eq!(inbox.ask::<u64>(&["ZCARD", KEYS[2]]), 2, "a lease of nothing is gone");
    inbox.ask::<u64>(&["DEL", KEYS[1]]);
    let batch = inbox.take(LONG_MS, 9);
    assert_eq!((batch.events.len(), batch.held), (0, 0));
    let many: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for field in &many {
        inbox.ask::<u64>(&["HSET", KEYS[1], field, "x"]);
    }
    assert_eq!(inbox.take(LONG_MS, 9).aside, 1, "far more than is ever there");
}
