//! Can "enforced everywhere" be said and not be so? Each way that somebody has thought of, tried.

use std::io::Read as _;
use std::time::{Duration, Instant};

use model::subject::Subject;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fleet::{
    daemon, daemon_with, everywhere, fleet, names, nodes, reasons, wait_registered,
};
use crate::harness::{Daemon, Redis, block, event, free_port, private, wait_until};
use crate::node::{Node, Running, is_synced};

fn is_everywhere(said: &Value) -> bool {
    said["fleet"]["enforced_everywhere"] == true
}

fn missing(said: &Value) -> Vec<(String, String, String)> {
    let missing = said["fleet"]["missing"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    missing.map(|one| (text(&one["daemon"]), text(&one["node"]), text(&one["reason"]))).collect()
}

fn triple(daemon: &str, node: &str, reason: &str) -> (String, String, String) {
    (daemon.to_owned(), node.to_owned(), reason.to_owned())
}

fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut redis.connect()).unwrap()
}

/// A daemon that can be cut off from Redis alone: it has a user of its own there.
struct Severable(Daemon);

impl Severable {
    fn start(redis: &Redis, name: &str) -> Self {
        Self::admit(redis);
        let config = format!(
            "[fleet]\nname = \"{name}\"\n[sources.redis]\nurl = \"{}\"\nuser = \"severable\"\n\
             password = \"pass\"\nping_interval = \"100ms\"\ndead_after = \"1s\"\n",
            redis.url()
        );
        let daemon = Daemon::start(&config);
        wait_until("Redis", || daemon.get("/readyz").status == 200);
        Self(daemon)
    }

    /// Lets it in, at first and again.
    fn admit(redis: &Redis) {
        let words =
            ["ACL", "SETUSER", "severable", "on", ">pass", "allkeys", "allchannels", "+@all"];
        ask::<()>(redis, &words);
    }

    /// Its Envoys go on polling it, and it goes on serving them.
    fn cut_off(&self, redis: &Redis) {
        ask::<()>(redis, &["ACL", "SETUSER", "severable", "off"]);
        ask::<u64>(redis, &["CLIENT", "KILL", "USER", "severable"]);
    }
}

fn wait_state(asked: &Daemon, state: &str, expected: &[&str]) {
    wait_until("the daemon to be in that state", || names(&fleet(asked), state) == expected);
}

fn wait_everywhere(asked: &Daemon, event: &str, expected: &[&str]) {
    let mut last = Value::Null;
    wait_until("it to be enforced everywhere", || {
        last = everywhere(asked, event).json();
        is_everywhere(&last) && nodes(&last) == expected
    });
}

/// Ends a daemon at once, and gives its directory.
fn kill(mut daemon: Daemon) -> TempDir {
    daemon.process.signal("-KILL");
    daemon.process.exit_code();
    std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap())
}

/// Ends a node as a process ends that waits for news: its connection is closed.
fn end(daemon: &Daemon, node: Running) {
    let node = node.stop();
    let heard_ago = || daemon.status()["nodes"][0]["staleness_ms"].as_u64().unwrap();
    wait_until("some time to pass", || heard_ago() > 20);
    let (open, before) = (node.leave_open(), Instant::now());
    wait_until("the poll to arrive", || u128::from(heard_ago()) <= before.elapsed().as_millis());
    drop(open);
    wait_until("its end to be noticed", || daemon.status()["nodes"][0]["hung_up"] == true);
}

fn start_again(redis: &Redis, name: &str, directory: TempDir) -> Daemon {
    let config = format!(
        "[fleet]\nname = \"{name}\"\nregion = \"r1\"\n[sources.redis]\nurl = \"{}\"\n\
         ping_interval = \"100ms\"\ndead_after = \"1s\"\n",
        redis.url()
    );
    let daemon = Daemon::spawn(&config, directory);
    daemon.wait_for_health();
    wait_until("Redis", || daemon.get("/readyz").status == 200);
    daemon
}

