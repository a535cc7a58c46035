//! The Redis source with a real Redis, and what happens when that one dies or hangs.

use std::time::{Duration, Instant};

use invalidator::source::waiting::WAITING_BYTES_MAX;
use model::subject::Subject;

use crate::harness::{Daemon, Redis, block, free_port, wait_until};
use crate::node::{Node, Running};
use crate::redis_durable::write;

fn daemon(redis: &Redis) -> Daemon {
    Daemon::start(&format!("[sources.redis]\nurl = \"{}\"\n", redis.url()))
}

fn is_ready(daemon: &Daemon) -> bool {
    daemon.get("/readyz").status == 200
}

fn knows(daemon: &Daemon, user: &str) -> bool {
    daemon.get(&format!("/v1/users/{user}")).status == 200
}

#[test]
fn what_is_published_on_the_channel_reaches_the_nodes() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = daemon(&redis);
    wait_until("Redis", || is_ready(&daemon));
    let node = Running::start(&daemon, "edge-1", "a");
    assert_eq!(redis.publish(block("evt-1", "alice").as_bytes()), 1);
    wait_until("the acknowledgement", || daemon.metric("portcullis_push_ack_seconds_count") == 1.0);
    let seen = daemon.get("/v1/users/alice").json();
    assert_eq!(seen["nodes"][0]["enforced"], true);
    let sample = "portcullis_events_total{source=\"redis\",result=\"applied\"}";
    assert_eq!(daemon.metric(sample), 1.0);
    assert!(node.stop().states.contains_key(&Subject::user("alice").unwrap()));
}

#[test]
fn bad_messages_are_counted_by_kind_and_the_next_good_one_works() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = daemon(&redis);
    wait_until("Redis", || is_ready(&daemon));
    let large = format!("{{\"secret-{}", "x".repeat(20_000));
    for bad in ["", "not json", "{}", &large] {
        redis.publish(bad.as_bytes());
    }
    redis.publish(&[0xff, 0xfe]);
    redis.publish(block("evt-1", "alice").as_bytes());
    wait_until("the good one", || knows(&daemon, "alice"));
    let refused =
        |kind: &str| daemon.metric(&format!("portcullis_events_refused_total{{kind=\"{kind}\"}}"));
    assert_eq!((refused("malformed"), refused("invalid"), refused("too_large")), (3.0, 1.0, 1.0));
    assert!(!daemon.log().contains("secret-x"));
}

#[test]
fn a_killed_redis_is_noticed_and_found_again() {
    let port = free_port();
    let mut redis = Redis::start(port, &[]);
    let daemon = daemon(&redis);
    wait_until("Redis", || is_ready(&daemon));
    let reconnects = || daemon.metric("portcullis_source_reconnects_total{source=\"redis\"}");
    assert!(daemon.get("/metrics").text.contains("portcullis_source_reconnects_total"));
    assert_eq!(reconnects(), 0.0);
    let _node = Running::start(&daemon, "edge-1", "a");
    redis.publish(block("evt-1", "alice").as_bytes());
    wait_until("the event", || knows(&daemon, "alice"));
    redis.process.0.kill().unwrap();
    redis.process.0.wait().unwrap();
    wait_until("the loss to be noticed", || !is_ready(&daemon));
    let why = daemon.get("/readyz").json();
    assert_eq!(why["why"][0], "source redis is disconnected");
    assert!(knows(&daemon, "alice"), "blocks outlive the connection");
    assert_eq!(daemon.metric("portcullis_source_connected{source=\"redis\"}"), 0.0);
    let redis = Redis::start(port, &[]);
    wait_until("Redis again", || is_ready(&daemon));
    redis.publish(block("evt-2", "bob").as_bytes());
    wait_until("the next event", || knows(&daemon, "bob"));
    assert_eq!(reconnects(), 1.0);
}

