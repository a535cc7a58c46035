//! What the fleet admits of the same requests that one exact bucket is fed: the goals, and what happens when things
//! fail. The figures stand in `docs/explanation/fleet-limits.md`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its figures for the documents"
)]

mod sim;

use std::time::Duration;

use fleet::epoch::Begins;
use fleet::loss::OnLoss;
use fleet::overshoot::{Delays, tokens_max};
use sim::{Fleet, Seen, terms};

const DELAYS: Delays = Delays {
    report: Duration::from_micros(1_000),
    answer: Duration::from_micros(1_000),
    news: Duration::from_micros(2_000),
    losses: 1,
};

/// How requests are spread over the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// One node has all.
    Sticky,
    /// Any node, at random.
    Uniform,
    /// One node after the other, half a second each.
    Rotate,
    /// All nodes in the same millisecond.
    AtOnce,
    /// Slow over all nodes, nothing for two seconds, a burst at one node, and on as before.
    BurstLater,
}

/// The requests of one millisecond: which nodes have one.
fn arrivals(pattern: Pattern, fleet: &mut Fleet, per_second: f64) -> Vec<usize> {
    let (time, nodes) = (fleet.time(), fleet.count());
    let is_burst = (10.0..10.1).contains(&time);
    let per_second = match pattern {
        Pattern::BurstLater if is_burst => 1_000.0,
        Pattern::BurstLater if (8.0..10.0).contains(&time) => 0.0,
        _ => per_second,
    };
    let per_ms = per_second / 1_000.0;
    let more = fleet.random().chance(per_ms.fract());
    let count = per_ms as usize + usize::from(more);
    match pattern {
        Pattern::AtOnce if count > 0 => (0..nodes).collect(),
        Pattern::AtOnce => Vec::new(),
        Pattern::Sticky => vec![0; count],
        Pattern::Rotate => vec![(time / 0.5) as usize % nodes; count],
        Pattern::BurstLater if is_burst => vec![0; count],
        Pattern::Uniform | Pattern::BurstLater => {
            (0..count).map(|_| fleet.random().below(nodes as u64) as usize).collect()
        }
    }
}

/// Runs for so many seconds; `meddle` is called before each millisecond, with how many have passed.
fn play(
    fleet: &mut Fleet,
    pattern: Pattern,
    per_second: f64,
    seconds: u64,
    mut meddle: impl FnMut(&mut Fleet, u64),
) -> Seen {
    for ms in 0..seconds * 1_000 {
        meddle(fleet, ms);
        for at in arrivals(pattern, fleet, per_second) {
            fleet.request(at, 0);
        }
        fleet.tick();
    }
    fleet.seen.clone()
}

#[test]
fn the_fleet_admits_what_one_exact_bucket_admits() {
    let patterns = [Pattern::Sticky, Pattern::Uniform, Pattern::Rotate, Pattern::BurstLater];
    for nodes in [8, 32] {
        for (tokens, per_second, offered) in
            [(100, 10, 5.0), (100, 10, 200.0), (1_000, 500, 3_000.0)]
        {
            for pattern in patterns {
                for loss in [0.0, 0.05] {
                    let terms = terms(tokens, per_second, 100);
                    let mut fleet = Fleet::new(nodes, terms, DELAYS, 1);
                    fleet.loss = loss;
                    let seen = play(&mut fleet, pattern, offered, 20, |_, _| {});
                    let (ratio, messages) = (seen.ratio(), seen.messages_per_request());
                    let what = format!(
                        "N={nodes} b={tokens} r={per_second}/s offered {offered}/s {pattern:?} \
                         lost {loss}: {ratio:.3}, +{:.2} b, {messages:.3} messages/request",
                        seen.worst / f64::from(tokens)
                    );
                    println!("{what}");
                    assert!((0.95..=1.05).contains(&ratio), "{what}");
                    assert!((0.001..=1.0).contains(&messages), "{what}");
                    assert_eq!((seen.behind, seen.given_up), (0, 0), "{what}");
                }
            }
        }
    }
}

