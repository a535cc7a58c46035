//! News of buckets without a token reach the nodes of all daemons, and delay no block.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::harness::{block, free_port};
use crate::node::is_synced;

/// Ends what others do in loops, also when a test fails.
#[derive(Default)]
struct Stop(AtomicBool);

impl Stop {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Stops<'a>(&'a Stop);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for_listeners(redis: &Redis, count: u64) {
    wait_until("daemons to listen", || {
        ask::<(String, u64)>(redis, &["PUBSUB", "NUMSUB", CHANNEL]).1 == count
    });
}

#[test]
fn a_held_poll_of_another_daemon_is_answered_with_news_at_once() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", "poll.hold = \"2s\"\n"));
    let (mut one, mut other) = (Sharing::start(&a, "n-a"), Sharing::start(&b, "n-b"));
    wait_for_listeners(&redis, 2);
    other.poll();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            loop {
                let batch = other.poll();
                if !batch.news.is_empty() {
                    break (batch, Instant::now());
                }
            }
        });
        let taken = Instant::now();
        one.take(9, 10);
        let (batch, heard) = waiting.join().unwrap();
        let [news] = batch.news.as_slice() else { panic!("{:?}", batch.news) };
        assert_eq!((&news.bucket, batch.kind()), (&Some(bucket(9)), push::batch::Kind::Heartbeat));
        assert!(news.remaining_us > 9_000_000 && news.remaining_us <= 10_000_000, "{news:?}");
        assert!(heard.duration_since(taken) < Duration::from_secs(1));
    });
    // Once: what was told is not told again.
    assert_eq!(other.poll().news, []);
    // A bucket with a token is no news.
    one.take(8, 9);
    let start = Instant::now();
    assert_eq!(other.poll().news, []);
    assert!(start.elapsed() > Duration::from_secs(1), "it was held");
}

#[test]
fn a_flood_of_news_wakes_polls_rarely_and_delays_no_block() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    wait_for_listeners(&redis, 1);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let stops = Stops(&stop);
        let flood = || {
            let mut connection = redis.connect();
            let mut number = 0u32;
            while !stop.is_set() {
                let lines: Vec<_> = (0..64)
                    .map(|_| {
                        number = number.wrapping_add(1);
                        format!("{number:032x}.00000001.00000002 9000000 0 0000000000000000")
                    })
                    .collect();
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(CHANNEL).arg(lines.join("\n")).exec(&mut connection).unwrap();
                // Ten thousand news a second, and not the whole machine.
                std::thread::sleep(Duration::from_millis(6));
            }
        };
        scope.spawn(flood);
        let node = scope.spawn(|| {
            let (mut polls, mut news, mut changes) = (0u32, 0usize, 0usize);
            let start = Instant::now();
            while !stop.is_set() {
                let batch = one.poll();
                polls += 1;
                news += batch.news.len();
                changes += batch.changes.len();
                assert!(
                    batch.news.len() <= 256 && (batch.changes.is_empty() || batch.news.len() <= 64)
                );
            }
            (polls, news, changes, start.elapsed())
        });
        wait_until("the node to be synchronized", || is_synced(&a, "boot-n-a"));
        let mut took_ms = Vec::new();
        for number in 0..20 {
            let said = a.post(&block(&format!("e{number}"), &format!("user-{number}"))).json();
            assert_eq!(said["enforced"], true, "{said}");
            took_ms.push(said["elapsed_ms"].as_f64().unwrap());
        }
        drop(stops);
        let (polls, news, changes, took) = node.join().unwrap();
        took_ms.sort_by(f64::total_cmp);
        assert!(took_ms[10] < 100.0, "{took_ms:?}");
        // Each is answered 5 ms after the one before at the earliest, but for the 20 blocks.
        let most = took.as_millis() / 5 + 60;
        assert!(u128::from(polls) <= most && news > 0 && changes >= 20, "{polls} {news} {changes}");
    });
    let told = |what: &str| a.metric(&format!("portcullis_fleet_news_total{{what=\"{what}\"}}"));
    assert!(told("heard") >= told("sent") + told("left_out"));
    assert!(a.metric("portcullis_fleet_news_total{what=\"sent\"}") > 0.0);
}
