//! The audit log of a running daemon: what stands in it, what is found out about it, and who is
//! erased from it. What happens to its files is in `files`.

mod files;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use model::push::Refusal;
use serde_json::{Value, json};

use crate::fleet::{daemon_with, everywhere, wait_registered};
use crate::harness::{
    AUDITOR, Daemon, PUBLISHER, Redis, block, event, free_port, portcullis, private, request, text,
    wait_until,
};
use crate::node::{Node, Running};

const ALWAYS: &str = "audit.fsync = \"always\"\naudit.key = \"a-key-of-the-audit-log\"\n";

fn directory(daemon: &Daemon) -> PathBuf {
    daemon.directory.path().join("store/audit")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| path.extension().is_some_and(|name| name == "jsonl");
    let mut files: Vec<_> = paths.filter(is_log).collect();
    files.sort();
    files
}

fn content(directory: &Path) -> String {
    files(directory).iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Every line, as it is now.
fn lines(daemon: &Daemon) -> Vec<Value> {
    content(&directory(daemon)).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn of_kind(daemon: &Daemon, kind: &str) -> Vec<Value> {
    lines(daemon).into_iter().filter(|line| line["kind"] == kind).collect()
}

fn verify(daemon: &Daemon, more: &[&str]) -> Output {
    let config = daemon.directory.path().join("portcullis.toml");
    let mut command = portcullis();
    command.args(["audit", "verify", "--config"]).arg(config).args(more).output().unwrap()
}

fn show(daemon: &Daemon, more: &[&str]) -> Vec<Value> {
    let directory = directory(daemon);
    let place = ["audit", "show", "--json", "--directory", directory.to_str().unwrap()];
    let shown = daemon.cli(&[&place, more].concat());
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    text(&shown.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_intact(daemon: &Daemon) {
    let verified = verify(daemon, &[]);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stdout));
}

#[test]
fn events_pushes_and_calls_are_there_once_they_are_answered_and_name_nobody() {
    let daemon = Daemon::start(ALWAYS);
    let node = Running::start(&daemon, "edge-1", "boot-1");
    assert_eq!(daemon.post(&block("evt-1", "alice-4711")).status, 200);
    let noted = of_kind(&daemon, "event");
    assert_eq!(noted.len(), 1, "it is on disk before the answer");
    assert_eq!(noted[0]["result"], "applied");
    assert_eq!(noted[0]["action"], "block");
    assert_eq!(noted[0]["reason"], "fraud");
    let alice = noted[0]["user"].as_str().unwrap().to_owned();
    let push = of_kind(&daemon, "push");
    assert_eq!((&push[0]["result"], &push[0]["node"]), (&json!("enforced"), &json!("edge-1")));
    assert_eq!((&push[0]["event_id"], &push[0]["user"]), (&json!("evt-1"), &json!(alice)));
    assert!(push[0]["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(daemon.post(&block("evt-1", "alice-4711")).status, 200);
    assert_eq!(daemon.post("{}").status, 400);
    let results: Vec<_> = of_kind(&daemon, "event").iter().map(|l| l["result"].clone()).collect();
    assert_eq!(results, ["applied", "duplicate", "refused"]);
    daemon.get("/v1/users/alice-4711");
    daemon.get("/v1/users/somebody-else");
    let calls = of_kind(&daemon, "call");
    let publish = calls.iter().find(|l| l["resource"] == "/v1/invalidations").unwrap();
    assert_eq!((&publish["role"], &publish["event_id"]), (&json!("operator"), &json!("evt-1")));
    let reads: Vec<_> = calls.iter().filter(|l| l["resource"] == "/v1/users/{id}").collect();
    assert_eq!((&reads[0]["user"], &reads[0]["status"]), (&json!(alice), &json!(200)));
    assert_eq!((&reads[1]["user"], &reads[1]["status"]), (&json!("unknown"), &json!(404)));
    node.stop();
    let text = content(&directory(&daemon));
    assert!(!text.contains("alice-4711") && !text.contains("somebody-else"));
    assert_intact(&daemon);
}

#[test]
fn what_was_said_of_the_fleet_is_noted_with_who_enforces_it_and_who_does_not_and_why() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon_with(&redis, "a", (ALWAYS, ""));
    let b = daemon_with(&redis, "b", ("", ""));
    let _nodes = [(&a, "n-a"), (&b, "n-b")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    wait_registered(&a, &["a", "b"]);
    assert_eq!(everywhere(&a, &block("e1", "alice")).status, 200);
    b.process.signal("-STOP");
    assert_eq!(everywhere(&a, &block("e2", "bob")).status, 202);
    b.process.signal("-CONT");
    let noted = of_kind(&a, "fence");
    let [done, missing] = noted.as_slice() else { panic!("{noted:?}") };
    for (line, event, result) in [(done, "e1", "everywhere"), (missing, "e2", "missing")] {
        assert_eq!((&line["event_id"], &line["result"]), (&json!(event), &json!(result)));
        assert_eq!((&line["caller"], &line["role"]), (&json!("test-operator"), &json!("operator")));
        assert_eq!((&line["part"], &line["parts"]), (&json!(1), &json!(1)));
        assert!(line["user"].as_str().is_some_and(|name| name.starts_with('p')), "{line}");
        assert!(!line.to_string().contains("alice") && !line.to_string().contains("bob"));
    }
    let nodes = |line: &Value| -> Vec<String> {
        let nodes = line["nodes"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        nodes.map(|one| [&one["daemon"], &one["node"], &one["is"]].map(text).join(" ")).collect()
    };
    assert_eq!(nodes(done), ["a n-a enforced", "b n-b enforced"]);
    assert_eq!(nodes(missing), ["b n-b no_answer", "a n-a enforced"]);
    assert_eq!((&missing["enforced"], &missing["missing"]), (&json!(1), &json!(1)));
    assert_eq!(missing["nodes"][1]["boot_id"], "boot-n-a");
    assert_intact(&a);
    // And it is counted.
    let count = |sample: &str| a.metric(&format!("portcullis_fleet_{sample}"));
    assert_eq!(count("questions_total{result=\"everywhere\"}"), 1.0);
    assert_eq!(count("questions_total{result=\"missing\"}"), 1.0);
    assert_eq!(count("missing_total{reason=\"no_answer\"}"), 1.0);
    assert_eq!(count("answer_seconds_count"), 2.0);
    assert_eq!((count("fences_total{result=\"asked\"}"), count("registered")), (2.0, 1.0));
    assert!(count("replies_total{result=\"taken\"}") >= 3.0);
}

#[test]
fn what_a_node_cannot_store_and_what_it_does_not_answer_is_noted() {
    let daemon =
        Daemon::start(&format!("api.ack_timeout = \"50ms\"\npoll.hold = \"50ms\"\n{ALWAYS}"));
    let mut node = Node::new(&daemon, "edge-1", "boot-1");
    node.poll();
    node.poll();
    assert_eq!(daemon.post(&block("evt-1", "alice")).status, 202);
    let with = |result: &str| -> Vec<Value> {
        of_kind(&daemon, "push").into_iter().filter(|line| line["result"] == result).collect()
    };
    wait_until("the overdue change", || !with("pending").is_empty());
    assert_eq!(with("pending")[0]["event_id"], "evt-1");
    node.poll();
    node.next.refused = vec![Refusal { sequence: 1, cause: "slab_full".into() }];
    node.try_poll().unwrap();
    wait_until("the refusal", || !with("refused").is_empty());
    assert_eq!(with("refused")[0]["cause"], "slab_full");
    assert!(with("enforced").is_empty());
    assert_intact(&daemon);
}

#[test]
fn who_is_not_let_in_is_noted_and_probes_are_not() {
    let daemon = Daemon::start(ALWAYS);
    let path = format!("{}/v1/users/alice-4711", daemon.api);
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for _ in 0..3 {
        assert_eq!(agent.get(&path).call().unwrap().status(), 401);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/v1/status"] {
        daemon.get(path);
    }
    assert_eq!(of_kind(&daemon, "denied").len(), 3);
    assert_eq!(of_kind(&daemon, "denied")[0]["status"], 401);
    let calls = of_kind(&daemon, "call");
    assert!(calls.iter().all(|call| call["resource"] == "/v1/status"), "{calls:?}");
    assert!(!content(&directory(&daemon)).contains("alice-4711"));
}

#[test]
fn a_flood_of_strangers_does_not_hide_what_a_known_caller_tries() {
    let daemon = Daemon::start(ALWAYS);
    let path = format!("{}/v1/erase", daemon.api);
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let is_too_much = || agent.post(&path).send("{}").unwrap().status() == 429;
    wait_until("strangers to be throttled", is_too_much);
    let bearer = format!("Bearer {AUDITOR}");
    let header = ("authorization", bearer.as_str());
    assert_eq!(request(&daemon.api, "POST", "/v1/erase", &[header], "{}").status, 403);
    let of_known = || of_kind(&daemon, "denied").into_iter().find(|line| line["role"] == "auditor");
    wait_until("the line about the auditor", || of_known().is_some());
    assert_eq!(of_known().unwrap()["status"], 403);
}

#[test]
fn a_caller_who_does_not_wait_for_the_answer_is_noted_all_the_same() {
    let daemon = Daemon::start(&format!("api.ack_timeout = \"1s\"\n{ALWAYS}"));
    // Enforces nothing: the publisher would have to wait.
    let mut node = Node::new(&daemon, "edge-1", "boot-1");
    node.poll();
    let body = block("evt-1", "alice");
    let mut stream = TcpStream::connect(daemon.api.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /v1/invalidations HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {PUBLISHER}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    wait_until("the event", || !of_kind(&daemon, "event").is_empty());
    drop(stream);
    wait_until("the call", || !of_kind(&daemon, "call").is_empty());
    let call = &of_kind(&daemon, "call")[0];
    assert_eq!((&call["role"], &call["event_id"]), (&json!("publisher"), &json!("evt-1")));
    assert_eq!(call["status"], 202);
}

#[test]
fn erasing_a_user_leaves_lines_about_nobody_and_says_what_remains() {
    let daemon = Daemon::start(ALWAYS);
    daemon.post(&block("evt-1", "alice-4711"));
    daemon.post(&block("evt-2", "bob-4712"));
    assert_eq!(show(&daemon, &["--user", "alice-4711", "--kind", "event"]).len(), 1);
    let erased = daemon.cli(&["erase", "alice-4711"]);
    assert_eq!(erased.status.code(), Some(0), "{}", text(&erased.stderr));
    let words = text(&erased.stdout);
    assert!(words.starts_with("removed  audit log: p"), "{words}");
    for remains in [
        "remains  daemon and Envoy: a block for fraud is in effect until it is lifted",
        "portcullis unblock alice-4711 --reason fraud",
        "remains  Redis",
        "remains  application logs",
        "remains  Envoy",
    ] {
        assert!(words.contains(remains), "{words}");
    }
    assert!(show(&daemon, &["--user", "alice-4711"]).is_empty());
    assert_eq!(show(&daemon, &["--user", "bob-4712", "--kind", "event"]).len(), 1);
    assert_eq!(show(&daemon, &["--event-id", "evt-1", "--kind", "event"]).len(), 1);
    let noted = of_kind(&daemon, "erase").remove(0);
    assert_eq!(noted["caller"], "test-operator");
    let before = of_kind(&daemon, "event").remove(0)["user"].clone();
    assert_eq!(noted["pseudonym"], before);
    assert_intact(&daemon);
    // Once more: there is nobody.
    assert!(text(&daemon.cli(&["erase", "alice-4711"]).stdout).starts_with("removed  nothing"));
    let unblock = event("evt-3", "alice-4711", json!({ "action": "unblock" }));
    daemon.post(&unblock.to_string());
    let after = show(&daemon, &["--user", "alice-4711", "--kind", "event"]);
    assert_eq!(after.len(), 1);
    assert_ne!(after[0]["user"], before);
    assert_intact(&daemon);
    for entry in fs::read_dir(directory(&daemon)).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("alice-4711"));
    }
}

#[test]
fn a_line_has_what_was_ordered() {
    let daemon = Daemon::start(ALWAYS);
    let mut ordered = event(
        "evt-1",
        "alice-4711",
        json!({ "action": "block", "reason": "cooling_off", "scope": ["bet", "deposit"],
                "until": "2099-01-01T00:00:00Z", "disclose": true }),
    );
    ordered["publisher"] = json!("risk-engine");
    ordered["sequence"] = json!(42);
    daemon.post(&ordered.to_string());
    let others = [
        ("evt-2", json!({ "action": "block", "reason": "fraud" })),
        ("evt-3", json!({ "action": "zero", "scope": ["bet"], "for": "1h" })),
        (
            "evt-4",
            json!({ "action": "override", "limit": { "name": "per-user", "max_tokens": 5,
                    "tokens_per_fill": 2, "fill_interval": "1m" }, "until": "2099-01-01T00:00:00Z" }),
        ),
        (
            "evt-5",
            json!({ "action": "override", "limit": { "name": "per-user", "default": true } }),
        ),
        ("evt-6", json!({ "action": "unblock", "reason": "fraud" })),
    ];
    for (id, payload) in others {
        let answer = daemon.post(&event(id, "alice-4711", payload).to_string());
        assert!([200, 202].contains(&answer.status), "{id}: {}", answer.text);
    }
    let lines = of_kind(&daemon, "event");
    let occurred_at = ordered["occurred_at"].clone();
    let first = &lines[0];
    let has = |line: &Value, name: &str, value: Value| assert_eq!(line[name], value, "{name}");
    has(first, "scope", json!(["bet", "deposit"]));
    has(first, "until", json!("2099-01-01T00:00:00Z"));
    has(first, "disclose", json!(true));
    has(first, "occurred_at", occurred_at);
    has(first, "publisher", json!("risk-engine"));
    has(first, "publisher_sequence", json!(42));
    has(&lines[1], "scope", json!([]));
    assert!(lines[1].as_object().unwrap().contains_key("until"), "without an end, and said so");
    has(&lines[1], "until", Value::Null);
    has(&lines[1], "disclose", json!(false));
    has(&lines[2], "scope", json!(["bet"]));
    assert!(lines[2]["until"].is_string());
    has(&lines[3], "limit", json!("per-user"));
    has(
        &lines[3],
        "rate",
        json!({ "max_tokens": 5, "tokens_per_fill": 2, "fill_interval_s": 60.0 }),
    );
    has(&lines[4], "rate", Value::Null);
    has(&lines[5], "reason", json!("fraud"));
    assert!(!content(&directory(&daemon)).contains("alice-4711"));
    assert_intact(&daemon);
}

#[test]
fn a_users_lines_have_the_call_that_published_and_those_that_looked() {
    let daemon = Daemon::start(ALWAYS);
    daemon.post(&block("evt-1", "alice-4711"));
    daemon.post(&block("evt-2", "bob-4712"));
    daemon.get("/v1/users/alice-4711");
    let shown = show(&daemon, &["--user", "alice-4711"]);
    // Whoever asks for the pseudonym, as this command does, is noted as well.
    let kinds: Vec<_> = shown.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["event", "call", "call", "call"], "{shown:?}");
    let resources: Vec<_> = shown.iter().skip(1).map(|line| line["resource"].clone()).collect();
    assert_eq!(resources, ["/v1/invalidations", "/v1/users/{id}", "/v1/audit/pseudonym"]);
    assert_eq!(shown[1]["caller"], "test-operator");
    assert!(shown.iter().all(|line| line["user"] == shown[0]["user"]));
    let calls = show(&daemon, &["--user", "bob-4712", "--kind", "call"]);
    assert_eq!(calls[0]["event_id"], "evt-2");
}

#[test]
fn the_log_and_the_audit_log_name_somebody_alike() {
    let daemon = Daemon::start(ALWAYS);
    for number in 0..3 {
        daemon.post(&block(&format!("evt-{number}"), "alice-4711"));
    }
    daemon.post(
        &event("evt-s", "x", json!({ "action": "block" }))
            .to_string()
            .replace("user_id", "session_id"),
    );
    let subjects = || -> Vec<Value> {
        let lines = daemon.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let taken = lines.filter(|line| line["message"] == "event taken in");
        taken.map(|line| line["subject"].clone()).collect()
    };
    wait_until("the lines", || subjects().len() == 4);
    let lines = of_kind(&daemon, "event");
    let noted: Vec<_> = lines
        .iter()
        .map(|line| if line["user"].is_null() { &line["session"] } else { &line["user"] }.clone())
        .collect();
    assert_eq!(subjects(), noted);
    assert_ne!(noted[0], noted[3]);
    // Erased from one, erased from the other.
    let erased = daemon.cli(&["erase", "alice-4711"]);
    assert!(text(&erased.stdout).contains("remains  application logs: the pseudonym of the audit"));
    daemon.post(&block("evt-9", "alice-4711"));
    wait_until("the line", || subjects().len() == 5);
    assert_eq!(subjects()[4], of_kind(&daemon, "event").pop().unwrap()["user"]);
    assert_ne!(subjects()[4], noted[0]);
    assert!(!daemon.log().contains("alice-4711"));
}
