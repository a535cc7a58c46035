//! With no more rights than docs/how-to/connect-redis.md asks for, and over TLS with certificates on both sides.

use model::push::FleetUse;
use serde_json::json;

use crate::fleet::everywhere;
use crate::fleet_limits::Sharing;
use crate::harness::{Daemon, Redis, block, event, file, free_port, wait_until};
use crate::node::Node;

const OFTEN: &str =
    "ping_interval = \"50ms\"\ndead_after = \"500ms\"\ndigest_interval = \"200ms\"\n";

fn is_ready(daemon: &Daemon) -> bool {
    daemon.get("/readyz").status == 200
}

/// The line of the document that makes the user.
fn documented_user(password: &str) -> Vec<String> {
    documented_line("on >PASSWORD", password)
}

/// The line of the document that gives the user a right.
fn documented_line(right: &str, password: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/how-to/connect-redis.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut lines = document.lines().filter(|line| line.starts_with("ACL SETUSER portcullis "));
    let line = lines.find(|line| line.contains(right)).unwrap();
    line.replace("PASSWORD", password).split(' ').map(str::to_owned).collect()
}

/// What Redis has denied, but for what the library does without.
fn denied(admin: &mut redis::Connection) -> Vec<String> {
    let denied: Vec<Vec<redis::Value>> = redis::cmd("ACL").arg("LOG").query(admin).unwrap();
    // The library introduces itself, and does without if it may not.
    let denied = denied.iter().map(|entry| format!("{entry:?}"));
    denied.filter(|entry| !entry.contains("client|setinfo")).collect()
}

#[test]
fn the_documented_rights_are_enough_and_none_is_missing() {
    let redis = Redis::start(free_port(), &[]);
    let mut admin = redis.connect();
    let words = documented_user("pass-word");
    redis::cmd(&words[0]).arg(&words[1..]).query::<()>(&mut admin).unwrap();
    let config = format!(
        "[sources.redis]\nurl = \"{}\"\nuser = \"portcullis\"\npassword = \"pass-word\"\n{OFTEN}",
        redis.url()
    );
    let daemon = Daemon::start(&config);
    wait_until("Redis", || is_ready(&daemon));
    let held = |user: &str| -> Vec<String> {
        let key = format!("{{portcullis}}:state:user:{user}");
        redis::cmd("HKEYS").arg(key).query(&mut redis.connect()).unwrap()
    };
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["redis"], true);
    redis.publish(block("evt-2", "bob").as_bytes());
    wait_until("the bare event to be written", || held("bob") == ["evt-2"]);
    redis::cmd("FLUSHALL").query::<()>(&mut admin).unwrap();
    wait_until("the repair", || held("alice") == ["evt-1"]);
    let lift = event("evt-3", "alice", json!({ "action": "unblock" })).to_string();
    assert_eq!(daemon.post(&lift).json()["redis"], true);
    wait_until("the old one to be forgotten", || held("alice") == ["evt-3"]);
    // Also what the script reads only of a digest that does not fit.
    redis::cmd("HSET").arg("{portcullis}:digest").arg("count").arg(9).exec(&mut admin).unwrap();
    wait_until("the digest to be put right", || {
        let mut ask = redis::cmd("HGET");
        ask.arg("{portcullis}:digest").arg("count");
        ask.query::<u64>(&mut redis.connect()).unwrap() == 2
    });
    // And all daemons can be asked.
    let said = everywhere(&daemon, &block("evt-4", "bob")).json();
    assert_ne!(said["fleet"]["missing"][0]["reason"], "redis_unreachable", "{said}");
    wait_until("it to be registered", || {
        daemon.get("/v1/fleet").json()["daemons"][0]["state"] == "live"
    });
    wait_until("its own answer", || {
        let said = everywhere(&daemon, &block("evt-4", "bob")).json();
        said["fleet"]["missing"][0]["reason"] == "no_envoy"
    });
    let denied = denied(&mut admin);
    assert!(denied.is_empty(), "{denied:?}");
}

#[test]
fn limits_across_the_fleet_need_one_more_line_and_without_it_the_rest_works() {
    let redis = Redis::start(free_port(), &[]);
    let mut admin = redis.connect();
    let words = documented_user("pass-word");
    redis::cmd(&words[0]).arg(&words[1..]).query::<()>(&mut admin).unwrap();
    let config = format!(
        "[sources.redis]\nurl = \"{}\"\nuser = \"portcullis\"\npassword = \"pass-word\"\n{OFTEN}",
        redis.url()
    );
    let daemon = Daemon::start(&config);
    wait_until("Redis", || is_ready(&daemon));
    let mut node = Node::new(&daemon, "n-a", "boot-n-a");
    node.next.fleet = Some(FleetUse::default());
    assert_eq!(node.poll().fleet_key, None);
    wait_until("the log", || daemon.log().contains("Redis does not hand out the key"));
    assert_eq!(daemon.status()["fleet_limits"]["ledger"], "unreachable");
    assert!(is_ready(&daemon) && daemon.post(&block("evt-1", "alice")).json()["redis"] == true);
    drop(daemon);

    let words = documented_line("portcullis.fleet", "");
    redis::cmd(&words[0]).arg(&words[1..]).query::<()>(&mut admin).unwrap();
    redis::cmd("ACL").arg("LOG").arg("RESET").query::<()>(&mut admin).unwrap();
    let daemon = Daemon::start(&config);
    wait_until("Redis", || is_ready(&daemon));
    let mut sharing = Sharing::start(&daemon, "n-a");
    assert!(sharing.take(1, 10) <= 10.0);
    wait_until("news", || {
        sharing.take(1, 1);
        !sharing.poll().news.is_empty()
    });
    wait_until("the number of nodes", || sharing.poll().fleet_nodes == 1);
    let denied = denied(&mut admin);
    assert!(denied.is_empty(), "{denied:?}");
}

#[test]
fn a_password_that_is_wrong_is_said_without_saying_it() {
    let redis = Redis::start(free_port(), &["--requirepass", "right"]);
    let config = format!(
        "[sources.redis]\nurl = \"redis://:right@127.0.0.1:{}\"\npassword = \"hunter2\"\n",
        redis.port
    );
    let daemon = Daemon::start(&config);
    wait_until("the refusal in the log", || daemon.log().contains("source lost"));
    let log = daemon.log();
    assert!(log.contains("authentication failed") && !log.contains("hunter2"), "{log}");
}

#[test]
fn tls_with_a_certificate_of_our_own() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(directory.path(), "cert.pem", &certified.cert.pem());
    let key = file(directory.path(), "key.pem", &certified.signing_key.serialize_pem());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let (port, tls) = (free_port(), free_port());
    let files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert];
    let tls_port = tls.to_string();
    let strict = ["--tls-port", &tls_port, "--tls-auth-clients", "yes"];
    let _redis = Redis::start(port, &[files.as_slice(), &strict].concat());
    let config = |more: &str| {
        format!(
            "[sources.redis]\nurl = \"rediss://localhost:{tls}\"\ntls_ca_file = \"{cert}\"\n{more}"
        )
    };
    let ours = format!("tls_cert_file = \"{cert}\"\ntls_key_file = \"{key}\"\n");
    let good = Daemon::start(&config(&ours));
    wait_until("Redis over TLS", || is_ready(&good));
    assert_eq!(good.post(&block("evt-1", "alice")).json()["redis"], true);
    let without = Daemon::start(&config(""));
    wait_until("the refusal in the log", || without.log().contains("source lost"));
    assert!(!is_ready(&without));
}
