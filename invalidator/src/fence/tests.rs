//! What registrations and answers mean, of daemons that are made up.

use std::time::Duration;

use engine::{Does, Enforcement, Enforces, NodeKey};
use model::name::EventId;
use model::subject::Subject;

use super::*;
use crate::wire::{DaemonState, Envoy, Everywhere, Reason, Registration};

const NOW_MS: u64 = 1_700_000_000_000;

fn registered(run: &str, name: &str, renewed_ms: u64) -> (String, Vec<u8>) {
    let envoy = Envoy {
        node: format!("edge-{name}"),
        boot_id: "b".into(),
        connected: true,
        synced: true,
        does: Does::Enforces,
        ..Envoy::default()
    };
    let said = Registration {
        name: name.into(),
        read: Some(format!("{renewed_ms}-0")),
        envoys: vec![envoy],
        ..Registration::default()
    };
    let json = serde_json::to_string(&said).unwrap();
    (run.into(), format!("{renewed_ms} {json}").into_bytes())
}

/// Registrations began so long ago.
fn began(ago_ms: u64) -> (String, Vec<u8>) {
    ("since".into(), (NOW_MS - ago_ms).to_string().into_bytes())
}

fn states(members: &Members) -> Vec<(&str, DaemonState)> {
    members.daemons.iter().map(|one| (one.said.name.as_str(), one.state)).collect()
}

#[test]
fn who_renews_is_live_and_who_does_not_is_gone_since_then() {
    let raw = [registered("r2", "b", NOW_MS - 500), registered("r1", "a", NOW_MS - 60_000)];
    let members = Members::read(&raw, NOW_MS);
    assert_eq!(states(&members), [("a", DaemonState::Gone), ("b", DaemonState::Live)]);
    let [gone, live] = members.daemons.as_slice() else { panic!() };
    assert_eq!(gone.gone_since.as_deref(), Some("2023-11-14T22:12:20Z"));
    assert_eq!((gone.renewed_ago_ms, live.renewed_ago_ms), (Some(60_000), Some(500)));
    assert_eq!((gone.behind_ms, live.behind_ms), (Some(59_500), Some(0)));
    assert!(members.forgotten.is_empty() && live.gone_since.is_none());
}

#[test]
fn who_is_gone_for_long_or_has_come_back_is_forgotten() {
    let hour = u64::try_from(REMEMBERED_FOR.as_millis()).unwrap();
    let raw = [
        registered("old", "a", NOW_MS - hour - 1),
        registered("before", "b", NOW_MS - 10_000),
        registered("after", "b", NOW_MS),
    ];
    let mut members = Members::read(&raw, NOW_MS);
    members.forgotten.sort();
    assert_eq!(members.forgotten, ["before", "old"]);
    assert_eq!(states(&members), [("b", DaemonState::Live)]);
    assert!(members.equal_names().is_empty());
}

#[test]
fn equal_names_of_live_daemons_are_said() {
    let raw = [registered("1", "a", NOW_MS), registered("2", "a", NOW_MS), registered("3", "b", 5)];
    let members = Members::read(&raw, NOW_MS);
    assert_eq!(members.equal_names(), ["a"]);
    assert_eq!(members.fleet().equal_names, ["a"]);
}

#[test]
fn a_clock_of_redis_that_was_set_back_makes_nobody_live() {
    let members = Members::read(&[registered("1", "a", NOW_MS + 3_600_000)], NOW_MS);
    assert_eq!(states(&members), [("a", DaemonState::Gone)]);
    assert_eq!(members.daemons[0].renewed_ago_ms, None);
    assert!(members.forgotten.is_empty(), "it renews at once, if it lives");
}

