//! Nothing is lost: what is missed is caught up, what Redis loses is written back.

use std::collections::{BTreeSet, HashMap};

use crate::harness::{Daemon, Redis, block, event, free_port, wait_until};
use redis::Script;
use redis::streams::StreamRangeReply;
use serde_json::json;

fn config(redis: &Redis, more: &str) -> String {
    format!("[sources.redis]\nurl = \"{}\"\n{more}", redis.url())
}

/// Compares often, so that a test need not wait long.
const OFTEN: &str =
    "ping_interval = \"50ms\"\ndead_after = \"500ms\"\ndigest_interval = \"200ms\"\n";

fn start(redis: &Redis) -> Daemon {
    let daemon = Daemon::start(&config(redis, OFTEN));
    wait_until("Redis", || daemon.get("/readyz").status == 200);
    daemon
}

fn restart(daemon: &mut Daemon, redis: &Redis) {
    let directory = daemon.end();
    *daemon = Daemon::spawn(&config(redis, OFTEN), directory);
    daemon.wait_for_health();
}

fn is_blocked(daemon: &Daemon, user: &str) -> bool {
    let answer = daemon.get(&format!("/v1/users/{user}"));
    answer.status == 200 && !answer.json()["blocks"].as_array().unwrap().is_empty()
}

fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut redis.connect()).unwrap()
}

/// The ids of a user's events in Redis.
fn held(redis: &Redis, user: &str) -> Vec<String> {
    let mut ids: Vec<String> = ask(redis, &["HKEYS", &format!("{{portcullis}}:state:user:{user}")]);
    ids.sort();
    ids
}

/// How many different events were written into the stream. Who heard one earlier than it is written says so
/// there, and that is an entry more.
pub(crate) fn written(redis: &Redis) -> usize {
    let entries: StreamRangeReply = ask(redis, &["XRANGE", "{portcullis}:stream", "-", "+"]);
    let events = entries.ids.iter().filter_map(|entry| entry.get::<String>("event"));
    events.collect::<BTreeSet<_>>().len()
}

pub(crate) fn write(redis: &Redis, channel: &str, user: &str, id: &str, event: &str) {
    Script::new(crate::redis_scripts::PUBLISH)
        .key(format!("{{portcullis}}:state:user:{user}"))
        .key("{portcullis}:subjects")
        .key("{portcullis}:stream")
        .key("{portcullis}:digest")
        .arg(channel)
        .arg(format!("user:{user}"))
        .arg(id)
        .arg(event)
        .arg(100_000)
        .arg(256)
        .invoke::<(String, String)>(&mut redis.connect())
        .unwrap();
}

