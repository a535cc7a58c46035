//! Reports are counted once, for all daemons, and checked.

use super::*;
use crate::harness::{free_port, text};

#[test]
fn two_daemons_have_one_bucket_and_a_report_counts_once() {
    let redis = Redis::start(free_port(), &[]);
    let (a, b) = (daemon(&redis, "a", ""), daemon(&redis, "b", ""));
    let (mut one, mut other) = (Sharing::start(&a, "n-a"), Sharing::start(&b, "n-b"));
    assert_eq!(one.key, other.key, "one key for all");
    assert_eq!((one.key.key.len(), one.key.partitions), (16, 1));
    let call = one.call(1, 3);
    assert!(is_about(tokens(&one.send(&call).unwrap()), 3.0));
    for _ in 0..3 {
        assert!(tokens(&one.send(&call).unwrap()) <= 3.0, "it is the same report");
    }
    // Also by another daemon: it is named by the node's life, not by its daemon.
    assert!(tokens(&other.send(&call).unwrap()) <= 3.0);
    assert!(is_about(other.take(1, 4), 7.0));
    assert!(is_about(other.take(2, 1), 1.0), "another subject");
    let mut more = one.call(1, 1);
    more.reports = vec![report(3, 2, 100), report(1, 1, 101), report(3, 1, 102)];
    let answers = one.send(&more).unwrap();
    let serials: Vec<_> = answers.answers.iter().map(|answer| answer.serial).collect();
    assert_eq!(serials, [100, 101, 102]);
    let last = answers.answers[2].remaining_us as f64 / 1e6;
    assert!(is_about(last, 3.0), "{answers:?}");
    // The fleet's nodes are those of all daemons.
    wait_until("both nodes to be known", || {
        other.poll();
        one.poll().fleet_nodes == 2
    });
    let answers = one.send(&one.call_again(1, 1, 200)).unwrap();
    assert_eq!(answers.fleet_nodes, 2);
    assert!(a.metric("portcullis_fleet_calls_total{result=\"answered\"}") >= 5.0);
    assert!(a.metric("portcullis_fleet_reports_total") >= 7.0);
    assert_eq!(
        a.metric("portcullis_fleet_reports_total"),
        a.metric("portcullis_fleet_answers_total")
    );
    assert_eq!(a.metric("portcullis_fleet_ledger_open"), 1.0);
    assert_eq!(a.metric("portcullis_nodes_with_fleet_limits"), 1.0);
}

#[test]
fn the_largest_call_is_answered_in_the_order_of_its_reports_and_counts_once() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let mut call = one.call(1, 1);
    let takes = |at: usize| u32::try_from(at % 9 + 1).unwrap();
    // One bucket twice, in parts of the call that Redis counts at different times.
    let subject = |at: usize| u8::try_from(at % 255).unwrap();
    call.reports = (0..256).map(|at| report(subject(at), takes(at), 1_000 + at as u64)).collect();
    assert!(call.encoded_len() <= push::FLEET_BYTES_MAX);
    for _ in 0..2 {
        let answers = one.send(&call).unwrap();
        assert!(answers.encoded_len() <= push::FLEET_BYTES_MAX);
        assert_eq!(answers.answers.len(), 256);
        for (at, answer) in answers.answers.iter().enumerate() {
            assert_eq!(answer.serial, 1_000 + at as u64);
            let missing = answer.remaining_us as f64 / 1e6;
            let twice = takes(0) + takes(255);
            let most = if subject(at) == 0 { twice } else { takes(at) };
            assert!(missing <= f64::from(most), "{at}: {missing}");
            assert!(at == 0 || missing > f64::from(most) - 5.0, "{at}: {missing}");
        }
    }
}

#[test]
fn a_zero_and_what_lifts_it_begin_the_bucket_anew() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let now: Vec<u64> = ask(&redis, &["TIME"]);
    let mut emptied = one.call(1, 1);
    let epoch = push::FleetEpoch { at: now[0] * 1_000_000, id: 5 };
    (emptied.reports[0].epoch, emptied.reports[0].emptied) = (Some(epoch), true);
    let missing = tokens(&one.send(&emptied).unwrap());
    assert!(missing > 8.0 && missing <= 11.0, "{missing}");
    // A report from before changes nothing, and is told what is so.
    let answers = one.send(&one.call_again(1, 5, 50)).unwrap();
    assert_eq!(answers.answers[0].epoch, Some(epoch));
    let mut lifted = one.call(1, 2);
    lifted.reports[0].epoch = Some(push::FleetEpoch { at: epoch.at + 1, id: 6 });
    assert!(is_about(tokens(&one.send(&lifted).unwrap()), 2.0));
}

