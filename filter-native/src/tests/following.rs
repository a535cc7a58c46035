//! Configurations that come and go, and what is heard of the invalidator.

use std::time::{Duration, Instant};

use model::push::batch::Kind;

use super::*;

/// All that an invalidator says which has blocked this user for this reason.
pub(super) fn blocking(id: &str, reason: &str) -> Vec<u8> {
    let register = event(&format!("evt-{reason}"), 0, Effect::Block(block(reason)));
    Batch {
        protocol: PROTOCOL,
        epoch: "e".into(),
        kind: Kind::Snapshot.into(),
        sequence: 1,
        last: true,
        changes: vec![change(1, &user(id), &state([register]))],
        source_age_ms: Some(0),
        ..Batch::default()
    }
    .encode_to_vec()
}

fn polls() -> usize {
    envoy(|envoy| envoy.sent.len())
}

#[test]
fn a_block_that_is_heard_of_is_enforced() {
    let _turn = turn();
    let gate = Gate::new("following-block", &configuration());
    config_scheduled();
    assert_eq!(newest_poll().limits, ["per-user"]);
    assert_eq!(gate.ask(&mut Exchange::get("/", "alice")), 200);
    gate.answer(&blocking("alice", "fraud"));
    let mut request = Exchange::get("/", "alice");
    assert_eq!(gate.ask(&mut request), 403);
    assert_eq!(request.answer().unwrap().1, "portcullis:rule=block:fraud;event=evt-fraud");
    assert_eq!(gate.ask(&mut Exchange::get("/", "bob")), 200);
    assert_eq!(polls(), 2, "the next poll goes with the answer");
    // What the main thread has counted has waited for a stream, in this Envoy.
    assert_eq!(counted("portcullis.push.batches"), 1);
    assert_eq!(counted("portcullis.block.denied:fraud"), 1);
    assert_eq!(counted("portcullis.denied.block"), 1);
}

#[test]
fn a_poll_that_fails_is_sent_again_and_answers_of_others_are_not_taken_for_it() {
    let _turn = turn();
    let gate = Gate::new("following-failure", &configuration());
    config_scheduled();
    callout_done(gate.envoy, 77, 200, &blocking("alice", "fraud"));
    callout_done(fake::config(), 1, 200, &blocking("alice", "fraud"));
    assert_eq!(gate.ask(&mut Exchange::get("/", "alice")), 200);
    callout_done(gate.envoy, 1, 0, b"");
    assert_eq!(
        envoy(|envoy| envoy.log.iter().filter(|line| line.contains("cannot be reached")).count()),
        1
    );
    let begun = Instant::now();
    while polls() < 2 {
        assert!(begun.elapsed().as_secs() < 10);
        config_scheduled();
    }
    callout_done(gate.envoy, 2, 503, b"");
    gate.ask(&mut Exchange::get("/", "bob"));
    assert_eq!(counted("portcullis.push.failed"), 2);
}

#[test]
fn the_newest_configuration_follows_and_memory_outlives_each() {
    let _turn = turn();
    let old = Gate::new("following-update", &configuration());
    config_scheduled();
    old.answer(&blocking("alice", "fraud"));
    let mut changed = configuration();
    changed["route_groups"] = json!([{"name": "new", "match": [{"path": {"prefix": "/new"}}]}]);
    let new = Gate::new("following-update", &changed);
    assert_eq!(new.ask(&mut Exchange::get("/", "alice")), 403, "it knows what the old one knows");
    // The poll that the old one has sent is lost with it; the new one sends another.
    let before = polls();
    drop(old);
    let begun = Instant::now();
    while polls() == before {
        assert!(begun.elapsed().as_secs() < 10);
        config_scheduled();
    }
    assert_eq!(newest_poll().route_groups, ["new"]);
    drop(new);
    config_scheduled();
    let again = Gate::new("following-update", &configuration());
    assert_eq!(again.ask(&mut Exchange::get("/", "alice")), 403, "nobody was left meanwhile");
}

#[test]
fn memories_of_other_names_are_apart() {
    let _turn = turn();
    let (one, other) = (
        Gate::new("following-one", &configuration()),
        Gate::new("following-two", &configuration()),
    );
    config_scheduled();
    assert_eq!(polls(), 2, "each home follows");
    callout_done(one.envoy, 1, 200, &blocking("alice", "fraud"));
    callout_done(one.envoy, 2, 200, &blocking("alice", "fraud"));
    let asked = [&one, &other].map(|gate| gate.ask(&mut Exchange::get("/", "alice")));
    assert_eq!(asked.iter().filter(|status| **status == 403).count(), 1);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let _turn = turn();
    let mut claims = configuration();
    claims["identity"]["user"] =
        json!([{"header": "x"}, {"jwt_claim": {"payload": "p", "claim": "sub"}}]);
    let mut slabs = configuration();
    slabs["storage"]["slabs"] = json!(32);
    let _first = Gate::new("following-refused", &configuration());
    for (json, reason) in [
        ("{", "configuration: must be JSON"),
        ("{\"limits\": 7}", "limits"),
        (&*claims.to_string(), "identity.user[1].jwt_claim: cannot be read by a dynamic module"),
        (&*slabs.to_string(), "storage.slabs: must be 16"),
    ] {
        envoy(|envoy| envoy.log.clear());
        assert!(Gate::try_new("following-refused", json).is_none(), "{json}");
        let log = envoy(|envoy| envoy.log.clone());
        assert!(
            log.iter().any(|line| line.starts_with("portcullis: ") && line.contains(reason)),
            "{log:?}"
        );
    }
    assert_eq!(Base::all().len(), 1, "nothing is left of what was refused");
}

#[test]
fn a_tick_that_panics_does_not_end_ticks() {
    let _turn = turn();
    let gate = Gate::new("following-panic", &configuration());
    crate::shield::testing::panic_at_next();
    config_scheduled();
    assert_eq!(polls(), 0);
    config_scheduled();
    assert_eq!(polls(), 1);
    gate.ask(&mut Exchange::get("/", "bob"));
    assert_eq!(counted("portcullis.panics"), 1);
}

#[test]
fn an_answer_that_panics_is_asked_for_again() {
    let _turn = turn();
    let gate = Gate::new("following-again", &configuration());
    config_scheduled();
    crate::shield::testing::panic_at_next();
    gate.answer(&blocking("alice", "fraud"));
    assert_eq!(gate.ask(&mut Exchange::get("/", "alice")), 200, "it was lost");
    // Whoever polls from now on waits until the lease is over.
    let begun = Instant::now();
    while polls() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        config_scheduled();
    }
    gate.answer(&blocking("alice", "fraud"));
    assert_eq!(gate.ask(&mut Exchange::get("/", "alice")), 403);
    assert_eq!(counted("portcullis.panics"), 1);
}

#[test]
fn an_envoy_without_what_is_needed_is_refused() {
    let _turn = turn();
    // A program of tests exports nothing, as an Envoy that is too old does not have it.
    assert_eq!(program_init(), None);
    assert!(envoy(|envoy| envoy.log.iter().any(|line| line.contains("this Envoy is too old"))));
}
