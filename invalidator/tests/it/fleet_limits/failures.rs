//! A Redis that is not there, hangs, or comes back.

use super::*;
use crate::harness::free_port;

/// Sends until it is refused; gives the name of the problem.
fn refused(one: &mut Sharing) -> String {
    let mut name = String::new();
    wait_until("a refusal", || {
        let start = Instant::now();
        let call = one.call(1, 1);
        let answered = one.send(&call);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        match answered {
            Ok(_) => false,
            Err((status, problem)) => {
                assert_eq!(status, 503, "{problem}");
                name = problem["type"].as_str().unwrap().to_owned();
                true
            }
        }
    });
    name
}

#[test]
fn without_redis_reports_are_refused_at_once() {
    let alone = Daemon::start("");
    let mut node = Node::new(&alone, "n-a", "boot-n-a");
    node.next.fleet = Some(FleetUse::default());
    let batch = node.poll();
    assert_eq!((batch.fleet_key, batch.fleet_nodes), (None, 0));
    let key = FleetKey { version: 1, ..FleetKey::default() };
    let mut one = Sharing { node, socket: alone.socket.clone(), serial: 0, key };
    let call = one.call(1, 1);
    let (status, problem) = one.send(&call).unwrap_err();
    assert_eq!((status, &problem["type"]), (503, &"urn:portcullis:problem:no_ledger".into()));
    assert_eq!(alone.status()["fleet_limits"]["ledger"], "none");
}

#[test]
fn a_redis_that_is_gone_is_said_at_once_and_used_again_when_it_is_back() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    assert!(is_about(one.take(1, 3), 3.0));
    let key = one.key.clone();
    let (port, directory) = redis.kill();
    let unreachable = "urn:portcullis:problem:ledger_unreachable";
    assert_eq!(refused(&mut one), unreachable);
    let start = Instant::now();
    for _ in 0..20 {
        let call = one.call(1, 1);
        assert_eq!(one.send(&call).unwrap_err().0, 503);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "nobody waits");
    assert_eq!(a.status()["fleet_limits"]["ledger"], "unreachable");
    assert_eq!(one.poll().fleet_key, None, "the node has the key, and goes on with it");
    let redis = Redis::start_in(directory, port, &[]);
    redis.connect();
    // It has lost everything, and gets back the key that nodes name buckets with: these are full once, and not twice.
    wait_until("an answer", || {
        let call = one.call(2, 1);
        one.send(&call).is_ok()
    });
    one.poll();
    assert_eq!(one.key, key);
    assert!(is_about(one.take(1, 1), 1.0));
    assert_eq!(a.status()["fleet_limits"]["ledger"], "open");
    assert!(a.metric("portcullis_fleet_calls_total{result=\"unreachable\"}") >= 20.0);
}

#[test]
fn a_redis_that_hangs_piles_up_no_calls_and_delays_no_block() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let one = Sharing::start(&a, "n-a");
    redis.process.signal("-STOP");
    let call = one.call_again(1, 1, 1);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..40).map(|_| scope.spawn(|| one.send(&call))).collect();
        for sent in calls {
            let (status, problem) = sent.join().unwrap().unwrap_err();
            assert_eq!(status, 503, "{problem}");
        }
    });
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(a.metric("portcullis_fleet_calls_total{result=\"late\"}") > 0.0);
    // By then it counts as gone: the next call does not wait.
    let start = Instant::now();
    assert_eq!(one.send(&call).unwrap_err().0, 503);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    redis.process.signal("-CONT");
    let mut missing = 0.0;
    wait_until("answers", || match one.send(&call) {
        Ok(answers) => {
            missing = tokens(&answers);
            true
        }
        Err(_) => false,
    });
    assert!(missing <= 1.0, "40 calls with one report are one report: {missing}");
}

#[test]
fn missing_rights_are_said_and_everything_else_works() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    ask::<()>(&redis, &["ACL", "SETUSER", "default", "-mget"]);
    assert_eq!(refused(&mut one), "urn:portcullis:problem:ledger_refused");
    assert_eq!(a.get("/readyz").status, 200);
    let log = a.log();
    assert!(log.contains("reports of a node were not counted"), "{log}");
    assert!(!log.contains(&"01".repeat(16)), "no name of a bucket in the log");
    ask::<()>(&redis, &["ACL", "SETUSER", "default", "+mget"]);
    assert!(one.take(2, 1) <= 1.0);
}