#[test]
fn a_daemon_that_is_cut_off_is_missed_although_another_one_has_its_name() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let cut = Severable::start(&redis, "same");
    let other = daemon(&redis, "same", "");
    // Even their Envoys have one name.
    let _nodes = [(&a, "n-a"), (&cut.0, "edge"), (&other, "edge")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{}", daemon.api)));
    wait_registered(&a, &["a", "same", "same"]);
    wait_everywhere(&a, &block("e0", "alice"), &["edge", "edge", "n-a"]);
    cut.cut_off(&redis);
    wait_state(&a, "gone", &["same"]);
    let said = everywhere(&a, &block("e1", "bob")).json();
    assert!(!is_everywhere(&said), "{said}");
    assert_eq!(missing(&said), [triple("same", "edge", "gone")], "{said}");
    assert_eq!(cut.0.get("/v1/users/bob").status, 404, "its Envoy does not have the block");
    Severable::admit(&redis);
    wait_everywhere(&a, &block("e1", "bob"), &["edge", "edge", "n-a"]);
}

#[test]
fn an_envoy_that_does_not_come_back_with_its_daemon_is_missed() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let b = daemon(&redis, "b", "");
    let _here = Running::start(&a, "n-a", "boot-a");
    let stays = Running::start(&b, "stays", "boot-stays");
    let leaves = Running::start(&b, "leaves", "boot-leaves");
    wait_registered(&a, &["a", "b"]);
    wait_everywhere(&a, &block("e0", "alice"), &["leaves", "n-a", "stays"]);
    let left: Node = leaves.stop();
    let directory = kill(b);
    wait_state(&a, "gone", &["b"]);
    let b = start_again(&redis, "b", directory);
    wait_until("one Envoy to be back", || is_synced(&b, "boot-stays"));
    wait_state(&a, "live", &["a", "b"]);
    wait_until("only the other one to be missed", || {
        let said = everywhere(&a, &block("e1", "alice")).json();
        assert!(!is_everywhere(&said), "{said}");
        missing(&said) == [triple("b", "leaves", "gone")]
    });
    let _back = left.run();
    wait_everywhere(&a, &block("e1", "alice"), &["leaves", "n-a", "stays"]);
    drop(stays);
}

#[test]
fn a_daemon_that_is_stopped_on_purpose_says_so_and_which_envoys_it_leaves_behind() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut b = daemon(&redis, "b", "");
    let _here = Running::start(&a, "n-a", "boot-a");
    let there = Running::start(&b, "n-b", "boot-b");
    wait_registered(&a, &["a", "b"]);
    let directory = b.end();
    // At once, and not only after three seconds.
    assert_eq!(names(&fleet(&a), "stopped"), ["b"]);
    let said = everywhere(&a, &block("e1", "alice")).json();
    assert_eq!(missing(&said), [triple("b", "n-b", "stopped")], "{said}");
    let text = String::from_utf8(a.cli(&["nodes"]).stdout).unwrap();
    assert!(text.contains("stopped since ") && text.contains("without a daemon"), "{text}");
    let b = start_again(&redis, "b", directory);
    wait_everywhere(&a, &block("e1", "alice"), &["n-a", "n-b"]);
    wait_state(&a, "stopped", &[]);
    // Its Envoy ends first this time: nothing is left behind, and nobody is waited for.
    end(&b, there);
    let mut b = b;
    b.process.signal("-TERM");
    b.process.exit_code();
    assert_eq!(names(&fleet(&a), "stopped"), ["b"]);
    let said = everywhere(&a, &block("e2", "bob")).json();
    assert!(is_everywhere(&said) && nodes(&said) == ["n-a"], "{said}");
}