#[test]
fn what_cannot_be_read_is_a_daemon_all_the_same() {
    let raw = [
        began(10_000),
        ("1".to_owned(), format!("{NOW_MS} {{").into_bytes()),
        ("2".to_owned(), format!("{NOW_MS} {}", "x".repeat(100_000)).into_bytes()),
        ("3".to_owned(), b"\xff".to_vec()),
    ];
    let members = Members::read(&raw, NOW_MS);
    let unreadable = DaemonState::Unreadable;
    assert_eq!(states(&members), [("1", unreadable), ("2", unreadable), ("3", DaemonState::Gone)]);
    let mut tally = Tally::default();
    tally.expect(members);
    tally.hear(heard("4", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
    let result = tally.result(Duration::ZERO);
    assert!(!result.enforced_everywhere);
    let reasons: Vec<_> = result.missing.iter().map(|one| one.reason).collect();
    assert_eq!(reasons, [Reason::NoAnswer, Reason::NoAnswer, Reason::Gone]);
}

fn said(nodes: &[(&str, SaidState)]) -> Said {
    let nodes = nodes.iter().map(|(node, state)| SaidNode {
        node: (*node).to_owned(),
        boot_id: "b".into(),
        state: *state,
        cause: None,
    });
    Said { known: true, in_effect: true, settled: true, uptime_s: 5, nodes: nodes.collect() }
}

fn heard(run: &str, name: &str, nodes: &[(&str, SaidState)]) -> Heard {
    let (run, daemon) = (run.to_owned(), name.to_owned());
    Heard { run, daemon, region: None, said: said(nodes), is_vouched: true }
}

/// Asked of the live daemons a and b.
fn tally() -> Tally {
    let mut tally = Tally::default();
    let raw = [began(10_000), registered("ra", "a", NOW_MS), registered("rb", "b", NOW_MS)];
    tally.expect(Members::read(&raw, NOW_MS));
    tally
}

fn missing(result: &Everywhere) -> Vec<(&str, Option<&str>, Reason)> {
    let missing = result.missing.iter();
    missing.map(|one| (one.daemon.as_str(), one.node.as_deref(), one.reason)).collect()
}

#[test]
fn everywhere_is_when_every_envoy_of_every_daemon_has_said_so() {
    let ms = Duration::from_millis;
    let mut tally = tally();
    assert!(!tally.is_complete());
    tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), ms(2));
    assert!(!tally.is_complete());
    let result = tally.result(ms(3));
    assert_eq!(missing(&result), [("b", Some("edge-b"), Reason::NoAnswer)]);
    assert!(!result.enforced_everywhere && result.nodes.len() == 1);
    tally.hear(heard("rb", "b", &[("edge-b", SaidState::Enforced)]), ms(7));
    assert!(tally.is_complete());
    let result = tally.result(ms(9));
    assert!(result.enforced_everywhere && result.missing.is_empty());
    let times: Vec<_> = result.nodes.iter().map(|node| (node.node.as_str(), node.ms)).collect();
    assert_eq!(times, [("edge-a", 2.0), ("edge-b", 7.0)]);
}

#[test]
fn what_is_said_bit_by_bit_keeps_its_first_times() {
    let ms = Duration::from_millis;
    let mut tally = tally();
    let mut some = heard("ra", "a", &[("e1", SaidState::Enforced), ("e2", SaidState::Behind)]);
    some.said.settled = false;
    tally.hear(some, ms(1));
    assert!(!tally.is_complete());
    let both = [("e1", SaidState::Enforced), ("e2", SaidState::Enforced)];
    tally.hear(heard("ra", "a", &both), ms(5));
    // The last word stands.
    tally.hear(heard("ra", "a", &[("e1", SaidState::Behind)]), ms(6));
    let times: Vec<_> = tally.result(ms(6)).nodes.iter().map(|node| node.ms).collect();
    assert_eq!(times, [1.0, 5.0]);
}

#[test]
fn each_way_not_to_enforce_has_its_reason() {
    let of = |change: &dyn Fn(&mut Heard)| {
        let mut tally = tally();
        tally.hear(heard("rb", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
        let mut heard = heard("ra", "a", &[("edge-a", SaidState::Enforced)]);
        change(&mut heard);
        tally.hear(heard, Duration::ZERO);
        let result = tally.result(Duration::ZERO);
        assert!(!result.enforced_everywhere);
        let all = missing(&result);
        assert_eq!(all.len(), 1);
        (all[0].1.map(str::to_owned), all[0].2)
    };
    let node = || Some("edge-a".to_owned());
    for (state, reason) in [
        (SaidState::Behind, Reason::Behind),
        (SaidState::NeverSynced, Reason::NeverSynced),
        (SaidState::Gone, Reason::Gone),
        (SaidState::Refused, Reason::Refused),
    ] {
        assert_eq!(of(&|heard| heard.said.nodes[0].state = state), (node(), reason));
    }
    assert_eq!(of(&|heard| heard.said.in_effect = false), (node(), Reason::NotInEffect));
    assert_eq!(of(&|heard| heard.is_vouched = false), (node(), Reason::NotVouched));
    assert_eq!(of(&|heard| heard.said.known = false), (None, Reason::Refused));
    assert_eq!(of(&|heard| heard.said.nodes.clear()), (None, Reason::NoEnvoy));
    let behind = |heard: &mut Heard| (heard.said.known, heard.said.settled) = (false, false);
    assert_eq!(of(&behind), (None, Reason::Behind));
}

#[test]
fn a_daemon_that_nobody_polls_for_long_has_nothing_to_enforce_on() {
    let mut tally = tally();
    tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), Duration::ZERO);
    let mut idle = heard("rb", "b", &[]);
    idle.said.uptime_s = 601;
    tally.hear(idle, Duration::ZERO);
    assert!(tally.result(Duration::ZERO).enforced_everywhere);
}

#[test]
fn nobody_asked_and_nobody_registered_is_not_everywhere() {
    let result = Everywhere::unknown(Duration::ZERO);
    assert_eq!(missing(&result), [("(all)", None, Reason::RedisUnreachable)]);
    let mut tally = Tally::default();
    tally.expect(Members::default());
    assert!(!tally.is_complete() && !tally.result(Duration::ZERO).enforced_everywhere);
}

