//! First rejections as nodes tell of them, evidence through the API, and what strangers in Redis cannot do to it.

use model::push::{self, FirstRejection, Message};
use model::subject::Subject;
use model::time::UnixMicros;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Daemon, OPERATOR, PUBLISHER, Redis, block, free_port, private, request, wait_until,
};
use crate::node::{Node, Running, bearer, connect, exchange};

const SEALED: &str = "audit.fsync = \"always\"\naudit.key = \"a-key-of-the-audit-log\"\n";
const KEYS: &str = "[[keys]]\nbegins = 2026-01-01T00:00:00Z\n\
                    secret = \"what-all-daemons-share-and-nobody-else\"\n";

fn ask_as(daemon: &Daemon, token: &str, order: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", &*bearer)];
    request(&daemon.api, "POST", "/v1/evidence", &headers, &order.to_string())
}

fn ask(daemon: &Daemon, order: &Value) -> Value {
    let answer = ask_as(daemon, OPERATOR, order);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn not_proven(document: &Value) -> String {
    document["statement"]["not_proven"].to_string()
}

/// A daemon among others; `keys` is the file that they share, if they do.
fn member(redis: &Redis, name: &str, keys: &str) -> Daemon {
    let config = format!(
        "{SEALED}[fleet]\nname = \"{name}\"\n{keys}[sources.redis]\nurl = \"{}\"\n\
         ping_interval = \"100ms\"\ndead_after = \"1s\"\n",
        redis.url()
    );
    let daemon = Daemon::start(&config);
    wait_until("Redis", || daemon.get("/readyz").status == 200);
    daemon
}

fn first(event: &str, user: &str) -> FirstRejection {
    let subject = Some(push::Subject::from(&Subject::user(user).unwrap()));
    FirstRejection { event_id: event.into(), subject, ago_us: 1_500_000 }
}

#[test]
fn what_a_node_tells_of_first_rejections_is_noted_once_and_answered_at_once() {
    let daemon = Daemon::start(&format!("poll.hold = \"2s\"\n{SEALED}"));
    let mut node = Node::new(&daemon, "edge-1", "boot-1");
    node.poll();
    node.poll();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(daemon.post(&block("b1", "alice")).status, 200));
        wait_until("the block", || !node.poll().changes.is_empty());
        node.poll();
    });
    node.next.first_rejections = vec![first("b1", "alice"), first("b1", "nobody")];
    let asked = std::time::Instant::now();
    node.poll();
    node.poll();
    assert!(asked.elapsed().as_millis() < 1_500, "such polls are not held");
    let count = |result: &str| {
        daemon.metric(&format!("portcullis_first_rejections_total{{result=\"{result}\"}}"))
    };
    assert_eq!([count("noted"), count("known"), count("unknown")], [1.0, 1.0, 2.0]);
    let document = ask(&daemon, &json!({"event_id": "b1"}));
    let on = &document["events"][0]["daemons"][0];
    assert_eq!(on["nodes"][0]["state"], "enforced", "{on}");
    let lines = document["lines"].as_array().unwrap().iter();
    let lines = lines.map(|line| serde_json::from_str(line["text"].as_str().unwrap()).unwrap());
    let rejections: Vec<Value> = lines.filter(|line: &Value| line["kind"] == "rejection").collect();
    assert_eq!(rejections.len(), 1, "{rejections:?}");
    assert_eq!(on["nodes"][0]["first_rejection"], rejections[0]["at"]);
    let time =
        |name: &str| UnixMicros::parse_rfc3339(rejections[0][name].as_str().unwrap()).unwrap();
    let ago = time("time").since(time("at")).as_millis();
    assert!((1_500..2_000).contains(&ago), "{ago} ms");
    assert_eq!(not_proven(&document), "[]", "{document}");
    node.next.first_rejections = vec![first("b1", "alice"); 65];
    let many = node.next.encode_to_vec();
    let (status, _) = exchange(connect(&daemon.socket).unwrap(), Some(&bearer()), &many).unwrap();
    assert_eq!(status, 400, "more than one poll may tell of");
}

#[test]
fn evidence_is_for_who_may_read_the_audit_log_and_says_which_field_is_wrong() {
    let daemon = Daemon::start(SEALED);
    let field = |order: Value| {
        let answer = ask_as(&daemon, OPERATOR, &order);
        assert_eq!(answer.status, 400, "{}", answer.text);
        answer.json()["field"].as_str().unwrap().to_owned()
    };
    assert_eq!(field(json!({})), "body");
    assert_eq!(field(json!({"user_id": "a", "event_id": "e"})), "body");
    assert_eq!(field(json!({"user_id": ""})), "user_id");
    assert_eq!(field(json!({"event_id": "no id"})), "event_id");
    assert_eq!(field(json!({"user_id": "a", "within_s": 31})), "within_s");
    assert_eq!(ask_as(&daemon, PUBLISHER, &json!({"user_id": "a"})).status, 403);
    let alone = ask_as(&daemon, OPERATOR, &json!({"user_id": "a", "fleet": true}));
    assert_eq!((alone.status, alone.json()["field"].as_str()), (409, Some("sources.redis")));
    let document = ask(&daemon, &json!({"user_id": "alice-4711"}));
    assert_eq!(document["events"], json!([]));
    daemon.post(&block("b1", "alice-4711"));
    let document = ask(&daemon, &json!({"user_id": "alice-4711"}));
    assert_eq!(document["events"][0]["event_id"], "b1");
    assert!(
        not_proven(&document).len() > 2
            || document["events"][0]["daemons"][0]["nodes"] == json!([])
    );
}