#[test]
fn a_daemon_that_is_cut_off_is_missed_although_redis_has_lost_its_registration() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let cut = Severable::start(&redis, "b");
    let _nodes = [(&a, "n-a"), (&cut.0, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    wait_until("the other one to be remembered", || {
        a.metric("portcullis_fleet_daemons{state=\"live\"}") == 2.0
    });
    cut.cut_off(&redis);
    wait_state(&a, "gone", &["b"]);
    ask::<()>(&redis, &["FLUSHALL"]);
    let until = Instant::now() + Duration::from_secs(8);
    let mut last = Value::Null;
    while Instant::now() < until {
        last = everywhere(&a, &block("e1", "alice")).json();
        assert!(!is_everywhere(&last), "{last}");
    }
    assert_eq!(missing(&last), [triple("b", "n-b", "gone")], "{last}");
    assert!(a.log().contains("registrations that Redis has lost are written back"), "{}", a.log());
}

/// As if Redis's clock had been set since the last renewal: registrations know of it by what they noted of it then.
fn set_clock(redis: &Redis, ahead_ms: i64) {
    let (daemons, field) = ("{portcullis}:daemons", "clock");
    let clock: String = ask(redis, &["HGET", daemons, field]);
    let (now, seen) = clock.split_once(' ').unwrap();
    let seen: i64 = seen.parse().unwrap();
    ask::<u64>(redis, &["HSET", daemons, field, &format!("{now} {}", seen - ahead_ms)]);
}

#[test]
fn nobody_is_forgotten_or_takes_part_because_redis_clock_was_set() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let cut = Severable::start(&redis, "b");
    let c = daemon(&redis, "c", "");
    let _nodes = [(&a, "n-a"), (&cut.0, "n-b"), (&c, "n-c")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b", "c"]);
    wait_everywhere(&a, &block("e0", "alice"), &["n-a", "n-b", "n-c"]);
    cut.cut_off(&redis);
    wait_state(&a, "gone", &["b"]);
    for (at, ahead_ms) in
        [7_200_000, -7_200_000, 90_000_000, i64::from(i32::MIN)].into_iter().enumerate()
    {
        set_clock(&redis, ahead_ms);
        for more in 0..10 {
            let said = everywhere(&a, &block(&format!("e{at}-{more}"), "bob")).json();
            assert!(!is_everywhere(&said), "{ahead_ms}: {said}");
            assert!(missing(&said).contains(&triple("b", "n-b", "gone")), "{ahead_ms}: {said}");
        }
        // Nobody else counts as gone for it.
        wait_state(&a, "live", &["a", "c"]);
    }
    // What is no time is made anew.
    for clock in ["", "x y", "99999999999999999999 0", "5 5"] {
        ask::<u64>(&redis, &["HSET", "{portcullis}:daemons", "clock", clock]);
        wait_until("registrations to begin anew", || {
            let said = everywhere(&a, &block("e8", "dave")).json();
            assert!(!is_everywhere(&said), "{clock}: {said}");
            fleet(&a)["settled"] == true && names(&fleet(&a), "live") == ["a", "c"]
        });
    }
    Severable::admit(&redis);
    wait_everywhere(&a, &block("e9", "carol"), &["n-a", "n-b", "n-c"]);
}

/// Has all daemons asked while one of them hangs, does something, and lets it go on. Gives what was answered.
fn meanwhile(asked: &Daemon, hangs: &Daemon, event: &str, then: impl FnOnce()) -> Value {
    let fences = || asked.metric("portcullis_fleet_fences_total{result=\"asked\"}");
    let before = fences();
    hangs.process.signal("-STOP");
    let said = std::thread::scope(|scope| {
        let asking = scope.spawn(|| everywhere(asked, event));
        wait_until("all to be asked", || fences() > before);
        then();
        hangs.process.signal("-CONT");
        asking.join().unwrap()
    });
    said.json()
}

/// A daemon that waits for long.
fn patient(redis: &Redis, name: &str) -> Daemon {
    daemon_with(redis, name, ("api.ack_timeout = \"9s\"\n", ""))
}

#[test]
fn what_is_overruled_meanwhile_is_not_enforced_everywhere() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (patient(&redis, "a"), daemon(&redis, "b", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    let lift = event("e2", "alice", json!({ "action": "unblock" })).to_string();
    let said = meanwhile(&a, &b, &block("e1", "alice"), || {
        assert_eq!(a.post(&lift).json()["in_effect"], true);
    });
    assert!(!is_everywhere(&said) && said["in_effect"] == false, "{said}");
}

#[test]
fn what_the_first_ones_have_said_long_ago_is_asked_again() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (patient(&redis, "a"), daemon(&redis, "b", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    let asked = || a.metric("portcullis_fleet_fences_total{result=\"asked\"}");
    let before = asked();
    let began = Instant::now();
    let said = meanwhile(&a, &b, &block("e1", "alice"), || {
        wait_until("more than a second to pass", || began.elapsed() > Duration::from_millis(1_300));
    });
    assert!(is_everywhere(&said) && nodes(&said) == ["n-a", "n-b"], "{said}");
    assert_eq!(asked() - before, 2.0, "what was said counts for a second");
    // The daemon that is asked hangs itself, and finds the answers of back then.
    let before = asked();
    let said = meanwhile(&a, &b, &block("e2", "bob"), || {
        a.process.signal("-STOP");
        b.process.signal("-CONT");
        let began = Instant::now();
        wait_until("the time to pass", || began.elapsed() > Duration::from_secs(5));
        a.process.signal("-CONT");
    });
    assert!(!is_everywhere(&said) || asked() - before == 2.0, "{said}");
}

#[test]
fn a_daemon_that_comes_while_all_are_asked_has_the_event_before_its_envoy_serves() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (patient(&redis, "a"), daemon(&redis, "b", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    let mut late = None;
    let said = meanwhile(&a, &b, &block("e1", "alice"), || {
        let c = daemon(&redis, "c", "");
        let mut node = Node::new(&c, "n-c", "boot-c");
        while node.next.epoch.is_empty() || node.next.in_snapshot {
            node.poll();
        }
        late = Some(node.states);
    });
    let alice = Subject::user("alice").unwrap();
    assert!(is_everywhere(&said), "{said}");
    assert!(late.unwrap().contains_key(&alice), "it was told with the first that it was told");
}

#[test]
fn a_redis_that_is_another_one_meanwhile_answers_nothing() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (patient(&redis, "a"), daemon(&redis, "b", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    let (mut redis, mut next) = (Some(redis), None);
    let said = meanwhile(&a, &b, &block("e1", "alice"), || {
        // As a replica that was behind becomes the master: neither the event nor the question is there.
        let (port, _) = redis.take().unwrap().kill();
        next = Some(Redis::start(port, &[]));
    });
    assert!(!is_everywhere(&said), "{said}");
    wait_everywhere(&a, &block("e1", "alice"), &["n-a", "n-b"]);
    drop(next);
}

#[test]
fn an_answer_or_a_question_of_before_says_nothing() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    let run = |name: &str| {
        let fleet = fleet(&a);
        let mut daemons = fleet["daemons"].as_array().unwrap().iter();
        daemons.find(|one| one["name"] == name).unwrap()["run"].as_str().unwrap().to_owned()
    };
    assert!(is_everywhere(&everywhere(&a, &block("e1", "alice")).json()));
    // The same question, addressed to somebody who keeps what is answered.
    let fence = |nonce: &str, to: &str| {
        let asks = json!([{"subject": "user:alice", "event_id": "e1"}]);
        json!({"nonce": nonce, "to": to, "for_ms": 2000, "asks": asks}).to_string()
    };
    let put = |fence: &str| {
        ask::<String>(&redis, &["XADD", "{portcullis}:stream", "*", "fence", fence]);
    };
    put(&fence("n1", "thief"));
    let mut kept = Vec::new();
    while kept.len() < 2 {
        let (_, reply): (String, String) =
            ask(&redis, &["BLPOP", "{portcullis}:answers:thief", "9"]);
        kept.push(reply);
    }
    b.process.signal("-STOP");
    let (to, own) = (run("a"), run("b"));
    let unasked = || a.metric("portcullis_fleet_replies_total{result=\"unasked\"}");
    let said = std::thread::scope(|scope| {
        let asking = scope.spawn(|| everywhere(&a, &block("e1", "alice")));
        let key = format!("{{portcullis}}:answers:{to}");
        while !asking.is_finished() {
            for reply in kept.iter().filter(|reply| reply.contains(&own)) {
                ask::<u64>(&redis, &["RPUSH", &key, reply]);
            }
            put(&fence("n1", &to));
        }
        asking.join().unwrap().json()
    });
    assert!(!is_everywhere(&said), "{said}");
    assert_eq!(reasons(&said), [("b".to_owned(), "no_answer".to_owned())], "{said}");
    assert!(unasked() > 0.0, "they came, and answered nothing");
    b.process.signal("-CONT");
}

#[test]
fn an_event_that_counts_under_another_id_in_redis_is_asked_about_under_that() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "digest_interval = \"1h\"\nsample_interval = \"1h\"\n");
    let _here = Running::start(&a, "n-a", "boot-a");
    // Another event has the id in Redis, and nobody has told this daemon: another one comes to know it.
    let other = event("e1", "alice", json!({"action": "block", "reason": "other"})).to_string();
    let (state, kept) = ("{portcullis}:state:user:alice", format!("1-0 {other}"));
    ask::<u64>(&redis, &["HSET", state, "e1", &kept]);
    ask::<u64>(&redis, &["SADD", "{portcullis}:subjects", "user:alice"]);
    let b = daemon(&redis, "b", "");
    let _there = Running::start(&b, "n-b", "boot-b");
    wait_registered(&a, &["a", "b"]);
    let known = b.get("/v1/users/alice").json();
    assert_eq!(known["blocks"][0]["reason"], "other", "{known}");
    let said = everywhere(&a, &block("e1", "alice")).json();
    let id = said["event_id"].as_str().unwrap();
    assert!(id.starts_with("e1~"), "{said}");
    // If it is said, then of this event.
    assert!(is_everywhere(&said), "{said}");
    let known = b.get("/v1/users/alice").json();
    let blocks = known["blocks"].as_array().unwrap().iter();
    let reasons: Vec<_> = blocks.map(|block| block["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"fraud"), "{known}");
}

#[test]
fn an_envoy_that_begins_anew_after_it_has_acknowledged_enforces_nothing_until_it_is_synchronized() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let _here = Running::start(&a, "n-a", "boot-a");
    let there = Running::start(&b, "n-b", "boot-b");
    wait_registered(&a, &["a", "b"]);
    wait_everywhere(&a, &block("e1", "alice"), &["n-a", "n-b"]);
    // Its process ends, and another one of its name asks for everything, and has applied nothing yet.
    end(&b, there);
    let mut new = Node::new(&b, "n-b", "boot-b2");
    new.poll();
    let said = everywhere(&a, &block("e1", "alice")).json();
    assert!(!is_everywhere(&said), "{said}");
    assert_eq!(missing(&said), [triple("b", "n-b", "never_synced")], "{said}");
    let _new = new.run();
    wait_everywhere(&a, &block("e1", "alice"), &["n-a", "n-b"]);
}

#[test]
fn an_envoy_that_ends_between_two_polls_leaves_its_name_to_the_next_one() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let first = Running::start(&a, "edge", "boot-1");
    wait_registered(&a, &["a"]);
    wait_everywhere(&a, &block("e1", "alice"), &["edge"]);
    // Its last poll is answered at once, and it ends before the next one.
    let mut first = first.stop();
    first.next.applied = 0;
    first.next.epoch.clear();
    let mut connection = first.leave_open();
    let mut answer = [0; 64];
    assert!(connection.read(&mut answer).unwrap() > 0);
    drop(connection);
    wait_until("its end to be noticed", || a.status()["nodes"][0]["hung_up"] == true);
    let _second = Running::start(&a, "edge", "boot-2");
    wait_everywhere(&a, &block("e2", "bob"), &["edge"]);
}

#[test]
fn two_envoys_of_one_name_at_one_daemon_are_two() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let _here = Running::start(&a, "n-a", "boot-a");
    let silent = Running::start(&b, "edge", "boot-1");
    let _other = Running::start(&b, "edge", "boot-2");
    wait_registered(&a, &["a", "b"]);
    wait_everywhere(&a, &block("e1", "alice"), &["edge", "edge", "n-a"]);
    // One of them falls silent, and may serve on: the other one does not speak for it.
    let silent = silent.stop();
    wait_until("it to be missed", || {
        let said = everywhere(&a, &block("e2", "bob")).json();
        assert!(!is_everywhere(&said), "{said}");
        missing(&said) == [triple("b", "edge", "gone")]
    });
    drop(silent);
}

#[test]
fn a_node_that_only_counts_and_a_daemon_that_wants_signatures_do_not_enforce() {
    let directory = tempfile::tempdir().unwrap();
    let key = "[[keys]]\nid = \"k\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    let keys = private(directory.path(), "keys.toml", key);
    let strict = format!(
        "[events]\nkeys_file = \"{}\"\n[events.redis]\nsignatures = \"required\"\n",
        keys.display()
    );
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", &strict));
    let c = daemon(&redis, "c", "");
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    let mut shadow = Node::new(&c, "n-c", "boot-c");
    shadow.next.idle = vec!["blocks".to_owned()];
    let _shadow = shadow.run();
    wait_registered(&a, &["a", "b", "c"]);
    wait_until("the node in shadow to be synchronized", || is_synced(&c, "boot-c"));
    let said = everywhere(&a, &block("e1", "alice")).json();
    assert!(!is_everywhere(&said), "{said}");
    assert_eq!(
        missing(&said),
        [triple("b", "-", "refused"), triple("c", "n-c", "refused")],
        "{said}"
    );
}
