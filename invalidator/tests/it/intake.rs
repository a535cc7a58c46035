//! What is asked of events before the engine has them, and where those go that are refused.

use serde_json::{Value, json};

use crate::harness::{
    Daemon, Redis, block, event, free_port, portcullis, private, text, tokens, wait_until,
};

const SECRET: &str = "0123456789abcdef";

/// A daemon with a file of publishers' keys, and some more in `[events]`.
fn daemon(directory: &tempfile::TempDir, keys: &str, events: &str) -> Daemon {
    let keys = private(directory.path(), "event-keys.toml", keys);
    Daemon::start(&format!("[events]\nkeys_file = \"{}\"\n{events}\n", keys.display()))
}

fn key() -> String {
    format!("[[keys]]\nid = \"risk-1\"\nsecret = \"{SECRET}\"\npublishers = [\"risk\"]\n")
}

#[test]
fn what_has_to_be_signed_is_refused_unsigned_and_signed_by_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = daemon(&directory, &key(), "embedded.signatures = \"required\"");
    let answer = daemon.post(&block("e1", "alice"));
    assert_eq!((answer.status, &answer.json()["field"]), (403, &json!("sig")));
    assert_eq!(answer.json()["type"], "urn:portcullis:problem:signature_missing");
    let secret = private(directory.path(), "risk-1.secret", SECRET);
    let secret = secret.to_str().unwrap();
    let signed = ["block", "alice", "--sign-key-id", "risk-1", "--sign-secret-file", secret];
    let unnamed = daemon.cli(&signed);
    assert_eq!(unnamed.status.code(), Some(1));
    assert!(text(&unnamed.stderr).starts_with("refused: publisher: "));
    let named = [&signed[..], &["--publisher", "risk"]].concat();
    // Taken in, though there is no node.
    assert!(text(&daemon.cli(&named).stderr).starts_with("accepted, but NOT enforced"));
    let outcome = |result: &str| {
        let labels = format!("source=\"embedded\",result=\"{result}\"");
        daemon.metric(&format!("portcullis_event_signatures_total{{{labels}}}"))
    };
    let outcomes = ["verified", "missing", "publisher_not_allowed", "mismatch"].map(outcome);
    assert_eq!(outcomes, [1.0, 1.0, 1.0, 0.0]);
    assert!(!daemon.log().contains(SECRET));
}

#[test]
fn keys_of_publishers_that_cannot_be_used_end_the_start_and_fail_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let keys = private(directory.path(), "event-keys.toml", "[[keys]]\nid = \"k\"\n");
    let config = private(
        directory.path(),
        "portcullis.toml",
        &format!(
            "poll.listen = \"unix:{0}/poll\"\npoll.secret = \"{SECRET}\"\n\
             store.directory = \"{0}/store\"\nevents.keys_file = \"{1}\"\n{2}",
            directory.path().display(),
            keys.display(),
            tokens()
        ),
    );
    for more in [&["--check"][..], &[]] {
        let ran = portcullis().args(["run", "--config"]).arg(&config).args(more).output().unwrap();
        assert_eq!(ran.status.code(), Some(64));
        assert!(text(&ran.stderr).contains("keys[0]: missing field `secret`"));
    }
}

#[test]
fn what_a_source_cannot_tell_its_publisher_is_kept_and_can_be_replayed() {
    let redis = Redis::start(free_port(), &[]);
    let more = format!(
        "[sources.redis]\nurl = \"{}\"\n[events]\nblocked_fields = [\"email\"]\n",
        redis.url()
    );
    let mut daemon = Daemon::start(&more);
    wait_until("Redis", || daemon.get("/readyz").status == 200);
    let mut made = event("e1", "alice", json!({ "action": "block" }));
    made["email"] = "alice@example.com".into();
    for _ in 0..3 {
        redis.publish(made.to_string().as_bytes());
    }
    let letters = |daemon: &Daemon| -> Vec<Value> {
        let answer = daemon.get("/v1/dead-letters?event_id=e1").json();
        answer["letters"].as_array().unwrap().clone()
    };
    wait_until("the letter", || letters(&daemon).iter().any(|letter| letter["count"] == 3));
    let letter = letters(&daemon).remove(0);
    assert_eq!((&letter["kind"], &letter["field"]), (&json!("blocked_field"), &json!("email")));
    assert!(!letter.to_string().contains("alice"), "a list shows no content");
    let replay =
        ["dlq", "replay", "--event-id", "e1", "--operator", "jane", "--reason", "rule off"];
    let again = daemon.cli(&replay);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stdout).contains("refused again: email: must not be in an event"));

    // The same store, without the rule.
    let directory = daemon.end();
    let more = more.split("[events]").next().unwrap().to_owned();
    let daemon = Daemon::spawn(&more, directory);
    daemon.wait_for_health();
    for result in ["applied", "was replayed before"] {
        let done = daemon.cli(&replay);
        assert_eq!(done.status.code(), Some(0));
        assert!(text(&done.stdout).ends_with(&format!("(event e1): {result}\n")));
    }
    assert_eq!(daemon.get("/v1/users/alice").status, 200);
    assert!(daemon.log().contains("\"replayed\":true"));
    let [tries] = &letters(&daemon)[..] else { panic!("not one letter") };
    let results: Vec<_> =
        tries["replays"].as_array().unwrap().iter().map(|tried| &tried["result"]).collect();
    assert_eq!(results, ["refused", "applied"]);
}

#[test]
fn a_damaged_file_of_dead_letters_is_loud_and_stops_nothing() {
    let mut first = Daemon::start("");
    let directory = first.end();
    let path = directory.path().join("store/dead-letters.redb");
    assert!(path.exists());
    std::fs::write(&path, "damaged").unwrap();
    let daemon = Daemon::spawn("", directory);
    daemon.wait_for_health();
    assert_eq!(daemon.post(&block("e1", "alice")).status, 202);
    wait_until("the metric", || daemon.metric("portcullis_dead_letters_failing") == 1.0);
    let answer = daemon.get("/v1/dead-letters");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["type"], "urn:portcullis:problem:dead_letters_unavailable");
    assert!(daemon.log().contains("dead letters cannot be kept; enforcement goes on"));
    assert_eq!(std::fs::read(&path).unwrap(), b"damaged", "left for whoever looks into it");
}
