//! A third source, from its section of the configuration to a restart: it has a rule of its own for signatures,
//! and what comes through it is kept, counted, refused and replayed under its name.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use deadletter::{Filter, Letter};
use events::Document;
use events::signature::mac;
use model::name::EventId;
use model::subject::Subject;
use serde_json::{Value, json};
use signing::key::Secret;
use system::wall_clock;
use tokio::task::yield_now;

use super::*;
use crate::config;
use crate::daemon::part::Parts;
use crate::daemon::prepare::Prepared;
use crate::hub::replay::{Selection, Word, replay};
use crate::intake::canonical;

const SECRET: &str = "0123456789abcdef";
/// Somebody has to be let in.
const TOKENS: &str = "[[api.tokens]]\nname = \"ops\"\nrole = \"operator\"\nhash = \
    \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

fn block(id: &str, user: &str) -> Value {
    json!({
        "event_id": id, "event_type": "test", "schema_version": "1.0",
        "occurred_at": wall_clock().to_string(), "key": { "user_id": user },
        "payload": { "action": "block", "reason": "fraud" }, "publisher": "risk",
    })
}

fn signed(mut event: Value) -> Value {
    let document = Document::read(event.to_string().as_bytes()).unwrap();
    let mac = mac(&Secret::new(SECRET.into()).unwrap(), &canonical(&document).unwrap()).unwrap();
    event["sig"] = json!({ "algo": "hmac-sha256", "kid": "k1", "ts": 1, "mac": mac });
    event
}

/// A configuration whose only source is the file, with this rule for it and another one for Redis.
fn configuration(directory: &Path, signatures: &str, redis: &str) -> config::Config {
    let keys = directory.join("keys.toml");
    std::fs::write(&keys, format!("[[keys]]\nid = \"k1\"\nsecret = \"{SECRET}\"\n")).unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let at = |name: &str| directory.join(name).display().to_string();
    let text = format!(
        "[poll]\nlisten = \"unix:/run/p.sock\"\nsecret = \"{SECRET}\"\n\
         [store]\ndirectory = \"{}\"\n\
         [sources.embedded]\nenabled = false\n[sources.listed]\nfile = \"{}\"\n\
         [events]\nkeys_file = \"{}\"\nlisted.signatures = \"{signatures}\"\n\
         redis.signatures = \"{redis}\"\n\
         {TOKENS}",
        at("store"),
        at("events"),
        at("keys.toml"),
    );
    config::Config::parse(&text).unwrap()
}

/// A daemon without doors, whose source has read the file to its end.
async fn start(config: config::Config) -> (Arc<Hub>, Parts) {
    let mut parts = Parts::default();
    let Prepared { hub, .. } = Prepared::new(config, false, &mut parts).unwrap();
    let why = hub.overview().not_ready();
    assert!(why.contains(&"source listed is connecting".to_owned()), "{why:?}");
    let stop = CancellationToken::new();
    let [source] = hub.sources() else { panic!("one is configured") };
    let running = tokio::spawn(Arc::clone(source).run(Arc::clone(&hub), stop.clone()));
    while !hub.overview().not_ready().is_empty() {
        yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    (hub, parts)
}

fn in_force(hub: &Hub, user: &str) -> bool {
    hub.engine().view(&Subject::user(user).unwrap(), hub.now()).is_some()
}

fn kept_under(hub: &Hub, user: &str, id: &str) -> String {
    let (subject, id) = (Subject::user(user).unwrap(), EventId::parse(id).unwrap());
    let record = hub.keeper().event(&subject, &id).unwrap();
    record.source.split(' ').next().unwrap().to_owned()
}

fn letter(hub: &Hub) -> Letter {
    assert!(
        hub.dead_letters.flush(Duration::from_secs(30)),
        "it is written by a thread of its own"
    );
    let found = hub.dead_letters.list(&Filter::default(), 9).unwrap();
    let [(_, letter)] = found.as_slice() else { panic!("one event was refused: {found:?}") };
    letter.clone()
}

fn replayed(hub: &Hub) -> (&'static str, Option<String>) {
    let word = Word { operator: "ops".into(), reason: "a test".into() };
    let selection = Selection::All(Filter::default());
    let mut all = replay(hub, &hub.dead_letters, &selection, &word).unwrap();
    let one = all.pop().unwrap();
    (one.result, one.cause.map(|cause| cause.kind))
}

#[tokio::test]
async fn a_third_source_has_its_own_rule_its_own_name_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let lines = format!("{}\n{}\n", signed(block("e1", "alice")), block("e2", "bob"));
    std::fs::write(directory.path().join("events"), lines).unwrap();

    // Its own rule: signatures are required here, and not of Redis.
    let (hub, parts) = start(configuration(directory.path(), "required", "off")).await;
    assert!(in_force(&hub, "alice") && !in_force(&hub, "bob"));
    assert_eq!(kept_under(&hub, "alice", "e1"), "listed");
    let refused = letter(&hub);
    assert_eq!(
        (refused.source.as_str(), refused.cause.kind.as_str()),
        ("listed", "signature_missing")
    );
    assert_eq!(replayed(&hub), ("refused", Some("signature_missing".to_owned())), "by its rule");
    let metrics = hub.scrape().unwrap();
    for (result, name) in
        [("applied", "events"), ("refused", "events"), ("verified", "event_signatures")]
    {
        let line = format!("portcullis_{name}_total{{source=\"listed\",result=\"{result}\"}}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let status = serde_json::to_value(hub.overview()).unwrap();
    assert_eq!(status["sources"][0]["name"], "listed");
    assert_eq!((&status["redis"], status.get("listed")), (&Value::Null, None));
    parts.stop().await;
    drop(hub);

    // Another run, with the rules the other way round: the file has been read, and what was refused may come in now.
    let (hub, parts) = start(configuration(directory.path(), "off", "required")).await;
    assert_eq!(hub.position(&KIND).as_deref(), Some("2"));
    assert!(in_force(&hub, "alice") && !in_force(&hub, "bob"));
    assert_eq!(replayed(&hub), ("applied", None));
    assert_eq!(kept_under(&hub, "bob", "e2"), "listed");
    parts.stop().await;
    drop(hub);

    let (hub, parts) = start(configuration(directory.path(), "required", "required")).await;
    assert!(in_force(&hub, "alice") && in_force(&hub, "bob"), "what is kept is not judged anew");
    parts.stop().await;
}

#[test]
fn its_section_is_checked_as_that_of_any_other() {
    let text = "[poll]\nlisten = \"unix:/p\"\nsecret = \"0123456789abcdef\"\n\
                [store]\ndirectory = \"/x\"\n[sources.listed]\n";
    let error = |more: &str| config::Config::parse(&format!("{text}{more}\n{TOKENS}")).unwrap_err();
    let relative = error("file = \"events\"");
    assert_eq!(relative.to_string(), "sources.listed.file: must be an absolute path");
    assert_eq!(error("path = 1").field, "sources.listed.path");
    let unsigned = error("file = \"/x\"\n[events.listed]\nsignatures = \"required\"");
    assert!(unsigned.to_string().starts_with("events.listed.signatures: needs events.keys_file"));
}