#[test]
fn calls_that_break_a_rule_are_told_which() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let good = one.call(1, 1);
    type Change = fn(&mut FleetReports);
    let cases: [(Change, &str); 7] = [
        (|call| call.protocol = 2, "protocol"),
        (|call| call.node = "a b".into(), "node"),
        (|call| call.boot_id.clear(), "boot_id"),
        (|call| call.reports = vec![report(1, 1, 1); 257], "reports"),
        (|call| call.reports[0].takes = 0, "reports[0].takes"),
        (|call| call.reports[0].bucket = None, "reports[0].bucket"),
        (|call| call.reports[0].rate = Some(Rate::default()), "reports[0].rate.max_tokens"),
    ];
    for (change, field) in cases {
        let mut call = good.clone();
        change(&mut call);
        let (status, problem) = one.send(&call).unwrap_err();
        assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{problem}");
    }
    let (status, body) = post(&a.socket, b"\xff\xff\xff");
    assert!(status == 400 && text(&body).contains("FleetReports"));
    assert_eq!(a.metric("portcullis_fleet_calls_total{result=\"malformed\"}"), 8.0);
    let mut status = 0;
    // The answer overtakes the body, and the rest of that may meet a closed connection.
    wait_until("an answer to what is too long", || {
        let sent = connect(&a.socket)
            .and_then(|to| exchange_at(FLEET_PATH, to, Some(&bearer()), &vec![0; 100_000]));
        status = sent.map_or(0, |(status, _)| status);
        status != 0
    });
    assert_eq!(status, 413);
    let before = a.metric("portcullis_poll_auth_failures_total");
    for wrong in [None, Some("Bearer wrong")] {
        let to = connect(&a.socket).unwrap();
        // Without a body, since nothing of it would be read.
        let sent = exchange_at(FLEET_PATH, to, wrong, &[]).unwrap();
        assert_eq!(sent, (401, Vec::new()));
    }
    assert_eq!(a.metric("portcullis_poll_auth_failures_total"), before + 2.0);
    assert_eq!(one.take(1, 1).ceil(), 1.0, "nothing was counted before");
}