/// Waits until every daemon has looked at Redis some more times.
fn more_looks(redis: &Redis) {
    let calls = || {
        let stats: String = ask(redis, &["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    let before = calls();
    wait_until("more looks", || calls() > before + 30);
}

fn reads(daemon: &Daemon, why: &str) -> f64 {
    daemon.metric(&format!("portcullis_redis_reads_total{{why=\"{why}\"}}"))
}

fn repaired(daemon: &Daemon, side: &str) -> f64 {
    daemon.metric(&format!("portcullis_repaired_total{{where=\"{side}\"}}"))
}

#[test]
fn what_the_api_takes_in_is_in_redis_and_other_daemons_hear_it() {
    let redis = Redis::start(free_port(), &[]);
    let (one, other) = (start(&redis), start(&redis));
    let answer = one.post(&block("evt-1", "alice")).json();
    assert_eq!((&answer["redis"], &answer["durable"]), (&json!(true), &json!(true)));
    assert_eq!(held(&redis, "alice"), ["evt-1"]);
    wait_until("the other daemon to know", || is_blocked(&other, "alice"));
    let again = one.post(&block("evt-1", "alice")).json();
    assert_eq!((&again["redis"], &again["result"]), (&json!(true), &json!("duplicate")));
    assert_eq!(ask::<u64>(&redis, &["XLEN", "{portcullis}:stream"]), 1);
}

#[test]
fn without_redis_the_answer_says_so_and_it_is_written_later() {
    let port = free_port();
    let redis = Redis::start(port, &[]);
    let daemon = start(&redis);
    drop(redis);
    wait_until("the loss", || daemon.get("/readyz").status != 200);
    let answer = daemon.post(&block("evt-1", "alice"));
    assert_eq!((answer.status, &answer.json()["redis"]), (202, &json!(false)));
    let text = answer.text.clone();
    assert!(text.contains("Redis could not be reached in time"), "{text}");
    let redis = Redis::start(port, &[]);
    wait_until("it to be written", || held(&redis, "alice") == ["evt-1"]);
}

#[test]
fn what_was_missed_is_caught_up_from_the_stream() {
    let redis = Redis::start(free_port(), &[]);
    let mut daemon = start(&redis);
    write(&redis, "", "alice", "evt-1", &block("evt-1", "alice"));
    wait_until("the stream to be followed", || is_blocked(&daemon, "alice"));
    let directory = daemon.end();
    for number in 0..1_000 {
        let (id, user) = (format!("evt-{number}"), format!("user-{number}"));
        write(&redis, "", &user, &id, &block(&id, &user));
    }
    daemon = Daemon::spawn(&config(&redis, OFTEN), directory);
    daemon.wait_for_health();
    wait_until("it to catch up", || daemon.get("/readyz").status == 200);
    assert!(is_blocked(&daemon, "user-999"), "ready only once it has caught up");
    for why in ["no_position", "gap", "data_lost", "differs"] {
        assert_eq!(reads(&daemon, why), 0.0, "{why}");
    }
}

#[test]
fn a_daemon_that_starts_after_the_events_reads_the_state() {
    let redis = Redis::start(free_port(), &[]);
    for number in 0..100 {
        let (id, user) = (format!("evt-{number}"), format!("user-{number}"));
        write(&redis, "", &user, &id, &block(&id, &user));
    }
    ask::<()>(&redis, &["DEL", "{portcullis}:stream"]);
    let daemon = start(&redis);
    assert!((0..100).all(|number| is_blocked(&daemon, &format!("user-{number}"))));
    assert_eq!((reads(&daemon, "no_position"), repaired(&daemon, "daemon")), (1.0, 0.0));
}

#[test]
fn a_stream_that_was_cut_off_is_no_gap_in_what_is_known() {
    let redis = Redis::start(free_port(), &[]);
    let mut daemon = start(&redis);
    daemon.post(&block("evt-0", "zoe"));
    let directory = daemon.end();
    for number in 1..20 {
        let (id, user) = (format!("evt-{number}"), format!("user-{number}"));
        write(&redis, "", &user, &id, &block(&id, &user));
    }
    ask::<()>(&redis, &["XTRIM", "{portcullis}:stream", "MAXLEN", "5"]);
    daemon = Daemon::spawn(&config(&redis, OFTEN), directory);
    daemon.wait_for_health();
    wait_until("it to catch up", || daemon.get("/readyz").status == 200);
    assert!((1..20).all(|number| is_blocked(&daemon, &format!("user-{number}"))));
    assert_eq!((reads(&daemon, "gap"), repaired(&daemon, "daemon")), (1.0, 19.0));
}

#[test]
fn what_flushall_takes_away_stays_in_force_and_is_written_back() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = start(&redis);
    for number in 0..50 {
        let (id, user) = (format!("evt-{number}"), format!("user-{number}"));
        redis.publish(block(&id, &user).as_bytes());
    }
    wait_until("all to be written", || ask::<u64>(&redis, &["XLEN", "{portcullis}:stream"]) == 50);
    ask::<()>(&redis, &["FLUSHALL"]);
    wait_until("the loss to be seen", || daemon.metric("portcullis_redis_data_lost_total") == 1.0);
    assert!((0..50).all(|number| is_blocked(&daemon, &format!("user-{number}"))));
    wait_until("the repair", || {
        let count: Option<u64> = ask(&redis, &["HGET", "{portcullis}:digest", "count"]);
        count == Some(50)
    });
    assert_eq!(held(&redis, "user-7"), ["evt-7"]);
    wait_until("the count", || repaired(&daemon, "redis") == 50.0);
    wait_until("the all-clear", || daemon.status()["sources"][1].get("trouble").is_none());
    assert_eq!(daemon.log().matches("Redis has lost data").count(), 1, "said once");
    let new = start(&redis);
    assert!((0..50).all(|number| is_blocked(&new, &format!("user-{number}"))));
}

#[test]
fn a_flush_that_is_followed_by_new_events_at_once_is_seen_too() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = start(&redis);
    daemon.post(&block("evt-1", "alice"));
    more_looks(&redis);
    let mut together = redis::pipe();
    together.atomic().cmd("FLUSHALL");
    together.query::<()>(&mut redis.connect()).unwrap();
    write(&redis, "", "bob", "evt-2", &block("evt-2", "bob"));
    wait_until("the repair", || held(&redis, "alice") == ["evt-1"]);
    wait_until("the new one", || is_blocked(&daemon, "bob"));
    assert_eq!(daemon.metric("portcullis_redis_data_lost_total"), 1.0);
}

#[test]
fn a_redis_without_persistence_gets_everything_back_after_its_restart() {
    let port = free_port();
    let redis = Redis::start(port, &[]);
    let daemon = start(&redis);
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["redis"], true);
    drop(redis);
    let redis = Redis::start(port, &[]);
    wait_until("the repair", || held(&redis, "alice") == ["evt-1"]);
    assert!(is_blocked(&daemon, "alice"));
    assert!(daemon.metric("portcullis_redis_data_lost_total") >= 1.0);
}

