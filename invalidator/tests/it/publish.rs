//! Publishing events to the API, and what the API shows of them.

use model::push::Refusal;
use model::subject::Subject;
use serde_json::json;

use crate::harness::{Daemon, block, event, occurred_at, wait_until};
use crate::node::{Node, Running, is_synced};

#[test]
fn an_event_answers_the_held_poll_and_its_acknowledgement_answers_the_publisher() {
    let daemon = Daemon::start("");
    let node = Running::start(&daemon, "edge-1", "a");
    let answer = daemon.post(&block("evt-1", "alice"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let receipt = answer.json();
    assert_eq!(receipt["event_id"], "evt-1");
    assert_eq!(receipt["result"], "applied");
    assert_eq!(receipt["sequence"], 1);
    assert_eq!(receipt["enforced"], true);
    assert_eq!(receipt["nodes"][0]["node"], "edge-1");
    assert!(receipt["elapsed_ms"].as_f64().unwrap() > 0.0);
    let seen = daemon.get("/v1/users/alice").json();
    assert_eq!(seen["blocks"][0]["reason"], "fraud");
    assert_eq!(seen["nodes"], json!([{ "node": "edge-1", "boot_id": "a", "enforced": true }]));
    assert_eq!(daemon.metric("portcullis_push_ack_seconds_count"), 1.0);
    assert_eq!(daemon.metric("portcullis_nodes"), 1.0);
    let labels = "{node=\"edge-1\",boot_id=\"a\"}";
    assert_eq!(daemon.metric(&format!("portcullis_node_lag{labels}")), 0.0);
    let node = node.stop();
    assert!(node.states.contains_key(&Subject::user("alice").unwrap()));
}

#[test]
fn every_node_is_waited_for() {
    let daemon = Daemon::start("");
    let nodes: Vec<_> = (0..20)
        .map(|n| Node::new(&daemon, &format!("edge-{n}"), &format!("boot-{n}")).run())
        .collect();
    wait_until("all nodes", || (0..20).all(|n| is_synced(&daemon, &format!("boot-{n}"))));
    let receipt = daemon.post(&block("evt-1", "alice")).json();
    assert_eq!(receipt["enforced"], true, "{receipt}");
    assert_eq!(receipt["nodes"].as_array().unwrap().len(), 20);
    drop(nodes);
}

#[test]
fn without_a_node_an_event_is_accepted_but_not_enforced() {
    let daemon = Daemon::start("");
    let answer = daemon.post(&block("evt-1", "alice"));
    assert_eq!(answer.status, 202);
    let receipt = answer.json();
    assert_eq!(receipt["enforced"], false);
    assert_eq!(receipt["pending"], json!([]));
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    assert_eq!(node.states.len(), 1, "a node that comes later gets it");
}

#[test]
fn a_node_that_does_not_acknowledge_in_time_is_named() {
    let daemon = Daemon::start("api.ack_timeout = \"50ms\"\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let answer = daemon.post(&block("evt-1", "alice"));
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["pending"], json!(["edge-1"]));
}

#[test]
fn a_change_that_a_node_could_not_store_is_reported() {
    let daemon = Daemon::start("api.ack_timeout = \"20s\"\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    let answer = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| daemon.post(&block("evt-1", "alice")));
        node.poll();
        node.next.refused = vec![Refusal { sequence: 1, cause: "slab_full".into() }];
        node.poll();
        publisher.join().unwrap()
    });
    assert_eq!(answer.status, 202);
    let refused = &answer.json()["refused"];
    assert_eq!(*refused, json!([{ "node": "edge-1", "cause": "slab_full" }]));
    assert_eq!(daemon.status()["nodes"][0]["refused"], 1);
    assert_eq!(daemon.metric("portcullis_refused_changes_total"), 1.0);
    assert!(daemon.log().contains("node could not store a change"));
}

#[test]
fn bad_events_are_refused_with_field_and_rule_and_the_next_good_one_works() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "a");
    let mut old = event("e", "u", json!({ "action": "block" }));
    old["schema_version"] = "2.0".into();
    let long = event("e", "u", json!({ "action": "block", "x": "x".repeat(20_000) }));
    let cases = [
        ("{".to_owned(), 400, "malformed", "event"),
        ("[]".to_owned(), 400, "malformed", "event"),
        ("{}".to_owned(), 400, "invalid", "schema_version"),
        (old.to_string(), 400, "unknown_version", "schema_version"),
        (event("e", "u", json!({ "action": "ban" })).to_string(), 400, "invalid", "payload.action"),
        (event("e e", "u", json!({ "action": "block" })).to_string(), 400, "invalid", "event_id"),
        (event("e", "", json!({ "action": "block" })).to_string(), 400, "invalid", "key.user_id"),
        (long.to_string(), 413, "too_large", "event"),
    ];
    for (body, status, kind, field) in cases {
        let answer = daemon.post(&body);
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.content_type, "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:portcullis:problem:{kind}"), "{problem}");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["rule"].as_str().is_some_and(|rule| !rule.is_empty()));
    }
    let form = daemon.post_as("application/x-www-form-urlencoded", &block("evt-1", "alice"));
    assert_eq!((form.status, &form.json()["field"]), (415, &json!("content-type")));
    assert_eq!(daemon.metric("portcullis_events_refused_total{kind=\"unknown_version\"}"), 1.0);
    assert_eq!(daemon.metric("portcullis_events_refused_total{kind=\"malformed\"}"), 2.0);
    assert_eq!(daemon.metric("portcullis_events_refused_total{kind=\"too_large\"}"), 1.0);
    assert_eq!(daemon.post(&block("evt-1", "alice")).status, 200);
}

