//! Who is there, by the registrations.

use super::*;

#[test]
fn who_renews_is_live_and_who_does_not_is_gone_since_then() {
    let raw = [registered("r2", "b", NOW_MS - 500), registered("r1", "a", NOW_MS - 60_000)];
    let members = Members::read(&raw, NOW_MS);
    assert_eq!(states(&members), [("a", DaemonState::Gone), ("b", DaemonState::Live)]);
    let [gone, live] = members.daemons.as_slice() else { panic!() };
    assert_eq!(gone.gone_since.as_deref(), Some("2023-11-14T23:12:20Z"), "by Redis's clock");
    assert_eq!((gone.renewed_ago_ms, live.renewed_ago_ms), (Some(60_000), Some(500)));
    assert_eq!((gone.behind_ms, live.behind_ms), (Some(59_500), Some(0)));
    assert!(members.forgotten.is_empty() && live.gone_since.is_none());
}

#[test]
fn who_is_gone_for_long_or_has_come_back_with_its_envoys_is_forgotten() {
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

/// What is known of the first of two daemons with one name once only the second one is live: how it is shown, and which
/// of its Envoys are left. The Envoys are given by node and boot id.
fn after(
    gone: &[(&str, &str)],
    live: &[(&str, &str)],
    first_ms: u64,
) -> Option<(DaemonState, Vec<String>)> {
    let envoys = |all: &[(&str, &str)]| all.iter().map(|(node, boot)| envoy(node, boot)).collect();
    let raw = [
        registered_with("r1", ("a", envoys(gone)), (NOW_MS - 10_000, 5), |_| {}),
        registered_with("r2", ("a", envoys(live)), (NOW_MS, first_ms), |_| {}),
    ];
    let members = Members::read(&raw, NOW_MS);
    assert_eq!(members.forgotten.is_empty(), members.daemons.len() == 2);
    let one = members.daemons.into_iter().find(|one| one.run == "r1")?;
    Some((one.state, one.said.envoys.into_iter().map(|envoy| envoy.node).collect()))
}

#[test]
fn an_envoy_that_has_not_come_back_with_its_daemon_is_not_forgotten() {
    let both = [("e1", "x"), ("e2", "y")];
    let left = |nodes: &[&str]| {
        Some((DaemonState::Gone, nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>()))
    };
    let after_its_end = NOW_MS - 5_000;
    assert_eq!(after(&both, &both, after_its_end), None, "all are back");
    assert_eq!(after(&both, &both[..1], after_its_end), left(&["e2"]));
    assert_eq!(after(&both, &[], after_its_end), left(&["e1", "e2"]));
    let restarted = [("e1", "x"), ("e2", "z")];
    assert_eq!(after(&both, &restarted, after_its_end), None, "one of them as another process");
    assert_eq!(after(&[], &[], after_its_end), None, "it had none");
}

#[test]
fn a_daemon_of_the_same_name_beside_it_is_not_its_successor() {
    let before_its_end = NOW_MS - 20_000;
    let cut_off = after(&[("edge", "x")], &[("edge", "y")], before_its_end);
    assert_eq!(cut_off, Some((DaemonState::Gone, vec!["edge".to_owned()])));
    // Its Envoy polls the other one: whoever is polled speaks for it.
    assert_eq!(after(&[("edge", "x")], &[("edge", "x")], before_its_end), None);
}

#[test]
fn a_daemon_that_was_stopped_says_which_envoys_it_leaves_behind() {
    let stopped = |envoys: Vec<Envoy>| {
        let last =
            registered_with("r1", ("a", envoys), (NOW_MS - 1_000, 5), |said| said.stopped = true);
        let members = Members::read(&[last, registered("r2", "b", NOW_MS)], NOW_MS);
        assert_eq!(states(&members), [("a", DaemonState::Stopped), ("b", DaemonState::Live)]);
        assert!(members.daemons[0].gone_since.is_some() && members.forgotten.is_empty());
        let mut tally = Tally::default();
        tally.expect(Arc::new(Members { settled: true, ..members }), Duration::ZERO);
        tally.hear(heard("r2", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
        assert!(tally.is_complete());
        tally.result(Duration::ZERO)
    };
    assert!(stopped(Vec::new()).enforced_everywhere, "it has left none behind");
    let left = stopped(vec![envoy("e1", "x")]);
    assert_eq!(missing(&left), [("a", Some("e1"), Reason::Stopped)]);
    // The other daemon has spoken for it.
    assert!(stopped(vec![envoy("e1", "boot-edge-b")]).enforced_everywhere);
}

#[test]
fn what_a_later_daemon_of_the_name_says_counts_also_once_that_is_gone() {
    let read = |last: &dyn Fn(&mut Registration), envoys: Vec<Envoy>| {
        let first =
            registered_with("r1", ("a", vec![envoy("e", "x")]), (NOW_MS - 9_000, 5), |_| {});
        let second = registered_with("r2", ("a", envoys), (NOW_MS - 5_000, NOW_MS - 8_000), last);
        let members = Members::read(&[first, second], NOW_MS);
        let left = members.daemons.iter().map(|one| (one.run.as_str(), one.said.envoys.len()));
        left.map(|(run, count)| format!("{run}:{count}")).collect::<Vec<_>>()
    };
    assert_eq!(read(&|_| {}, vec![envoy("e", "x")]), ["r2:1"], "it is missed once");
    assert_eq!(read(&|_| {}, Vec::new()), ["r1:1", "r2:0"], "it has not been seen again");
    let ended = |said: &mut Registration| {
        (said.stopped, said.ended) = (true, vec!["x".to_owned()]);
    };
    assert_eq!(read(&ended, Vec::new()), ["r2:0"], "it had ended");
}

#[test]
fn the_more_daemons_the_less_often_they_register_and_the_longer_they_are_live() {
    let every = |daemons| renewed_every(daemons).as_millis();
    assert_eq!([0, 32, 250, 1_000, DAEMONS_MAX].map(every), [1_000, 1_000, 1_000, 4_000, 8_000]);
    let state = |every_ms: u64, ago_ms: u64| {
        let at = (NOW_MS - ago_ms, 5);
        let one = registered_with("r", ("a", Vec::new()), at, |said| said.every_ms = every_ms);
        let members = Members::read(&[began(3_000), one], NOW_MS);
        (members.daemons[0].state, members.settled)
    };
    let (live, gone) = (DaemonState::Live, DaemonState::Gone);
    assert_eq!([state(1_000, 3_000), state(1_000, 3_001)], [(live, true), (gone, true)]);
    // Whoever renews every four seconds may not have registered yet.
    assert_eq!([state(4_000, 12_000), state(4_000, 12_001)], [(live, false), (gone, true)]);
    assert_eq!(state(u64::MAX, 24_001).0, gone, "bounded, whatever it says");
}

#[test]
fn whoever_found_no_room_is_not_known() {
    let full = |ago_ms: u64| ("full".to_owned(), (NOW_MS - ago_ms).to_string().into_bytes());
    let result = |ago_ms| {
        let raw = [began(10_000), full(ago_ms), registered("ra", "a", NOW_MS)];
        let mut tally = Tally::default();
        tally.expect(Arc::new(Members::read(&raw, NOW_MS)), Duration::ZERO);
        tally.hear(heard("ra", "a", &[("edge-a", SaidState::Enforced)]), Duration::ZERO);
        tally.result(Duration::ZERO)
    };
    assert_eq!(missing(&result(3_000)), [("(all)", None, Reason::RegistryFull)]);
    assert!(result(3_600_001).enforced_everywhere);
}

#[test]
fn what_is_remembered_of_registrations_can_be_read_again_later() {
    let one = registered("r1", "a", NOW_MS - 400);
    let raw = [began(9), one.clone(), registered("own", "b", NOW_MS), ("x".into(), b"1".to_vec())];
    let kept = remembered(&raw, NOW_MS, "own");
    let [Remembered { run, renewed_ago_ms, first_ago_ms, said }] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!((run.as_str(), *renewed_ago_ms, *first_ago_ms), ("r1", 400, 400));
    let back = [format!("{} {} ", NOW_MS - 400, NOW_MS - 400).as_bytes(), said].concat();
    assert_eq!(back, one.1);
    let large = vec![b'x'; 1024 * 1024];
    let many: Vec<_> =
        (0..20).map(|at| (at.to_string(), [b"1 1 ".as_slice(), &large].concat())).collect();
    assert_eq!(remembered(&many, NOW_MS, "own").len(), 8);
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
        ("1".to_owned(), format!("{NOW_MS} 5 5 {{").into_bytes()),
        ("2".to_owned(), format!("{NOW_MS} 5 5 {}", "x".repeat(100_000)).into_bytes()),
        ("3".to_owned(), b"\xff".to_vec()),
    ];
    let members = Members::read(&raw, NOW_MS);
    let unreadable = DaemonState::Unreadable;
    assert_eq!(states(&members), [("1", unreadable), ("2", unreadable), ("3", DaemonState::Gone)]);
    let mut tally = Tally::default();
    tally.expect(Arc::new(members), Duration::ZERO);
    tally.hear(heard("4", "b", &[("edge-b", SaidState::Enforced)]), Duration::ZERO);
    let result = tally.result(Duration::ZERO);
    assert!(!result.enforced_everywhere);
    let reasons: Vec<_> = result.missing.iter().map(|one| one.reason).collect();
    assert_eq!(reasons, [Reason::NoAnswer, Reason::NoAnswer, Reason::Gone]);
}
