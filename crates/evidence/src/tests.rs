//! What is said to be proven of lines, and what never is.

use model::time::UnixMicros;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-22T13:00:00Z";

fn now() -> UnixMicros {
    UnixMicros::parse_rfc3339(NOW).unwrap()
}

/// The line of this number, noted so many seconds after noon.
fn line(seq: u64, mut fields: Value) -> LogLine {
    fields["seq"] = json!(seq);
    fields["time"] = json!(format!("2026-11-22T12:00:{seq:02}Z"));
    LogLine { text: fields.to_string(), is_sealed: true }
}

fn event(id: &str, action: &str, more: Value) -> Value {
    let mut line = json!({
        "kind": "event", "event_id": id, "action": action, "result": "applied", "in_effect": true,
        "source": "redis", "sequence": 3, "user": "p1", "replayed": false,
    });
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

fn node(state: &str, name: &str, sequence: Option<u64>) -> Value {
    json!({"kind": "node", "node": name, "boot_id": "b", "state": state, "sequence": sequence})
}

fn push(id: &str, name: &str, result: &str) -> Value {
    json!({"kind": "push", "event_id": id, "node": name, "boot_id": "b", "result": result, "ms": 0.8})
}

/// A log that was checked and holds, of these lines, numbered from 1.
fn log(daemon: &str, lines: Vec<Value>) -> Log {
    let last = u64::try_from(lines.len()).unwrap();
    let verdict = Verdict {
        intact: true,
        first: Some(1),
        last: Some(last),
        head: Some(format!("{last}:00")),
        seal: "hmac-sha256:00".into(),
        ..Verdict::default()
    };
    Log {
        daemon: daemon.into(),
        pseudonyms: vec!["p1".into()],
        verdict: Some(verdict),
        vouched: Vouched::Files,
        lines: lines.into_iter().zip(1..).map(|(fields, seq)| line(seq, fields)).collect(),
        ..Log::default()
    }
}

/// Start, two Envoys, a block, what both did, and its lift by a caller.
fn story() -> Log {
    let rejection = json!({"kind": "rejection", "event_id": "b1", "node": "one", "boot_id": "b",
                           "at": "2026-11-22T12:00:06.5Z"});
    let call = json!({"kind": "call", "event_id": "u1", "caller": "ops", "role": "operator",
                      "method": "POST", "resource": "/v1/invalidations", "status": 200});
    log(
        "host-1",
        vec![
            json!({"kind": "start"}),
            node("synchronized", "one", Some(2)),
            node("synchronized", "two", Some(2)),
            event(
                "b1",
                "block",
                json!({"reason": "fraud", "signature": "verified",
                                        "signed_by": "k1", "until": null}),
            ),
            push("b1", "one", "enforced"),
            rejection,
            event("u1", "unblock", json!({"reason": "fraud", "sequence": 4})),
            call,
        ],
    )
}

fn about_event(id: &str, logs: &[Log]) -> Document {
    Document::of(About::EventId(id.into()), logs, Vec::new(), now(), "test")
}

fn has(words: &[String], part: &str) -> bool {
    words.iter().any(|said| said.contains(part))
}

#[test]
fn a_story_is_told_from_its_lines() {
    let document = about_event("b1", &[story()]);
    let [trace] = document.events.as_slice() else { panic!("{document:?}") };
    let on = &trace.daemons[0];
    assert_eq!(trace.ordered.as_ref().unwrap().action, "block");
    assert_eq!(on.whom.as_deref(), Some("user:p1"));
    let states: Vec<_> = on.nodes.iter().map(|one| (one.node.as_str(), one.state)).collect();
    assert_eq!(states, [("one", NodeState::Enforced), ("two", NodeState::NotAcknowledged)]);
    assert_eq!(on.nodes[0].first_rejection.as_deref(), Some("2026-11-22T12:00:06.5Z"));
    let ended = on.ended.as_ref().unwrap();
    assert_eq!((ended.how, ended.event_id.as_deref()), (How::Lifted, Some("u1")));
    assert_eq!(ended.by, ["caller ops (operator)"]);
    let Statement { proven, not_proven, .. } = &document.statement;
    for said in [
        "its signature by the key k1 was verified (host-1 line 4)",
        "Envoy one (memory b) had acknowledged event b1, 0.8 ms after",
        "12:00:06.5Z: Envoy one (memory b) rejected the first request because of event b1",
        "event b1 was lifted by event u1, of caller ops (operator)",
        "The log of daemon host-1 is whole from line 1 to 8:00",
    ] {
        assert!(has(proven, said), "{said}: {proven:#?}");
    }
    assert_eq!(not_proven.len(), 1, "{not_proven:#?}");
    assert!(has(not_proven, "That Envoy two (memory b) of daemon host-1 enforced event b1"));
    assert!(!document.is_whole() && document.knows_any());
    assert_eq!(document.lines.len(), 8);
}

#[test]
fn by_user_all_events_are_told_in_their_order() {
    let about = About::User("alice".into());
    let document = Document::of(about, &[story()], Vec::new(), now(), "test");
    let ids: Vec<_> = document.events.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(ids, ["b1", "u1"]);
    assert!(document.events[1].daemons[0].nodes.is_empty(), "an unblock rejects nobody");
}

#[test]
fn nothing_is_proven_by_lines_that_were_not_checked() {
    let whole = about_event("b1", &[story()]).statement.proven.len();
    let mut broken = story();
    let verdict = broken.verdict.as_mut().unwrap();
    (verdict.intact, verdict.last) = (false, Some(4));
    verdict.finding = Some("audit-1.jsonl:5: seq 5: changed".into());
    let Statement { proven, not_proven, .. } = about_event("b1", &[broken]).statement;
    assert_eq!(proven.len(), 1, "{proven:#?}");
    assert!(has(&proven, "received event b1"));
    assert!(has(&not_proven, "the log of daemon host-1 is whole: audit-1.jsonl:5"));
    assert!(has(
        &not_proven,
        "had acknowledged event b1, 0.8 ms after its daemon had taken it in: host-1 line 5 says"
    ));
    let mut unsealed = story();
    unsealed.lines[5].is_sealed = false;
    let said = about_event("b1", &[unsealed]).statement;
    assert_eq!(said.proven.len(), whole - 1);
    let unchecked = Log { verdict: None, failure: Some("no such file".into()), ..story() };
    let said = about_event("b1", &[unchecked]).statement;
    assert!(said.proven.is_empty() && has(&said.not_proven, "no such file"));
}

#[test]
fn what_is_missing_is_named() {
    let mut log = story();
    let verdict = log.verdict.as_mut().unwrap();
    (verdict.seal, verdict.lost) = ("sha256".into(), 7);
    (log.left_out, log.unreadable, log.vouched) = (2, 3, Vouched::Nobody);
    let silent = Silent {
        daemon: "host-3".into(),
        region: None,
        envoys: vec!["edge-3".into()],
        reason: "it did not answer in time".into(),
    };
    let other = Log { daemon: "host-2".into(), lines: Vec::new(), ..story() };
    let about = About::EventId("b1".into());
    let not = Document::of(about, &[log, other], vec![silent], now(), "test").statement.not_proven;
    for said in [
        "sealed without a key",
        "What 7 entries said",
        "2 more lines of daemon host-1",
        "What 3 lines of daemon host-1 say",
        "whoever can write to Redis could have made it",
        "daemon host-3 and its Envoys (edge-3) did: it did not answer in time",
        "That daemon host-2 has received event b1",
    ] {
        assert!(has(&not, said), "{said}: {not:#?}");
    }
}

#[test]
fn what_nobody_knows_is_not_known() {
    let document = about_event("unheard-of", &[story()]);
    assert!(!document.knows_any() && !document.is_whole());
    assert!(has(&document.statement.not_proven, "No line names the event unheard-of"));
    let stranger = Log { pseudonyms: Vec::new(), lines: Vec::new(), ..story() };
    let about = About::User("bob".into());
    let document = Document::of(about, &[stranger], Vec::new(), now(), "test");
    assert!(has(&document.statement.not_proven, "or it was erased"));
}

#[test]
fn an_end_is_the_first_that_ends_it() {
    let ended = |more: Vec<Value>| {
        let block = json!({"reason": "fraud", "until": "2026-11-22T12:30:00Z"});
        let mut lines = vec![json!({"kind": "start"}), event("b1", "block", block)];
        lines.extend(more);
        let document = about_event("b1", &[log("host-1", lines)]);
        let on = &document.events[0].daemons[0];
        on.ended.as_ref().map(|ended| (ended.how, ended.event_id.clone().unwrap_or_default()))
    };
    assert_eq!(ended(Vec::new()), Some((How::Expired, String::new())));
    let others = vec![
        event("u1", "unblock", json!({"reason": "other"})),
        event("u2", "unblock", json!({"user": "p2"})),
        event("u3", "unblock", json!({"in_effect": false})),
        event("u4", "unblock", json!({"result": "stale"})),
        event("z1", "zero", json!({})),
    ];
    assert_eq!(ended(others), Some((How::Expired, String::new())));
    let lift = event("u5", "unblock", json!({}));
    assert_eq!(ended(vec![lift.clone()]), Some((How::Lifted, "u5".into())));
    let again = event("b2", "block", json!({"reason": "fraud"}));
    assert_eq!(ended(vec![again, lift]), Some((How::Replaced, "b2".into())));
}

#[test]
fn what_ends_an_event_says_so_also_under_another_pseudonym() {
    let block = event("b1", "block", json!({"reason": "fraud", "until": null}));
    let mut lift = event("u1", "unblock", json!({"user": "p9", "ended": ["b1"]}));
    let lines = |lift: &Value| vec![json!({"kind": "start"}), block.clone(), lift.clone()];
    let ended = |lift: &Value| {
        let document = about_event("b1", &[log("host-1", lines(lift))]);
        document.events[0].daemons[0].ended.as_ref().map(|ended| ended.how)
    };
    assert_eq!(ended(&lift), Some(How::Lifted));
    lift["ended"] = json!(["other"]);
    assert_eq!(ended(&lift), None);
}

#[test]
fn an_envoy_that_catches_up_in_the_same_run_has_it_and_one_of_another_run_is_not_asked() {
    let states = |lines: Vec<Value>| {
        let document = about_event("b1", &[log("host-1", lines)]);
        let nodes = document.events[0].daemons[0].nodes.clone();
        nodes.into_iter().map(|one| (one.node, one.state)).collect::<Vec<_>>()
    };
    let block = || event("b1", "block", json!({"reason": "fraud", "until": null}));
    let start = || json!({"kind": "start"});
    let late = node("synchronized", "late", Some(3));
    assert_eq!(
        states(vec![start(), block(), node("started", "late", None), late.clone()]),
        [("late".to_owned(), NodeState::Synchronized)]
    );
    let early = node("synchronized", "late", Some(2));
    assert_eq!(
        states(vec![start(), block(), early]),
        [("late".to_owned(), NodeState::NotAcknowledged)]
    );
    let before = vec![node("started", "old", None), start(), block(), start(), late.clone()];
    assert_eq!(states(before), []);
    let gone = vec![start(), node("started", "g", None), node("gone", "g", None), block()];
    assert_eq!(states(gone), []);
    let lifted = event("u1", "unblock", json!({}));
    assert_eq!(states(vec![start(), block(), lifted, late]), [], "it had ended by then");
    let refused = push("b1", "one", "refused");
    let then = vec![
        start(),
        block(),
        refused,
        push("b1", "one", "enforced"),
        push("b1", "one", "pending"),
    ];
    assert_eq!(states(then), [("one".to_owned(), NodeState::Enforced)]);
}

#[test]
fn lines_that_are_no_lines_hurt_nobody_and_prove_nothing() {
    let whole = story();
    for at in 0..whole.lines.len() {
        let text = whole.lines[at].text.clone();
        let cut = (0..text.len()).map(|length| text.chars().take(length).collect::<String>());
        let strange =
            ["seq", "time", "kind", "event_id", "node", "ended", "sequence"].map(|name| {
                let mut fields: Value = serde_json::from_str(&text).unwrap();
                fields[name] = json!({"a": [1, null]});
                fields.to_string()
            });
        for text in cut.chain(strange).chain([text.repeat(2)]) {
            let mut log = whole.clone();
            log.lines[at].text = text;
            let document = about_event("b1", &[log]);
            assert!(document.lines.len() <= whole.lines.len());
        }
    }
}

#[test]
fn who_has_rejected_a_request_because_of_an_event_has_it() {
    let rejection = json!({"kind": "rejection", "event_id": "b1", "node": "one", "boot_id": "b",
                           "at": "2026-11-22T12:00:01.5Z"});
    let block = event("b1", "block", json!({"reason": "fraud", "until": null}));
    let lines = vec![json!({"kind": "start"}), block, json!({"kind": "start"}), rejection];
    let mut told = log("host-1", lines);
    let document = about_event("b1", std::slice::from_ref(&told));
    assert!(document.is_whole(), "{:#?}", document.statement);
    assert!(has(&document.statement.proven, "rejected the first request because of event b1"));
    told.lines[3].is_sealed = false;
    let not = about_event("b1", &[told]).statement.not_proven;
    assert!(has(&not, "no line says that it acknowledged it"), "{not:#?}");
}

#[test]
fn what_daemons_send_each_other_survives_and_says_nothing_of_itself() {
    let sent = Log { vouched: Vouched::SharedKey, ..story() };
    let read: Log = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
    assert_eq!(read, Log { vouched: Vouched::Nobody, ..sent });
    let older: Log = serde_json::from_str("{\"daemon\":\"x\"}").unwrap();
    assert_eq!((older.daemon.as_str(), older.lines.len()), ("x", 0));
}