#[test]
fn daemons_believe_each_other_by_their_key_and_nobody_else() {
    let redis = Redis::start(free_port(), &[]);
    let directory = tempfile::tempdir().unwrap();
    let keys = private(directory.path(), "keys.toml", KEYS);
    let keys = format!("pseudonym_key_file = \"{}\"\n", keys.display());
    let (one, two) = (member(&redis, "one", &keys), member(&redis, "two", &keys));
    // It shares no key: it is named, and is neither asked nor believed.
    let three = member(&redis, "three", "");
    let nodes = [(&one, "n-1"), (&two, "n-2"), (&three, "n-3")]
        .map(|(daemon, name)| Running::start(daemon, name, &format!("boot-{name}")));
    assert_eq!(one.post(&block("b1", "alice")).status, 200);
    let has_pushed = |daemon: &Daemon| {
        ask(daemon, &json!({"event_id": "b1"})).to_string().contains("\"enforced\"")
    };
    wait_until("all to enforce it", || [&one, &two, &three].into_iter().all(has_pushed));
    wait_until("all to be registered", || {
        let fleet = one.get("/v1/fleet").json();
        fleet["settled"] == true && fleet["daemons"].as_array().unwrap().len() == 3
    });

    let mut redis_connection = redis.connect();
    let mut forge = |key: &str, value: &str| {
        redis::cmd("RPUSH").arg(key).arg(value).exec(&mut redis_connection).unwrap();
    };
    let run = one.status()["epoch"].as_str().unwrap().to_owned();
    let list = format!("{{portcullis}}:answers:{run}-evidence");
    for value in ["no JSON", "{\"nonce\":\"n\",\"run\":\"r\",\"log\":\"{}\",\"mac\":\"00\"}"] {
        forge(&list, value);
    }
    let document = ask(&one, &json!({"user_id": "alice", "fleet": true, "within_s": 3}));
    let logs: Vec<_> = document["logs"].as_array().unwrap().iter().collect();
    let who = |log: &Value| (log["daemon"].clone(), log["vouched"].clone());
    let expected = [(json!("one"), json!("files")), (json!("two"), json!("shared_key"))];
    assert_eq!(logs.iter().map(|log| who(log)).collect::<Vec<_>>(), expected, "{document}");
    assert_eq!(logs[0]["pseudonyms"], logs[1]["pseudonyms"]);
    assert!(logs.iter().all(|log| log["verdict"]["intact"] == true));
    assert_eq!(document["silent"][0]["daemon"], "three", "{document}");
    assert_eq!(document["silent"][0]["envoys"], json!(["n-3"]));
    assert!(not_proven(&document).contains("What daemon three and its Envoys (n-3) did"));
    let on = document["events"][0]["daemons"].as_array().unwrap();
    assert!(on.iter().all(|on| on["nodes"][0]["state"] == "enforced"), "{document}");
    let refused = ask_as(&three, OPERATOR, &json!({"user_id": "alice", "fleet": true}));
    let field = refused.json()["field"].as_str().unwrap().to_owned();
    assert_eq!((refused.status, &*field), (409, "fleet.pseudonym_key_file"));

    // Whoever can write to Redis and has no key gets no answer.
    let forged =
        json!({"nonce": "n", "run": "stranger", "for_ms": 9_000, "event_id": "b1", "mac": "00"});
    let mut add = redis::cmd("XADD");
    add.arg("{portcullis}:stream").arg("*").arg("inquiry").arg(forged.to_string());
    add.exec(&mut redis.connect()).unwrap();
    // What comes after it has been answered, so it has been read.
    ask(&one, &json!({"event_id": "b1", "fleet": true, "within_s": 2}));
    let answers: usize = redis::cmd("LLEN")
        .arg("{portcullis}:answers:stranger-evidence")
        .query(&mut redis.connect())
        .unwrap();
    assert_eq!(answers, 0);
    redis.kill();
    wait_until("Redis to be missed", || one.get("/readyz").status != 200);
    let document = ask(&one, &json!({"event_id": "b1", "fleet": true, "within_s": 2}));
    assert_eq!(document["silent"][0]["daemon"], "(all others)", "{document}");
    drop(nodes.map(Running::stop));
}

#[test]
fn keys_of_pseudonyms_are_watched_and_a_wrong_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = private(directory.path(), "keys.toml", KEYS);
    let config = format!("{SEALED}fleet.pseudonym_key_file = \"{}\"\n", path.display());
    let daemon = Daemon::start(&config);
    let name = |user: &str| {
        daemon.post(&block(&format!("b-{user}-{}", daemon.status()["sequence"]), user));
        ask(&daemon, &json!({"user_id": user}))["logs"][0]["pseudonyms"].clone()
    };
    let before = name("alice");
    assert_eq!(before.as_array().unwrap().len(), 1);
    private(directory.path(), "keys.toml", "keys = 7\n");
    wait_until("the wrong file to be noticed", || daemon.log().contains("cannot be used"));
    assert_eq!(name("alice"), before);
    let newer =
        format!("{KEYS}[[keys]]\nbegins = 2026-02-01T00:00:00Z\nsecret = \"{}\"\n", "n".repeat(32));
    private(directory.path(), "keys.toml", &newer);
    wait_until("the newer key", || name("alice").as_array().unwrap().len() == 2);
    let both = name("alice");
    assert_eq!(both[1], before[0], "the old one finds the old lines");
    let document = ask(&daemon, &json!({"user_id": "alice"}));
    assert!(document["events"].as_array().unwrap().len() >= 3, "{document}");
}