#[test]
fn over_two_minutes_the_rate_is_within_one_percent() {
    for (tokens, per_second, offered) in [(100, 10, 200.0), (1_000, 500, 3_000.0)] {
        for pattern in [Pattern::Sticky, Pattern::Uniform, Pattern::Rotate] {
            let mut fleet = Fleet::new(8, terms(tokens, per_second, 100), DELAYS, 2);
            let seen = play(&mut fleet, pattern, offered, 120, |_, _| {});
            let ratio = seen.ratio();
            assert!((0.99..=1.01).contains(&ratio), "{pattern:?} b={tokens}: {ratio}");
        }
    }
}

/// Requests to all nodes in the same milliseconds: too much once, within the stated bound, and paid back.
#[test]
fn what_all_nodes_take_at_once_stays_within_the_bound_and_is_paid_back() {
    let delays = Delays { losses: 0, ..DELAYS };
    for nodes in [8u32, 32] {
        for (tokens, per_second, offered) in
            [(100, 10, 200.0), (10, 1, 50.0), (1_000, 500, 3_000.0)]
        {
            for debt in [100, 1_000] {
                let terms = terms(tokens, per_second, debt);
                let mut fleet = Fleet::new(nodes as usize, terms, delays, 3);
                let seen = play(&mut fleet, Pattern::AtOnce, offered, 120, |_, _| {});
                let forgiven = fleet.ledger.forgiven_us() * 1_000 / terms.token_ns();
                // Requests come by the millisecond, and a span can touch one more than it is long.
                let told_ms = delays.until_told_ns().div_ceil(sim::MS) + 1;
                let requests = told_ms * (offered / 1_000.0).ceil() as u64;
                let bound = tokens_max(&terms, nodes, &delays, Some(requests));
                let (worst, ratio) = (seen.worst, seen.ratio());
                let what = format!(
                    "at once N={nodes} b={tokens} r={per_second}/s debt {debt} %: {ratio:.3}, \
                     +{worst:.0} of {bound} tokens, {forgiven} forgiven"
                );
                println!("{what}");
                assert!(worst <= (bound + forgiven) as f64, "{what}");
                // Of what is not forgiven, all but the last excess is paid back.
                let most = seen.entitled + bound + forgiven;
                assert!(seen.admitted <= most, "{what}");
            }
        }
    }
}

/// Ten thousand users, each far from the limit but for some.
#[test]
fn ten_thousand_users_are_each_held_to_their_own_bucket() {
    const USERS: u64 = 10_000;
    let mut fleet = Fleet::new(8, terms(10, 1, 100), DELAYS, 4);
    for ms in 0..20_000u64 {
        for _ in 0..4 {
            let (at, user) = (fleet.random().below(8) as usize, fleet.random().below(USERS));
            fleet.request(at, user as u32);
        }
        // Ten of them ask for far more than they may.
        let (at, user) = (fleet.random().below(8) as usize, ms % 10);
        fleet.request(at, user as u32);
        fleet.tick();
        if ms % 5_000 == 0 {
            let (buckets, reports) = fleet.ledger.size();
            assert!(buckets as u64 <= USERS && reports as u64 <= fleet.seen.reports);
        }
    }
    let seen = &fleet.seen;
    let (ratio, messages) = (seen.ratio(), seen.messages_per_request());
    println!("ten thousand users: {ratio:.4}, {messages:.3} messages/request");
    assert!((0.98..=1.02).contains(&ratio), "{ratio}");
    assert!(messages <= 1.0, "{messages}");
}

/// A node is cut off for ten seconds while everybody asks for far more than there is.
#[test]
fn a_node_that_is_cut_off_does_as_the_limit_says_and_its_debt_is_paid() {
    let of_cut = |rule: OnLoss| {
        let mut fleet = Fleet::new(8, terms(100, 10, 100), DELAYS, 5);
        fleet.rule = rule;
        let mut taken = 0;
        for ms in 0..60_000u64 {
            if ms == 10_000 || ms == 20_000 {
                fleet.cut(3, ms == 10_000);
            }
            for at in arrivals(Pattern::Uniform, &mut fleet, 400.0) {
                let is_let = fleet.request(at, 0);
                taken += u64::from(is_let && at == 3 && (12_000..20_000).contains(&ms));
            }
            fleet.tick();
        }
        assert_eq!(fleet.seen.given_up, 0);
        (taken, fleet.seen.ratio())
    };
    let (alone, ratio) = of_cut(OnLoss::Local);
    // The rate for eight seconds: its bucket was empty.
    assert!((70..=100).contains(&alone), "{alone}");
    assert!((0.98..=1.02).contains(&ratio), "its debt is paid: {ratio}");
    let (share, ratio) = of_cut(OnLoss::Divide);
    assert!((8..=12 + 11).contains(&share), "{share}");
    assert!((0.98..=1.02).contains(&ratio), "{ratio}");
    let (denied, ratio) = of_cut(OnLoss::Deny);
    assert_eq!(denied, 0);
    assert!((0.97..=1.02).contains(&ratio), "{ratio}");
}

