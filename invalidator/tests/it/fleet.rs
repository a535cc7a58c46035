//! Several daemons on one Redis: who is there, and who enforces an event.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Daemon, Redis, block, event, free_port, private, request, wait_until,
};
use crate::node::{Node, Running};

const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn daemon(redis: &Redis, name: &str, more: &str) -> Daemon {
    daemon_with(redis, name, ("", more))
}

/// With lines before the sections, and after all.
pub(crate) fn daemon_with(redis: &Redis, name: &str, (first, more): (&str, &str)) -> Daemon {
    let config = format!(
        "{first}[fleet]\nname = \"{name}\"\nregion = \"r1\"\n[sources.redis]\nurl = \"{}\"\n\
         ping_interval = \"100ms\"\ndead_after = \"1s\"\n{more}",
        redis.url()
    );
    let daemon = Daemon::start(&config);
    wait_until("Redis", || daemon.get("/readyz").status == 200);
    daemon
}

/// Publishes an event, and waits for the fleet.
pub(crate) fn everywhere(daemon: &Daemon, event: &str) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("authorization", &*format!("Bearer {}", crate::harness::OPERATOR)),
    ];
    request(&daemon.api, "POST", "/v1/invalidations?wait=fleet", &headers, event)
}

pub(crate) fn fleet(daemon: &Daemon) -> Value {
    let answer = daemon.get("/v1/fleet");
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

pub(crate) fn names(fleet: &Value, state: &str) -> Vec<String> {
    let daemons = fleet["daemons"].as_array().unwrap().iter();
    let those = daemons.filter(|one| one["state"] == state);
    those.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn wait_registered(daemon: &Daemon, expected: &[&str]) {
    wait_until("all daemons and their Envoys to be registered", || {
        let fleet = fleet(daemon);
        let daemons = fleet["daemons"].as_array().unwrap();
        let polled = |one: &Value| one["envoys"].as_array().is_some_and(|all| !all.is_empty());
        fleet["settled"] == true && names(&fleet, "live") == expected && daemons.iter().all(polled)
    });
}

pub(crate) fn reasons(answer: &Value) -> Vec<(String, String)> {
    let missing = answer["fleet"]["missing"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    missing.map(|one| (text(&one["daemon"]), text(&one["reason"]))).collect()
}

pub(crate) fn nodes(answer: &Value) -> Vec<String> {
    let nodes = answer["fleet"]["nodes"].as_array().unwrap().iter();
    let mut nodes: Vec<_> = nodes.map(|one| one["node"].as_str().unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}

#[test]
fn a_block_is_enforced_everywhere_and_a_daemon_that_is_gone_is_said() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let b = daemon(&redis, "b", "");
    let c = daemon(&redis, "c", "");
    let _nodes = [(&a, "n-a"), (&b, "n-b"), (&c, "n-c")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b", "c"]);

    let answer = everywhere(&a, &block("e1", "alice"));
    let said = answer.json();
    assert_eq!(answer.status, 200, "{said}");
    assert_eq!(said["fleet"]["enforced_everywhere"], true, "{said}");
    assert_eq!(nodes(&said), ["n-a", "n-b", "n-c"], "{said}");
    // The same again, and many at once: fences that wait together share an answer.
    assert_eq!(everywhere(&b, &block("e1", "alice")).status, 200);
    std::thread::scope(|scope| {
        for i in 0..16 {
            let a = &a;
            scope.spawn(move || {
                let answer = everywhere(a, &block(&format!("m{i}"), &format!("user-{i}")));
                assert_eq!(answer.status, 200, "{}", answer.text);
            });
        }
    });
    // The command line says it in words.
    let output = a.cli(&["block", "bob", "--everywhere"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("enforced everywhere: 3 nodes of 3 daemons in "), "{text}");
    assert!(text.contains("\nenforced on 1 node of this daemon "), "{text}");
    let output = a.cli(&["nodes"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() == 4 && text.contains("up to date"), "{text}");

    // Stopped, it says nothing; later it counts as gone; never as enforcing.
    c.process.signal("-STOP");
    let asked = Instant::now();
    let answer = everywhere(&a, &block("e2", "carol"));
    let said = answer.json();
    assert_eq!(answer.status, 202, "{said}");
    assert_eq!(reasons(&said), [("c".to_owned(), "no_answer".to_owned())], "{said}");
    assert_eq!((&said["enforced"], nodes(&said).len()), (&json!(true), 2), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    wait_until("the stopped daemon to count as gone", || names(&fleet(&a), "gone") == ["c"]);
    let said = everywhere(&a, &block("e3", "dave")).json();
    assert_eq!(reasons(&said), [("c".to_owned(), "gone".to_owned())], "{said}");
    let output = a.cli(&["block", "erin", "--everywhere"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("NOT enforced everywhere: only 2 nodes of 2 daemons"), "{text}");
    assert!(text.contains("  n-c of daemon c: gone (the daemon, since "), "{text}");
    c.process.signal("-CONT");
    wait_registered(&a, &["a", "b", "c"]);
    wait_until("the daemon that is back to enforce", || {
        everywhere(&a, &block("e2", "carol")).status == 200
    });
}

#[test]
fn an_envoy_that_stops_is_named_and_so_is_one_that_never_comes() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let b = daemon(&redis, "b", "");
    let _one = Running::start(&a, "n-a", "boot-a");
    wait_until("the other daemon to be registered", || {
        let fleet = fleet(&a);
        fleet["settled"] == true && names(&fleet, "live") == ["a", "b"]
    });
    let said = everywhere(&a, &block("e1", "alice")).json();
    assert_eq!(reasons(&said), [("b".to_owned(), "no_envoy".to_owned())], "{said}");
    let other = Running::start(&b, "n-b", "boot-b");
    wait_until("the other Envoy to enforce", || {
        everywhere(&a, &block("e1", "alice")).status == 200
    });
    // It polls no more: at first it may only be slow.
    let stopped: Node = other.stop();
    let said = everywhere(&a, &block("e2", "bob")).json();
    let [(daemon, reason)]: [(String, String); 1] = reasons(&said).try_into().unwrap();
    assert!(daemon == "b" && ["behind", "gone"].contains(&&*reason), "{said}");
    wait_until("the Envoy to be missed", || {
        reasons(&everywhere(&a, &block("e2", "bob")).json())
            == [("b".to_owned(), "gone".to_owned())]
    });
    drop(stopped);
}

#[test]
fn equal_names_are_said_and_one_daemon_after_the_other_is_one() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "same", "");
    let mut b = daemon(&redis, "same", "");
    wait_until("equal names to be said", || fleet(&a)["equal_names"] == json!(["same"]));
    let log = || a.log() + &b.log();
    wait_until("the error in the log", || log().contains("the same fleet.name"));
    // The other one of that name was there beside it, and so is not what it has become.
    b.process.signal("-KILL");
    b.process.exit_code();
    wait_until("one of them to remain", || {
        let fleet = fleet(&a);
        fleet["equal_names"] == json!([])
            && (names(&fleet, "live"), names(&fleet, "gone"))
                == (vec!["same".to_owned()], vec!["same".to_owned()])
    });
    // Whoever comes after it is.
    let c = daemon(&redis, "same", "");
    wait_until("its successor", || {
        let fleet = fleet(&c);
        names(&fleet, "live") == ["same", "same"] && names(&fleet, "gone").is_empty()
    });
}

#[test]
fn a_redis_that_has_lost_its_data_knows_nobody_and_that_is_said() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    redis::cmd("FLUSHALL").exec(&mut redis.connect()).unwrap();
    let said = everywhere(&a, &block("e1", "alice")).json();
    assert_eq!(said["fleet"]["enforced_everywhere"], false, "{said}");
    let all = ("(all)".to_owned(), "registry_new".to_owned());
    assert!(reasons(&said).contains(&all), "{said}");
    wait_until("everybody to be registered anew", || {
        everywhere(&a, &block("e1", "alice")).status == 200
    });
}

#[test]
fn without_redis_there_is_no_fleet_and_without_its_answer_nothing_is_claimed() {
    let alone = Daemon::start("");
    assert_eq!(alone.get("/v1/fleet").json()["type"], "urn:portcullis:problem:no_fleet");
    let answer = everywhere(&alone, &block("e1", "alice"));
    assert_eq!((answer.status, &answer.json()["field"]), (409, &json!("wait")));
    assert_eq!(alone.get("/v1/users/alice").status, 404, "it was not taken in");
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let _node = Running::start(&a, "n-a", "boot-a");
    drop(redis);
    let said = everywhere(&a, &block("e1", "alice")).json();
    assert_eq!(said["fleet"]["enforced_everywhere"], false, "{said}");
    assert_eq!(reasons(&said), [("(all)".to_owned(), "redis_unreachable".to_owned())], "{said}");
    assert_eq!(said["enforced"], true, "by this daemon's Envoys: {said}");
    wait_until("the loss to be noticed", || a.get("/v1/fleet").status == 503);
}

/// Somebody who may write to Redis answers the last fence in the name of a daemon that does not. Gives its nonce.
fn forge(redis: &Redis, run: &str, node: &str) -> Option<String> {
    let mut redis = redis.connect();
    let entries: redis::streams::StreamRangeReply = redis::cmd("XREVRANGE")
        .arg("{portcullis}:stream")
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query(&mut redis)
        .ok()?;
    let fence: String = entries.ids.first()?.get("fence")?;
    let fence: Value = serde_json::from_str(&fence).ok()?;
    let said = json!({
        "known": true, "in_effect": true, "settled": true, "uptime_s": 9,
        "nodes": [{"node": node, "boot_id": "x", "state": "enforced"}],
    });
    let answers = json!([{"ask": 0, "said": said.to_string(), "mac": "0".repeat(64)}]);
    let reply = json!({"nonce": fence["nonce"], "run": run, "daemon": "b", "answers": answers});
    let key = format!("{{portcullis}}:answers:{}", fence["to"].as_str()?);
    redis::cmd("RPUSH").arg(key).arg(reply.to_string()).exec(&mut redis).ok()?;
    Some(fence["nonce"].as_str()?.to_owned())
}

#[test]
fn where_signatures_are_required_a_forged_answer_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let keys = format!("[[keys]]\nid = \"k1\"\nsecret = \"{KEY}\"\n");
    let keys = private(directory.path(), "keys.toml", &keys);
    let secret = private(directory.path(), "secret", KEY);
    let more = format!(
        "[events]\nkeys_file = \"{}\"\n[events.redis]\nsignatures = \"required\"\n",
        keys.display()
    );
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", &more);
    let b = daemon(&redis, "b", &more);
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    let signed = ["--sign-key-id", "k1", "--sign-secret-file", secret.to_str().unwrap()];
    let publish = |user: &str| {
        let words = [&["block", user, "--everywhere", "--json"], signed.as_slice()].concat();
        let output = a.cli(&words);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    let (code, said) = publish("alice");
    assert_eq!((code, &said["fleet"]["enforced_everywhere"]), (Some(0), &json!(true)), "{said}");

    b.process.signal("-STOP");
    let fleet = fleet(&a);
    let mut daemons = fleet["daemons"].as_array().unwrap().iter();
    let run = daemons.find(|one| one["name"] == "b").unwrap()["run"].as_str().unwrap().to_owned();
    let before = forge(&redis, &run, "n-b");
    let is_forged = std::thread::scope(|scope| {
        let forging = scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(8);
            let mut is_forged = false;
            while Instant::now() < until && !is_forged {
                is_forged = forge(&redis, &run, "n-b").is_some_and(|nonce| Some(nonce) != before);
            }
            is_forged
        });
        let (code, said) = publish("bob");
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(nodes(&said), ["n-a"], "{said}");
        let [(daemon, reason)]: [(String, String); 1] = reasons(&said).try_into().unwrap();
        assert!(daemon == "b" && ["no_answer", "not_vouched"].contains(&&*reason), "{said}");
        forging.join().unwrap()
    });
    assert!(is_forged);
    b.process.signal("-CONT");
}

#[test]
fn a_publisher_with_redis_alone_asks_the_same() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let _node = Running::start(&a, "n-a", "boot-a");
    redis.publish(event("e1", "alice", json!({ "action": "block" })).to_string().as_bytes());
    let mut redis = redis.connect();
    wait_until("the event to be in the stream", || {
        let state = "{portcullis}:state:user:alice";
        redis::cmd("EXISTS").arg(state).query(&mut redis).unwrap()
    });
    // As docs/reference/redis.md says; beside it what is no fence at all.
    let asks = json!([{"subject": "user:alice", "event_id": "e1"}, {"subject": "user:alice", "event_id": "e9"}]);
    let fence = json!({"nonce": "n1", "to": "desk-1", "for_ms": 5000, "asks": asks});
    for text in ["{}", "\u{0}", &fence.to_string()] {
        redis::cmd("XADD")
            .arg("{portcullis}:stream")
            .arg("*")
            .arg("fence")
            .arg(text)
            .exec(&mut redis)
            .unwrap();
    }
    let key = "{portcullis}:answers:desk-1";
    let mut said = std::collections::BTreeMap::new();
    while said.len() < 2 {
        let (_, reply): (String, String) =
            redis::cmd("BLPOP").arg(key).arg(10).query(&mut redis).unwrap();
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!((&reply["nonce"], &reply["daemon"]), (&json!("n1"), &json!("a")));
        for answer in reply["answers"].as_array().unwrap() {
            let text = answer["said"].as_str().unwrap();
            let text: Value = serde_json::from_str(text).unwrap();
            if text["settled"] == true {
                said.insert(answer["ask"].as_u64().unwrap(), text);
            }
        }
    }
    assert_eq!(said[&0]["nodes"][0]["state"], "enforced", "{said:?}");
    assert_eq!(
        (&said[&1]["known"], said[&1]["nodes"].as_array().unwrap().len()),
        (&json!(false), 0)
    );
}
