//! Keys of signed requests that the invalidator hands out.

use model::push::SigningKey;
use signing::key::{KEYS_BYTES_MAX, KeyId};

use super::*;
use crate::decide::KeyCache;

fn wire(version: u64, ids: &[&str]) -> push::KeySet {
    let key = |id: &&str| SigningKey {
        id: (*id).into(),
        partner: "acme".into(),
        secret: format!("the secret of {id} in {version}").into(),
        ..SigningKey::default()
    };
    push::KeySet { version, keys: ids.iter().map(key).collect() }
}

/// The answer to a poll with these keys, and the poll after it.
fn hand_out(node: &mut Node, vm: &mut Poller, keys: push::KeySet) -> (Report, Option<Poll>) {
    node.pass_ms(1_100);
    node.tick(vm, Rank::Singleton);
    let batch = Daemon::new("a").batch(Kind::Heartbeat, 0, Vec::new());
    let report = node.answer(vm, Rank::Singleton, &Batch { keys: Some(keys), ..batch });
    let next = report.next.clone();
    (report, next)
}

fn ids(node: &mut Node, cache: &mut KeyCache) -> String {
    let keys = cache.get(&mut node.memory).iter();
    keys.map(|key| key.id.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn pushed_keys_are_kept_and_acknowledged() {
    let (mut node, mut vm) = (Node::new(), poller(1));
    let first = node.tick(&mut vm, Rank::Singleton).unwrap();
    assert_eq!(first.keys_version, 0);
    let mut cache = KeyCache::new(node.gate.config());
    assert_eq!(ids(&mut node, &mut cache), "");
    let (report, next) = hand_out(&mut node, &mut vm, wire(5, &["k1", "k2"]));
    assert_eq!((report.keys, next.unwrap().keys_version), (Some(Ok(())), 5));
    assert_eq!(ids(&mut node, &mut cache), "k1 k2");
    let (report, next) = hand_out(&mut node, &mut vm, wire(4, &["k0"]));
    assert_eq!((report.keys, next.unwrap().keys_version), (None, 5), "an earlier set");
    hand_out(&mut node, &mut vm, wire(6, &["k2"]));
    assert_eq!(ids(&mut node, &mut cache), "k2", "what is not handed out any more is gone");
}

#[test]
fn a_set_that_breaks_a_rule_leaves_the_last_one() {
    let (mut node, mut vm) = (Node::new(), poller(1));
    let mut cache = KeyCache::new(node.gate.config());
    hand_out(&mut node, &mut vm, wire(5, &["k1"]));
    let (report, _) = hand_out(&mut node, &mut vm, wire(6, &["k 1"]));
    assert_eq!(report.keys, Some(Err(format!("id: {}", KeyId::RULE))));
    let mut large = wire(6, &["k2"]);
    large.keys[0].integrations = vec!["x".repeat(64); KEYS_BYTES_MAX / 64];
    let (report, next) = hand_out(&mut node, &mut vm, large);
    assert_eq!(report.keys, Some(Err("keys: must be at most 64 KiB".into())));
    assert_eq!(next.unwrap().keys_version, 5);
    assert_eq!(ids(&mut node, &mut cache), "k1");
}

#[test]
fn of_a_configured_and_a_pushed_key_the_pushed_one_holds() {
    let mut config = base();
    config["keys"] = serde_json::json!([
        {"id": "k1", "partner": "acme", "secret": "a configured secret"},
        {"id": "k0", "partner": "acme", "secret": "a configured secret"},
    ]);
    let gate = gate(&config);
    let (mut node, mut vm) = (Node::new(), poller(1));
    let mut cache = KeyCache::new(gate.config());
    assert_eq!(ids(&mut node, &mut cache), "k0 k1");
    hand_out(&mut node, &mut vm, wire(5, &["k1", "k2"]));
    assert_eq!(ids(&mut node, &mut cache), "k0 k1 k2");
    let k1 = KeyId::parse("k1").unwrap();
    let key = cache.get(&mut node.memory).get(&k1).cloned().unwrap();
    assert_eq!(key.secret.expose(), b"the secret of k1 in 5");
}

#[test]
fn keys_that_cannot_be_read_are_none() {
    let mut node = Node::new();
    node.memory.values.insert(MemoryKey::Keys, (b"\xff\xff".to_vec(), 9));
    let mut cache = KeyCache::new(node.gate.config());
    assert_eq!(ids(&mut node, &mut cache), "");
}

/// Keys that say nothing of a profile are for that of the integrations that they may be used for.
#[test]
fn handed_out_keys_are_for_one_profile() {
    let profiles = |wants: [&str; 2], key: SigningKey| {
        let mut config = base();
        config["integrations"] = serde_json::json!([
            {"name": "one", "match": [{"path": {"prefix": "/one"}}],
             "signature": {"profile": wants[0]}},
            {"name": "two", "match": [{"path": {"prefix": "/two"}}],
             "signature": {"profile": wants[1], "partner": "globex"}},
        ]);
        let gate = gate(&config);
        let mut memory = Memory::default();
        let set = push::KeySet { version: 1, keys: vec![key] };
        memory.values.insert(MemoryKey::Keys, (set.encode_to_vec(), 1));
        let mut cache = KeyCache::new(gate.config());
        let profile = cache.get(&mut memory).iter().map(|key| key.profile).next();
        let unclear = cache.unclear().iter().map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
        (profile.flatten().map(signing::Profile::as_str), unclear)
    };
    let key =
        |partner: &str| SigningKey { partner: partner.into(), ..wire(1, &["k1"]).keys.remove(0) };
    let clear = |profile| (Some(profile), String::new());
    assert_eq!(profiles(["stripe", "stripe"], key("globex")), clear("stripe"));
    assert_eq!(profiles(["stripe", "github"], key("acme")), clear("stripe"));
    let several = profiles(["stripe", "github"], key("globex"));
    assert_eq!(several, (Some("portcullis"), "k1".into()), "one profile, and somebody is told");
    let named = SigningKey { integrations: vec!["two".into()], ..key("globex") };
    assert_eq!(profiles(["stripe", "github"], named), clear("github"));
    let says = SigningKey { profile: "body".into(), ..key("globex") };
    assert_eq!(profiles(["stripe", "github"], says), clear("body"));
    let nowhere = SigningKey { integrations: vec!["three".into()], ..key("globex") };
    assert_eq!(profiles(["stripe", "github"], nowhere), (None, String::new()));
}