#[test]
fn a_redis_that_hangs_is_noticed_within_three_seconds() {
    let redis = Redis::start(free_port(), &[]);
    let daemon = daemon(&redis);
    wait_until("Redis", || is_ready(&daemon));
    let node = Running::start(&daemon, "edge-1", "a");
    redis.process.signal("-STOP");
    let start = Instant::now();
    wait_until("the loss to be noticed", || !is_ready(&daemon));
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    let age_ms = node.stop().source_age_ms.unwrap();
    assert!(age_ms >= 1_000, "nodes are told how old the source's last sign of life is: {age_ms}");
    redis.process.signal("-CONT");
    wait_until("Redis again", || is_ready(&daemon));
}

#[test]
fn a_source_that_never_connected_leaves_nodes_unsynchronized() {
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}");
    let daemon = Daemon::start(&format!("[sources.redis]\nurl = \"{url}\"\n"));
    assert_eq!(daemon.get("/readyz").json()["why"][0], "source redis is connecting");
    let mut node = Node::new(&daemon, "edge-1", "a");
    node.poll();
    assert_eq!(node.source_age_ms, None);
    let _redis = Redis::start(port, &[]);
    wait_until("the source's age to be told", || node.poll().source_age_ms.is_some());
}

#[test]
fn tls_with_a_certificate_authority_of_ones_own_and_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    let cert = crate::harness::file(directory.path(), "cert.pem", &pem);
    let key =
        crate::harness::file(directory.path(), "key.pem", &certified.signing_key.serialize_pem());
    let port = free_port();
    let tls = free_port();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let _redis = Redis::start(
        port,
        &[
            &["--tls-port", &tls.to_string(), "--tls-cert-file", cert, "--tls-key-file", key],
            ["--tls-auth-clients", "no", "--requirepass", "pw"].as_slice(),
        ]
        .concat(),
    );
    let config = |password: &str, ca: &str| {
        format!("[sources.redis]\nurl = \"rediss://:{password}@localhost:{tls}\"\n{ca}")
    };
    let ca = format!("tls_ca_file = \"{cert}\"\n");
    let good = Daemon::start(&config("pw", &ca));
    wait_until("Redis over TLS", || is_ready(&good));
    let reasons = [("wrong-pw", ca.as_str(), "authentication failed"), ("pw", "", "certificate")];
    for (password, ca, reason) in reasons {
        let refused = Daemon::start(&config(password, ca));
        wait_until("the refusal in the log", || refused.log().contains("source lost"));
        let log = refused.log();
        assert!(log.contains(reason) && !log.contains("wrong-pw"), "{log}");
        assert!(!is_ready(&refused));
    }
}

/// The daemon is stopped meanwhile, so that all of it comes at once, and patient, so that nothing
/// else ends the connection.
#[test]
fn a_flood_is_bounded_and_what_the_stream_has_of_it_is_taken_in() {
    let redis = Redis::start(free_port(), &["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let patient = "ping_interval = \"1s\"\ndead_after = \"60s\"";
    let daemon = Daemon::start(&format!("[sources.redis]\nurl = \"{}\"\n{patient}\n", redis.url()));
    wait_until("Redis", || is_ready(&daemon));
    daemon.process.signal("-STOP");
    // Large ones: to look whether one is urgent takes longer than to read it from the connection.
    let garbage = format!("{{{}}}", " ".repeat(17_000));
    let mut flood = redis::pipe();
    for _ in 0..100 {
        flood.publish("portcullis.invalidations", &garbage).ignore();
    }
    let mut connection = redis.connect();
    for _ in 0..3 * WAITING_BYTES_MAX / 2 / garbage.len() / 100 {
        flood.exec(&mut connection).unwrap();
    }
    let event = block("evt-1", "alice");
    write(&redis, "portcullis.invalidations", "alice", "evt-1", &event);
    daemon.process.signal("-CONT");
    wait_until("the connection to be given up", || {
        daemon.log().contains("more messages came than may wait")
    });
    wait_until("the block", || knows(&daemon, "alice"));
    wait_until("Redis", || is_ready(&daemon));
    redis.publish(block("evt-2", "bob").as_bytes());
    wait_until("the next one", || knows(&daemon, "bob"));
}
