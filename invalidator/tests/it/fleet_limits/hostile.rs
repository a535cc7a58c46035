//! Somebody who can write to Redis writes what no script of ours does.

use fleet::ledger::AHEAD_MAX;
use model::push::FleetEpoch;

use super::*;
use crate::harness::{block, free_port};

#[test]
fn what_stands_in_a_bucket_reads_as_nothing_if_it_is_not_as_the_script_writes_it() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let key = format!("{{portcullis:fleet:0}}:bucket:{}.00000001.00000002", "05".repeat(16));
    let mut connection = redis.connect();
    let values = [
        String::new(),
        "rubbish".into(),
        "-1 -1 0000000000000000".into(),
        format!("{} 0 0000000000000000", "9".repeat(400)),
        format!("1 {} 0000000000000000", "9".repeat(400)),
        "1 1 0000".into(),
        format!("1 1 {}", "f".repeat(1_000_000)),
        "1 1 AAAAAAAAAAAAAAAA".into(),
        "1e9 1 0000000000000000".into(),
        "x".repeat(1_000_000),
    ];
    for value in values {
        redis::cmd("SET").arg(&key).arg(&value).exec(&mut connection).unwrap();
        assert!(is_about(one.take(5, 2), 2.0), "{:.40}", value);
    }
    // The furthest instant that can be is cut to bucket and debt.
    let far = "9007199254740991 0 0000000000000000";
    redis::cmd("SET").arg(&key).arg(far).exec(&mut connection).unwrap();
    assert!(is_about(one.take(5, 1), 20.0));
    for kind in [&["RPUSH", &key, "x"], &["SADD", &key, "x"]] {
        ask::<u64>(&redis, &["DEL", &key]);
        ask::<u64>(&redis, kind);
        assert!(is_about(one.take(5, 2), 2.0), "{kind:?}");
    }
    assert_eq!(a.metric("portcullis_fleet_calls_total{result=\"strange\"}"), 0.0);
}

#[test]
fn what_is_published_as_news_and_is_none_harms_nobody() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    wait_until("the daemon to listen", || {
        ask::<(String, u64)>(&redis, &["PUBSUB", "NUMSUB", CHANNEL]).1 == 1
    });
    one.poll();
    let mut connection = redis.connect();
    let name = format!("{}.00000001.00000002", "07".repeat(16));
    let rubbish: [Vec<u8>; 8] = [
        Vec::new(),
        vec![0xff; 100],
        vec![b'\n'; 100_000],
        b"x".repeat(5_000_000),
        format!("{name} -5 0 0000000000000000").into_bytes(),
        format!("{name} 99999999999999 0 0000000000000000").into_bytes(),
        format!("{name} 5000000 0 {}", "f".repeat(17)).into_bytes(),
        // A node that believed this would take no event for a later one.
        format!("{name} 5000000 9007199254740991 00000000000000ff").into_bytes(),
    ];
    for message in &rubbish {
        redis::cmd("PUBLISH").arg(CHANNEL).arg(message).exec(&mut connection).unwrap();
    }
    // Good news behind them are heard.
    let good = format!("rubbish\n{name} 5000000 0 0000000000000000\n");
    redis::cmd("PUBLISH").arg(CHANNEL).arg(good).exec(&mut connection).unwrap();
    let mut batch = Batch::default();
    wait_until("the news", || {
        batch = one.poll();
        !batch.news.is_empty()
    });
    assert_eq!(batch.news.len(), 1, "{:?}", batch.news);
    assert_eq!(batch.news[0].bucket, Some(bucket(7)));
    assert!(a.metric("portcullis_fleet_news_total{what=\"malformed\"}") >= 8.0);
    assert_eq!(a.metric("portcullis_fleet_news_total{what=\"heard\"}"), 1.0);
    assert_eq!(a.post(&block("e1", "alice")).status, 202, "nobody polls just now");
    assert!(!a.log().contains(&"07".repeat(16)), "no name of a bucket in the log");
}

#[test]
fn who_has_the_secret_of_a_node_sets_no_beginning_into_the_far_future() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    let mut send = |takes, epoch| {
        let mut call = one.call(5, takes);
        call.reports[0].epoch = Some(epoch);
        let answers = one.send(&call).unwrap();
        (tokens(&answers), answers.answers[0].epoch.unwrap())
    };
    let (missing, begun) = send(u32::MAX, FleetEpoch { at: (1 << 53) - 1, id: 9 });
    assert!(is_about(missing, 20.0), "bucket and debt, whatever was taken: {missing}");
    let seconds: Vec<u64> = ask(&redis, &["TIME"]);
    let last = (seconds[0] + AHEAD_MAX.as_secs() + 1) * 1_000_000;
    assert!(begun.at < last, "{begun:?}");
    // What comes after that is later.
    let (missing, begun) = send(1, FleetEpoch { at: begun.at + 1, id: 3 });
    assert!(is_about(missing, 1.0) && begun.id == 3, "{missing} {begun:?}");
}

#[test]
fn a_script_that_answers_nonsense_is_not_believed() {
    let redis = Redis::start(free_port(), &[]);
    let a = daemon(&redis, "a", "");
    let mut one = Sharing::start(&a, "n-a");
    assert!(is_about(one.take(1, 1), 1.0));
    // Redis is replaced by something that answers every command with the same line.
    let (port, _directory) = redis.kill();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let answers = std::thread::spawn(move || {
        for stream in listener.incoming().take(200) {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                    let line = b"*3\r\n$3\r\n0 0\r\n:-5\r\n$-1\r\n".repeat(8);
                    if stream.write_all(&line).is_err() {
                        return;
                    }
                }
            });
        }
    });
    wait_until("refusals", || {
        let call = one.call(1, 1);
        one.send(&call).is_err()
    });
    for _ in 0..50 {
        let call = one.call(1, 1);
        assert_eq!(one.send(&call).unwrap_err().0, 503);
    }
    assert_eq!(a.get("/healthz").status, 200);
    drop(answers);
}