#[test]
fn a_node_that_restarts_has_a_bucket_until_its_first_answer() {
    let terms = terms(100, 10, 100);
    let mut fleet = Fleet::new(8, terms, DELAYS, 6);
    let seen = play(&mut fleet, Pattern::Uniform, 400.0, 60, |fleet, ms| {
        if ms % 5_000 == 2_500 {
            fleet.restart((ms / 5_000) as usize % 8);
        }
    });
    // Twelve restarts. Each costs what reaches the node until it is told, and what it had not reported.
    let most = 12.0 * (4.0 + 5.0) + 0.02 * seen.entitled as f64;
    assert!(seen.admitted as f64 <= seen.entitled as f64 + most, "{seen:?}");
    assert!(seen.ratio() >= 0.98, "{seen:?}");
}

#[test]
fn buckets_that_redis_loses_are_full_once_and_that_is_noticed() {
    let terms = terms(100, 10, 100);
    let mut fleet = Fleet::new(8, terms, DELAYS, 7);
    let seen = play(&mut fleet, Pattern::Uniform, 400.0, 40, |fleet, ms| {
        if ms == 20_000 {
            fleet.ledger = fleet::ledger::Ledger::default();
        }
    });
    assert!(seen.behind > 0, "{seen:?}");
    assert!(seen.admitted <= seen.entitled + 100 + 20, "{seen:?}");
    assert!(seen.ratio() >= 0.98, "{seen:?}");
}

#[test]
fn a_redis_clock_that_is_set_denies_nobody_for_longer_than_bucket_and_debt() {
    for step_s in [-3_600i64, -5, 5, 3_600] {
        let terms = terms(100, 10, 100);
        let mut fleet = Fleet::new(8, terms, DELAYS, 8);
        let (mut denied_since, mut longest) = (0, 0);
        for ms in 0..60_000u64 {
            if ms == 20_000 {
                fleet.step_us += step_s * 1_000_000;
            }
            let before = fleet.seen.admitted;
            for at in arrivals(Pattern::Uniform, &mut fleet, 400.0) {
                fleet.request(at, 0);
            }
            if fleet.seen.admitted > before {
                denied_since = ms;
            }
            longest = longest.max(ms - denied_since);
            fleet.tick();
        }
        // Bucket and debt fill in 20 s.
        assert!(longest <= 20_100, "{step_s} s: denied for {longest} ms");
        let (admitted, entitled) = (fleet.seen.admitted, fleet.seen.entitled);
        assert!(admitted <= entitled + 100 + 20, "{step_s} s: {admitted} of {entitled}");
    }
}

#[test]
fn a_zero_empties_the_fleets_bucket_once_and_an_unblock_fills_it_once() {
    let mut fleet = Fleet::new(8, terms(100, 10, 100), DELAYS, 9);
    let in_seconds = |fleet: &mut Fleet, seconds: u64| {
        let before = fleet.seen.admitted;
        play(fleet, Pattern::Uniform, 200.0, seconds, |_, _| {});
        fleet.seen.admitted - before
    };
    in_seconds(&mut fleet, 1);
    fleet.begin(0, 71, Begins::Emptied);
    let after_zero = in_seconds(&mut fleet, 5);
    assert!((45..=60).contains(&after_zero), "the rate, and no bucket: {after_zero}");
    fleet.begin(0, 71, Begins::Emptied);
    let again = in_seconds(&mut fleet, 5);
    assert!((45..=55).contains(&again), "the same zero again is none: {again}");
    fleet.begin(0, 72, Begins::Full);
    let after_lift = in_seconds(&mut fleet, 5);
    assert!((145..=165).contains(&after_lift), "a bucket and the rate: {after_lift}");
    fleet.begin(0, 71, Begins::Emptied);
    let late = in_seconds(&mut fleet, 5);
    assert!((45..=55).contains(&late), "{late}");
}