#[test]
fn duplicates_and_late_events_change_nothing() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "a");
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["result"], "applied");
    let again = daemon.post(&block("evt-1", "alice"));
    assert_eq!((again.status, &again.json()["result"]), (200, &json!("duplicate")));
    let mut late = event("evt-0", "alice", json!({ "action": "unblock" }));
    late["occurred_at"] = occurred_at(3_600).into();
    daemon.post(&late.to_string());
    assert_eq!(daemon.get("/v1/users/alice").json()["blocks"][0]["event_id"], "evt-1");
}

#[test]
fn the_api_shows_users_and_sessions_in_words() {
    let daemon = Daemon::start("");
    daemon.post(&event("1", "a/b c", json!({ "action": "zero" })).to_string());
    let limit = json!({
        "name": "per-user", "max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "60s",
    });
    daemon.post(&event("2", "a/b c", json!({ "action": "override", "limit": limit })).to_string());
    let user = daemon.get("/v1/users/a%2Fb%20c").json();
    assert_eq!(user["subject"], json!({ "kind": "user", "id": "a/b c" }));
    assert_eq!(user["zero"]["event_id"], "1");
    assert_eq!(user["overrides"][0]["rate"]["max_tokens"], 5);
    let mut session = event("3", "", json!({ "action": "block" }));
    session["key"] = json!({ "session_id": "s" });
    daemon.post(&session.to_string());
    assert_eq!(daemon.get("/v1/sessions/s").json()["blocks"][0]["event_id"], "3");
    for path in ["/v1/users/s", "/v1/sessions/unknown", "/v1/nothing"] {
        let answer = daemon.get(path);
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (404, "application/problem+json")
        );
    }
    assert_eq!(daemon.get("/v1/invalidations").status, 405);
    for path in ["/v1/users/%ff", "/v1/sessions/%ff"] {
        let answer = daemon.get(path);
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (400, "application/problem+json")
        );
        assert_eq!(answer.json()["field"], "id");
    }
}

#[test]
fn names_that_no_connected_node_knows_are_warned_of() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "a");
    let scoped = |id: &str, group: &str| {
        event(id, "alice", json!({ "action": "block", "scope": [group] })).to_string()
    };
    assert_eq!(daemon.post(&scoped("1", "bet")).json()["warnings"], json!([]));
    let warned = daemon.post(&scoped("2", "bett")).json();
    let warning = "payload.scope: no connected node has a route group \"bett\"";
    assert_eq!(warned["warnings"], json!([warning]));
    let cause = "payload.scope: no connected node has any of these route groups";
    assert_eq!(warned["refused"], json!([{ "node": "edge-1", "cause": cause }]));
    assert_eq!(warned["enforced"], false, "nobody is refused anything");
    assert_eq!(daemon.metric("portcullis_unenforceable_scopes_total"), 1.0);
    let both = event("3", "alice", json!({ "action": "block", "scope": ["bett", "bet"] }));
    assert_eq!(daemon.post(&both.to_string()).json()["enforced"], true);
}

#[test]
fn more_requests_than_allowed_are_told_to_come_back() {
    let daemon = Daemon::start("api.ack_timeout = \"20s\"\n[limits]\napi_requests_max = 1\n");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.post(&block("evt-1", "alice")));
        node.poll();
        let busy = daemon.post(&block("evt-2", "bob"));
        assert_eq!((busy.status, busy.content_type.as_str()), (503, "application/problem+json"));
        assert_eq!(busy.json()["type"], "urn:portcullis:problem:busy");
        assert_eq!(daemon.get("/healthz").status, 200, "probes always get through");
        assert_eq!(daemon.get("/v1/status").status, 200, "who looks waits for no publisher");
        node.try_poll().unwrap();
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    assert_eq!(daemon.get("/v1/status").status, 200);
}

#[test]
fn logs_hold_pseudonyms_instead_of_ids() {
    let daemon = Daemon::start("[log]\npseudonym_key = \"0123456789abcdef\"\n");
    daemon.post(&block("evt-1", "alice@example.com"));
    wait_until("the line", || daemon.log().contains("event taken in"));
    let log = daemon.log();
    assert!(log.contains("log.pseudonym_key has no effect any more"), "{log}");
    assert!(log.contains("\"subject\":\"p"), "{log}");
    assert!(!log.contains("alice"), "{log}");
}