#[test]
fn a_forged_answer_takes_nothing_from_the_genuine_one() {
    let mut tally = tally();
    let forged = |state| Heard { is_vouched: false, ..heard("ra", "a", &[("edge-a", state)]) };
    tally.hear(forged(SaidState::Enforced), Duration::ZERO);
    assert!(tally.result(Duration::ZERO).nodes.is_empty());
    tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), Duration::ZERO);
    tally.hear(forged(SaidState::Behind), Duration::ZERO);
    tally.hear(heard("rb", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
    assert!(tally.result(Duration::ZERO).enforced_everywhere);
}

#[test]
fn a_fence_that_breaks_a_bound_is_none() {
    let ask = Ask { subject: "user:alice".into(), event_id: "e".into() };
    let good = Fence { nonce: "0af".into(), to: "desk-1".into(), for_ms: 99_999, asks: vec![ask] };
    let read = |fence: &Fence| Fence::read(&serde_json::to_vec(fence).unwrap());
    assert_eq!(read(&good).as_ref(), Some(&good));
    assert_eq!(good.lasts(), LASTS_MAX);
    let wrong: [&dyn Fn(&mut Fence); 6] = [
        &|fence| fence.to = "a:b".into(),
        &|fence| fence.to = String::new(),
        &|fence| fence.nonce = "x".repeat(65),
        &|fence| fence.asks.clear(),
        &|fence| fence.asks = vec![fence.asks[0].clone(); ASKS_MAX + 1],
        &|fence| fence.asks[0].subject = "group:alice".into(),
    ];
    for (index, change) in wrong.iter().enumerate() {
        let mut fence = good.clone();
        change(&mut fence);
        assert_eq!(read(&fence), None, "{index}");
    }
    assert_eq!(Fence::read(&vec![b' '; FENCE_BYTES_MAX + 1]), None);
    assert_eq!(Reply::read(&vec![b' '; REPLY_BYTES_MAX + 1]), None);
}

#[test]
fn an_answer_is_settled_when_no_envoy_is_on_its_way() {
    let key = |node: &str| NodeKey { node: node.into(), boot_id: "b".into() };
    let found = |enforces: Enforces, in_effect| {
        let nodes = vec![(key("e1"), Enforces::Yes), (key("e2"), enforces)];
        Some(Enforcement { in_effect, nodes, turned_away: false })
    };
    let settled = |found, is_last| Said::of(found, 1, false, is_last).settled;
    for open in [Enforces::Behind, Enforces::NeverSynced] {
        assert!(!settled(found(open.clone(), true), false));
        assert!(settled(found(open.clone(), true), true));
        assert!(settled(found(open, false), false), "overruled: nobody will enforce it");
    }
    for done in [Enforces::Yes, Enforces::Gone, Enforces::Refused("full".into())] {
        assert!(settled(found(done, true), false));
    }
    assert!(!Said::of(None, 1, false, false).settled, "it may still come");
    assert!(Said::of(None, 1, true, false).settled);
    let full = Enforcement { in_effect: true, nodes: Vec::new(), turned_away: true };
    let said = Said::of(Some(full), 1, true, false);
    assert_eq!(said.nodes[0].state, SaidState::Refused);
}

#[test]
fn the_text_of_the_mac_differs_with_each_part() {
    let ask = Ask::of(&Subject::user("alice").unwrap(), &EventId::parse("e1").unwrap());
    let other = Ask::of(&Subject::session("alice").unwrap(), &EventId::parse("e1").unwrap());
    let all = [
        mac_text(("n", "r", "d"), &ask, "s"),
        mac_text(("m", "r", "d"), &ask, "s"),
        mac_text(("n", "q", "d"), &ask, "s"),
        mac_text(("n", "r", "c"), &ask, "s"),
        mac_text(("n", "r", "d"), &other, "s"),
        mac_text(("n", "r", "d"), &ask, "t"),
        mac_text(("n\nr", "d", "d"), &ask, "s"),
    ];
    let mut different = all.to_vec();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), all.len());
}

#[test]
fn who_may_not_have_registered_yet_is_waited_for() {
    for (raw, settled) in
        [(began(2_999), false), (began(3_000), true), (registered("x", "x", 5), false)]
    {
        let mut tally = Tally::default();
        let raw = [raw, registered("ra", "a", NOW_MS)];
        tally.expect(Members::read(&raw, NOW_MS));
        tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), Duration::ZERO);
        tally.hear(heard("x", "x", &[("edge-x", SaidState::Enforced)]), Duration::ZERO);
        assert_eq!(tally.is_complete(), settled);
        let result = tally.result(Duration::ZERO);
        assert_eq!(result.enforced_everywhere, settled);
        let expected = if settled { vec![] } else { vec![("(all)", None, Reason::RegistryNew)] };
        assert_eq!(missing(&result), expected);
    }
}
