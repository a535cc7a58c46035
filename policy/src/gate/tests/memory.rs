//! What happens when memory is full, unreadable, or contended.

use super::*;
use crate::push::{self, Message};
use crate::shared::ATTEMPTS_MAX;
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
    let (_, mark) = bench.memory.read(Key::Slab(hash.slab(16)));
    bench.memory.write(Key::Slab(hash.slab(16)), &slab, mark).unwrap();
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
        let key = Key::Slab(hash.slab(16));
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
    bench.memory.values.insert(Key::Slab(hash.slab(16)), (slab, 1));
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
