//! What registrations and answers mean, of daemons that are made up.

use std::sync::Arc;
use std::time::Duration;

use engine::{Does, Enforcement, Enforces, NodeKey};
use model::name::EventId;
use model::subject::Subject;

use super::*;
use crate::wire::{DaemonState, Envoy, Everywhere, Reason, Registration};

mod members;

const NOW_MS: u64 = 1_700_000_000_000;

fn envoy(node: &str, boot_id: &str) -> Envoy {
    let (node, boot_id) = (node.to_owned(), boot_id.to_owned());
    let (connected, synced, does) = (true, true, Does::Enforces);
    Envoy { node, boot_id, connected, synced, does, ..Envoy::default() }
}

/// With one Envoy, whose boot id has the name of the run in it.
fn registered(run: &str, name: &str, renewed_ms: u64) -> (String, Vec<u8>) {
    let envoys = vec![envoy(&format!("edge-{name}"), &format!("boot-{run}"))];
    registered_with(run, (name, envoys), (renewed_ms, renewed_ms), |_| {})
}

fn registered_with(
    run: &str,
    (name, envoys): (&str, Vec<Envoy>),
    (renewed_ms, first_ms): (u64, u64),
    change: impl Fn(&mut Registration),
) -> (String, Vec<u8>) {
    let (name, read) = (name.to_owned(), Some(format!("{renewed_ms}-0")));
    let mut said = Registration { name, read, every_ms: 1_000, envoys, ..Registration::default() };
    change(&mut said);
    let json = serde_json::to_string(&said).unwrap();
    // Redis's clock is an hour ahead of the time that registrations go by.
    let wall_ms = renewed_ms + 3_600_000;
    (run.into(), format!("{renewed_ms} {first_ms} {wall_ms} {json}").into_bytes())
}

/// Registrations began so long ago.
fn began(ago_ms: u64) -> (String, Vec<u8>) {
    ("since".into(), (NOW_MS - ago_ms).to_string().into_bytes())
}

fn states(members: &Members) -> Vec<(&str, DaemonState)> {
    members.daemons.iter().map(|one| (one.said.name.as_str(), one.state)).collect()
}

fn said(nodes: &[(&str, SaidState)]) -> Said {
    let nodes = nodes.iter().map(|(node, state)| SaidNode {
        node: (*node).to_owned(),
        boot_id: format!("boot-{node}"),
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
    tally.expect(Arc::new(Members::read(&raw, NOW_MS)), Duration::ZERO);
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
    tally.expect(Arc::default(), Duration::ZERO);
    assert!(!tally.is_complete() && !tally.result(Duration::ZERO).enforced_everywhere);
}

#[test]
fn whoever_asks_answers_as_well_although_it_is_not_registered() {
    let raw = [began(10_000), registered("rb", "b", NOW_MS)];
    let mut members = Members::read(&raw, NOW_MS);
    let called = Called { name: "a".into(), region: None };
    members.include("ra", &called);
    members.include("rb", &called);
    assert_eq!(members.daemons.len(), 2);
    let mut tally = Tally::default();
    tally.expect(Arc::new(members), Duration::ZERO);
    tally.hear(heard("rb", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
    assert!(!tally.is_complete());
    assert_eq!(missing(&tally.result(Duration::ZERO)), [("a", None, Reason::NoAnswer)]);
}

#[test]
fn what_was_said_long_before_the_last_answer_is_outdated() {
    let ms = Duration::from_millis;
    let all = || {
        let raw = [began(10_000), registered("ra", "a", NOW_MS)];
        let mut tally = Tally::default();
        tally.expect(Arc::new(Members::read(&raw, NOW_MS)), ms(100));
        tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), ms(110));
        tally
    };
    assert!(all().result(ms(1_100)).enforced_everywhere);
    let late = all().result(ms(1_101));
    assert_eq!(missing(&late), [("(all)", None, Reason::Outdated)]);
    assert!(!late.enforced_everywhere && late.nodes.len() == 1);
}

#[test]
fn an_envoy_that_polls_another_daemon_now_is_gone_from_nowhere() {
    let result = |boot_id: &str, state| {
        let mut tally = tally();
        let mut gone = heard("ra", "a", &[("edge", SaidState::Gone)]);
        gone.said.nodes[0].boot_id = "moved".into();
        let mut there = heard("rb", "b", &[("edge", state)]);
        there.said.nodes[0].boot_id = boot_id.into();
        tally.hear(gone, Duration::ZERO);
        tally.hear(there, Duration::ZERO);
        tally.result(Duration::ZERO)
    };
    assert!(result("moved", SaidState::Enforced).enforced_everywhere);
    assert!(!result("moved", SaidState::Behind).enforced_everywhere);
    assert!(!result("another", SaidState::Enforced).enforced_everywhere);
}

#[test]
fn two_envoys_of_one_name_are_two() {
    let mut tally = tally();
    tally.hear(heard("rb", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
    let two = [("edge", SaidState::Enforced), ("edge", SaidState::Gone)];
    let mut both = heard("ra", "a", &two);
    both.said.nodes[1].boot_id = "other".into();
    tally.hear(both, Duration::ZERO);
    let result = tally.result(Duration::ZERO);
    assert_eq!(missing(&result), [("a", Some("edge"), Reason::Gone)]);
    assert!(result.missing[0].cause.as_ref().unwrap().contains("another Envoy"), "{result:?}");
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
        tally.expect(Arc::new(Members::read(&raw, NOW_MS)), Duration::ZERO);
        tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), Duration::ZERO);
        tally.hear(heard("x", "x", &[("edge-x", SaidState::Enforced)]), Duration::ZERO);
        assert_eq!(tally.is_complete(), settled);
        let result = tally.result(Duration::ZERO);
        assert_eq!(result.enforced_everywhere, settled);
        let expected = if settled { vec![] } else { vec![("(all)", None, Reason::RegistryNew)] };
        assert_eq!(missing(&result), expected);
    }
}
