//! What happens when memory is full, unreadable, or contended.

use model::memory::ATTEMPTS_MAX;
use model::push::{self, Message};

use super::*;
use crate::slab;

/// Room for one subject per slab.
fn tight(answer: &str) -> Bench {
    let mut config = base_with("/storage/slab_bytes_max", json!(64));
    config["fail_policy"]["slab_full"] = json!(answer);
    Bench::new(&config)
}

fn requests() -> impl Iterator<Item = Plain> {
    (0..200).map(|i| Plain::get("/").with("x-user-id", &format!("user-{i}")))
}

#[test]
fn a_full_slab_is_answered_as_configured() {
    let mut bench = tight("deny");
    let lines: Vec<_> = requests().map(|request| bench.says(&request)).collect();
    assert_eq!(lines.iter().filter(|line| *line == "ok").count(), 16, "one for each slab");
    assert!(lines.iter().all(|line| line == "ok" || line == "rule=slab_full"));
    let mut bench = tight("allow");
    let lines: Vec<_> = requests().map(|request| bench.says(&request)).collect();
    assert_eq!(lines.iter().filter(|line| *line == "fail_open=slab_full").count(), 184);
    bench.pass(60.0);
    let back = requests().next().unwrap();
    assert_eq!(bench.says(&back), "ok", "whoever has refilled makes room");
}

/// Each limit of a subject is answered by itself.
#[test]
fn a_limit_without_room_is_answered_by_its_own_rule() {
    let strict = limit("per-user", json!("user"), 3);
    for (more, first, later) in [
        (json!({}), "ok", "rule=slab_full"),
        (json!({"slab_full": "allow"}), "ok", "fail_open=slab_full"),
        (json!({"shadow": true}), "ok", "shadow=slab_full"),
        (json!({"shadow": true, "slab_full": "allow"}), "ok", "fail_open=slab_full"),
    ] {
        let mut cheap = limit("per-ip", json!("client_ip"), 3);
        cheap["fill_interval"] = json!("1h");
        cheap.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut config = base_with("/limits", json!([strict, cheap]));
        config["storage"]["slab_bytes_max"] = json!(64);
        let mut bench = Bench::new(&config);
        let lines: Vec<_> =
            (0..200).map(|i| bench.says(&Plain::get("/").from(&format!("10.0.0.{i}")))).collect();
        assert_eq!(lines.iter().filter(|line| *line == first).count(), 16);
        assert_eq!(lines.iter().filter(|line| *line == later).count(), 184, "{more}");
        assert_eq!(bench.allowed("/", 4), 3, "who has a limit of his own has his room");
    }
}

/// What cannot be kept for one limit is kept for the others all the same.
#[test]
fn a_full_limit_switches_off_no_other() {
    let of = |name: &str, interval: &str, more: Value| {
        let mut limit = limit(name, json!("user"), 2);
        limit["fill_interval"] = json!(interval);
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        limit
    };
    let mut slow = of("slow", "1h", json!({"slab_full": "allow"}));
    slow["match"] = json!([{"path": {"exact": "/slow"}}]);
    let mut config = base_with("/limits", json!([slow, of("quick", "1s", json!({}))]));
    config["storage"]["slab_bytes_max"] = json!(64);
    let mut bench = Bench::new(&config);
    for i in 0..200 {
        bench.says(&Plain::get("/slow").with("x-user-id", &format!("user-{i}")));
        bench.pass(2.0);
    }
    let lines: Vec<_> = (0..3).map(|_| bench.alice("/slow")).collect();
    assert_eq!(lines, ["fail_open=slab_full", "fail_open=slab_full", "rule=limit:quick"]);
}

#[test]
fn a_full_slab_hides_no_block() {
    let mut bench = tight("allow");
    for request in requests() {
        bench.ask(&request);
    }
    bench.push(&user("alice"), [blocked("fraud")]);
    assert_eq!(bench.alice("/"), "rule=block:fraud event=evt-fraud");
}

#[test]
fn an_unreadable_slab_is_answered_as_configured() {
    for (answer, line) in [("deny", "rule=slab_unreadable"), ("allow", "fail_open=slab_unreadable")]
    {
        let mut bench = tight(answer);
        bench.alice("/");
        for (value, _) in bench.memory.values.values_mut() {
            value[0] = slab::VERSION + 1;
        }
        let before = bench.memory.values.clone();
        assert_eq!(bench.alice("/"), line);
        assert_eq!(bench.memory.values, before, "another version's memory is left alone");
    }
}

#[test]
fn an_unreadable_status_is_answered_as_configured() {
    let mut bench = tight("deny");
    let hash = bench.gate.hash_key().subject(user("alice").as_ref());
    let slab = slab::with_status(None, hash, b"\xff\xff", 0, |_| false).unwrap();
    let (_, mark) = bench.memory.read(MemoryKey::Slab(hash.slab(16)));
    bench.memory.write(MemoryKey::Slab(hash.slab(16)), &slab, mark).unwrap();
    assert_eq!(bench.alice("/"), "rule=slab_unreadable");
}

#[test]
fn losing_too_often_is_answered_as_configured() {
    for (answer, line) in [("deny", "rule=contention"), ("allow", "fail_open=contention")] {
        let mut bench = Bench::new(&base_with("/fail_policy/contention", json!(answer)));
        bench.memory.lose_next = ATTEMPTS_MAX;
        assert_eq!(bench.alice("/"), line);
        bench.memory.lose_next = ATTEMPTS_MAX - 1;
        assert_eq!(bench.alice("/"), "ok", "the last attempt counts");
    }
}

#[test]
fn a_block_that_arrives_between_read_and_write_is_seen() {
    let mut bench = Bench::new(&base());
    let hash = bench.gate.hash_key().subject(user("alice").as_ref());
    let status = state([blocked("fraud")]).pack();
    bench.memory.intruder = Some(Box::new(move |values| {
        let key = MemoryKey::Slab(hash.slab(16));
        let known = values.get(&key).map(|(slab, _)| slab.as_slice());
        let slab = slab::with_status(known, hash, &status, 0, |_| false).unwrap();
        values.insert(key, (slab, u32::MAX));
    }));
    assert_eq!(bench.alice("/"), "rule=block:fraud event=evt-fraud");
}

#[test]
fn a_block_that_an_older_module_has_stored_is_seen() {
    let mut bench = Bench::new(&base());
    let hash = bench.gate.hash_key().subject(user("alice").as_ref());
    let status = push::State::from(&state([blocked("fraud")])).encode_to_vec();
    let slab = slab::with_status(None, hash, &status, 0, |_| false).unwrap();
    bench.memory.values.insert(MemoryKey::Slab(hash.slab(16)), (slab, 1));
    assert_eq!(bench.alice("/"), "rule=block:fraud event=evt-fraud");
}

#[test]
fn no_bucket_is_forgotten_however_many_a_subject_has() {
    let limits = |from: usize| {
        let names = (from..from + 32).map(|i| limit(&format!("l{i}"), json!("user"), 1));
        json!(names.collect::<Vec<_>>())
    };
    let config = |from| {
        let mut config = base_with("/limits", limits(from));
        config["storage"]["slab_bytes_max"] = json!(65_536);
        config
    };
    let mut old = Bench::new(&config(0));
    assert_eq!(old.alice("/"), "ok");
    let mut new = Bench { gate: gate(&config(32)), ..old };
    assert_eq!(new.alice("/"), "ok");
    assert_ne!(new.alice("/"), "ok", "its own are remembered");
    let mut old = Bench { gate: gate(&config(0)), ..new };
    assert_ne!(old.alice("/"), "ok", "and so are those of another configuration");
}