#[test]
fn a_node_sends_reports_again_and_again_on_one_connection_also_when_they_are_refused() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let mut stream = connect(&a.socket).unwrap();
    let mut send = |call: &FleetReports| {
        let body = call.encode_to_vec();
        let head = format!(
            "POST {FLEET_PATH} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n",
            bearer(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let good = one.call(1, 1);
    let other_key = FleetReports { key_version: good.key_version + 1, ..good.clone() };
    for _ in 0..3 {
        assert!(send(&good).starts_with("HTTP/1.1 200"));
        let refused = send(&other_key);
        assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");
        assert!(!refused.contains("connection: close"), "{refused}");
    }
    // What is no call of a node's ends the connection.
    let malformed = send(&FleetReports { protocol: 9, ..good });
    assert!(malformed.contains("connection: close"), "{malformed}");
}

#[test]
fn reports_of_many_workers_take_no_place_of_a_poll() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "[limits]\nnodes_max = 2\n");
    let mut one = Sharing::start(&a, "n-a");
    let other = Sharing::start(&a, "n-b");
    // A poll that is held while connections come and go.
    let held = std::thread::spawn(move || {
        let mut other = other;
        let start = Instant::now();
        (other.poll().kind(), start.elapsed())
    });
    let mut open = Vec::new();
    for _ in 0..150 {
        let call = one.call(1, 1);
        let body = call.encode_to_vec();
        let mut stream = connect(&a.socket).unwrap();
        let head = format!(
            "POST {FLEET_PATH} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n",
            bearer(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        open.push(stream);
    }
    let (kind, elapsed) = held.join().unwrap();
    assert_eq!(kind, push::batch::Kind::Heartbeat);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    let ended = "portcullis_connections_ended_total{listener=\"poll\",of=\"known\"}";
    assert!(a.metric(ended) > 0.0, "connections had to end for others");
}

#[test]
fn the_status_and_the_commands_say_how_nodes_stand_to_the_fleets_limits() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut plain = Node::new(&a, "plain", "boot-plain");
    plain.poll();
    assert_eq!(a.status()["fleet_limits"]["ledger"], "unused");
    let printed = text(&a.cli(&["status"]).stdout);
    assert!(!printed.contains("FLEET LIMITS") && !printed.contains("limits "), "{printed}");
    let mut one = Sharing::start(&a, "n-a");
    let status = a.status();
    assert_eq!(status["fleet_limits"]["ledger"], "open", "{status}");
    assert_eq!(status["fleet_limits"]["key_version"], one.key.version, "{status}");
    assert_eq!(status["fleet_limits"]["key_from"], "redis", "{status}");
    let has = one.node.next.fleet.as_mut().unwrap();
    (has.waiting_ms, has.behind, has.given_up) = (5_000, 2, 30);
    one.poll();
    let status = a.status();
    let nodes = status["nodes"].as_array().unwrap();
    let find = |name: &str| nodes.iter().find(|node| node["node"] == name).unwrap();
    assert_eq!(find("plain").get("fleet_limits"), None);
    let limits = &find("n-a")["fleet_limits"];
    assert!(limits["cut_off_ms"].as_u64().unwrap() >= 5_000, "{limits}");
    assert_eq!((limits["behind"].as_u64(), limits["given_up"].as_u64()), (Some(2), Some(30)));
    assert_eq!(a.metric("portcullis_nodes_cut_off"), 1.0);
    assert_eq!(a.metric("portcullis_fleet_behind_total"), 2.0);
    assert_eq!(a.metric("portcullis_fleet_given_up_tokens_total"), 30.0);
    let printed = text(&a.cli(&["status"]).stdout);
    for said in ["CUT OFF for ", " s, Redis had less 2 times, gave up 30 tokens"] {
        assert!(printed.contains(said), "{printed}");
    }
    assert!(printed.contains("limits   the fleet's buckets can be reached"), "{printed}");
    wait_until("the fleet to know", || text(&a.cli(&["nodes"]).stdout).contains("CUT OFF for"));
    wait_until("the log", || a.log().contains("node is cut off from the fleet's buckets"));
    one.node.next.fleet.as_mut().unwrap().waiting_ms = 0;
    one.poll();
    assert_eq!(a.metric("portcullis_nodes_cut_off"), 0.0);
    wait_until("the log", || a.log().contains("node reaches the fleet's buckets again"));
}

#[test]
fn where_no_node_has_such_limits_redis_is_asked_nothing() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut plain = Node::new(&a, "plain", "boot-plain");
    let batch = plain.poll();
    assert_eq!((batch.fleet_key, batch.fleet_nodes, batch.news.len()), (None, 0, 0));
    plain.poll();
    assert_eq!(ask::<u64>(&redis, &["EXISTS", "{portcullis}:fleet-key"]), 0);
    let (_, listeners): (String, u64) = ask(&redis, &["PUBSUB", "NUMSUB", CHANNEL]);
    assert_eq!(listeners, 0);
}

#[test]
fn in_a_cluster_buckets_lie_in_a_slot_of_their_own() {
    let redis = Redis::start(free_port(), &["--cluster-enabled", "yes"]);
    ask::<()>(&redis, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait_until("the cluster", || ask::<String>(&redis, &["CLUSTER", "INFO"]).contains("state:ok"));
    let config = format!(
        "[sources.redis]\nmode = \"cluster\"\nurls = [\"{}\"]\nping_interval = \"100ms\"\n\
         dead_after = \"1s\"\n",
        redis.url()
    );
    let a = Daemon::start(&config);
    wait_until("Redis", || a.get("/readyz").status == 200);
    let mut one = Sharing::start(&a, "n-a");
    assert!(is_about(one.take(1, 3), 3.0));
    assert!(is_about(one.take(1, 2), 5.0));
    wait_until("somebody to listen", || {
        ask::<(String, u64)>(&redis, &["PUBSUB", "NUMSUB", CHANNEL]).1 == 1
    });
    one.take(2, 10);
    wait_until("news", || one.poll().news.iter().any(|news| news.bucket == Some(bucket(2))));
}

#[test]
fn a_call_without_reports_is_answered_once_redis_has() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let mut probe = one.call(1, 1);
    probe.reports.clear();
    assert_eq!(one.send(&probe).unwrap().answers, []);
    redis.process.signal("-STOP");
    let (status, problem) = one.send(&probe).unwrap_err();
    assert_eq!(status, 503, "{problem}");
    redis.process.signal("-CONT");
}