#[test]
fn a_bare_publish_is_written_exactly_once_by_two_daemons() {
    let redis = Redis::start(free_port(), &[]);
    let daemons = [start(&redis), start(&redis)];
    assert_eq!(redis.publish(block("evt-1", "alice").as_bytes()), 2);
    wait_until("it to be written", || held(&redis, "alice") == ["evt-1"]);
    let writes = |daemon: &Daemon, result: &str| {
        daemon.metric(&format!("portcullis_redis_writes_total{{result=\"{result}\"}}"))
    };
    wait_until("both to have tried, or one to have seen it", || {
        daemons.iter().map(|daemon| writes(daemon, "written")).sum::<f64>() == 1.0
            && daemons.iter().all(|daemon| is_blocked(daemon, "alice"))
    });
    assert_eq!(written(&redis), 1);
    let bare: f64 = daemons.iter().map(|d| d.metric("portcullis_redis_bare_events_total")).sum();
    assert_eq!(bare, 1.0);
}

#[test]
fn what_is_overtaken_is_forgotten_in_redis() {
    let redis = Redis::start(free_port(), &[]);
    let _daemons = [start(&redis), start(&redis)];
    redis.publish(block("evt-1", "alice").as_bytes());
    wait_until("the block", || held(&redis, "alice") == ["evt-1"]);
    let lift = event("evt-2", "alice", json!({ "action": "unblock" }));
    redis.publish(lift.to_string().as_bytes());
    wait_until("the old one to be gone", || held(&redis, "alice") == ["evt-2"]);
    let digest: HashMap<String, String> = ask(&redis, &["HGETALL", "{portcullis}:digest"]);
    assert_eq!(digest["count"], "1");
}

#[test]
fn single_events_that_either_side_has_lost_are_repaired() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = start(&redis);
    for (id, user) in [("evt-1", "alice"), ("evt-2", "bob")] {
        assert_eq!(daemon.post(&block(id, user)).json()["redis"], true);
    }
    // As an eviction would: behind the digest's back.
    ask::<()>(&redis, &["DEL", "{portcullis}:state:user:alice"]);
    let mut daemon = daemon;
    restart(&mut daemon, &redis);
    // With a digest that still fits nothing is noticed; an operator's mistake is one that does not.
    ask::<()>(&redis, &["HSET", "{portcullis}:digest", "count", "1"]);
    wait_until("the repair", || held(&redis, "alice") == ["evt-1"]);
    wait_until("the digest to fit", || {
        ask::<Option<u64>>(&redis, &["HGET", "{portcullis}:digest", "count"]) == Some(2)
    });
    // And one that nobody here has heard of, without a word in the stream.
    let (seconds, _): (u64, u64) = ask(&redis, &["TIME"]);
    let kept = format!("{seconds}000-0 {}", block("evt-3", "carol"));
    ask::<()>(&redis, &["HSET", "{portcullis}:state:user:carol", "evt-3", &kept]);
    ask::<()>(&redis, &["SADD", "{portcullis}:subjects", "user:carol"]);
    ask::<()>(&redis, &["HSET", "{portcullis}:digest", "count", "7"]);
    wait_until("the other repair", || is_blocked(&daemon, "carol"));
    wait_until("the count", || repaired(&daemon, "daemon") == 1.0);
}

#[test]
fn what_can_never_be_taken_in_does_no_harm() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = start(&redis);
    // As whoever can write to Redis may do, past the script.
    for (user, id, event) in
        [("alice", "bad", "not json".to_owned()), ("bob", "stray", block("stray", "carol"))]
    {
        let state = format!("{{portcullis}}:state:user:{user}");
        ask::<()>(&redis, &["HSET", &state, id, &format!("1-0 {event}")]);
        ask::<()>(&redis, &["SADD", "{portcullis}:subjects", &format!("user:{user}")]);
    }
    ask::<i64>(&redis, &["HINCRBY", "{portcullis}:digest", "count", "2"]);
    write(&redis, "", "alice", "good", &block("good", "alice"));
    wait_until("the good one", || is_blocked(&daemon, "alice"));
    wait_until("a reading", || reads(&daemon, "differs") >= 1.0);
    let before = reads(&daemon, "differs");
    let status = || daemon.metric("portcullis_events_refused_total{kind=\"malformed\"}");
    let refused = status();
    // Several comparisons later it has not been read again and again.
    more_looks(&redis);
    assert!(reads(&daemon, "differs") <= before + 1.0);
    assert!(status() <= refused + 1.0);
    assert!(held(&redis, "alice").contains(&"bad".to_owned()));
}
