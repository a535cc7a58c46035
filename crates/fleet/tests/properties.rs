//! What holds whatever happens: the bound of the overshoot, and that word of the fleet may come in any order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod sim;

use std::time::Duration;

use fleet::epoch::{Begins, Epoch};
use fleet::ledger::Ledger;
use fleet::loss::Link;
use fleet::overshoot::{Delays, tokens_max};
use fleet::replica::{Replica, Told};
use fleet::wire::{Answer, Partition, Report, ReportId};
use model::time::UnixMicros;
use proptest::prelude::*;
use sim::{Fleet, MS, SECOND, bucket, terms};

fn any_delays() -> impl Strategy<Value = Delays> {
    let span = || (100u64..8_000).prop_map(Duration::from_micros);
    (span(), span(), span(), 0u32..2).prop_map(|(report, answer, news, losses)| Delays {
        report,
        answer,
        news,
        losses,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// No span of time sees more tokens than bucket, rate and the stated excess, however requests come; with less debt
    /// kept, no more than that and what was forgiven.
    #[test]
    fn the_overshoot_never_exceeds_the_bound(
        nodes in 1usize..10,
        (tokens, per_second) in (1u32..300, 1u32..400),
        debt in prop_oneof![Just(100u32), Just(1_000)],
        delays in any_delays(),
        loss in prop_oneof![Just(0.0), Just(0.3)],
        // Spells of so many milliseconds, in which so many nodes get so many requests each, every so many ms.
        spells in prop::collection::vec((1u64..400, 1usize..10, 0u64..4, 1u64..60), 1..12),
        seed in any::<u64>(),
    ) {
        let terms = terms(tokens, per_second, debt);
        let mut fleet = Fleet::new(nodes, terms, delays, seed);
        fleet.loss = loss;
        (fleet.loses_reports, fleet.is_jittery) = (true, true);
        for (length, of, each, every) in spells {
            for ms in 0..length {
                for _ in 0..each * u64::from(ms % every == 0) {
                    for at in 0..of.min(nodes) {
                        fleet.request(at, 0);
                    }
                }
                fleet.tick();
            }
        }
        let told_ms = delays.until_told_ns() / MS + 2;
        let bound = tokens_max(&terms, nodes as u32, &delays, Some(3 * told_ms)) as f64;
        let forgiven = fleet.ledger.forgiven_us() as f64 * 1_000.0 / terms.token_ns() as f64;
        let worst = fleet.seen.worst;
        prop_assert!(worst <= bound + forgiven, "{worst} of {bound}, {forgiven} forgiven");
        prop_assert_eq!(fleet.seen.behind, 0);
    }

    /// One node alone is one exact bucket, whatever the delays.
    #[test]
    fn one_node_admits_exactly_what_one_bucket_admits(
        (tokens, per_second) in (1u32..300, 1u32..400),
        delays in any_delays(),
        spells in prop::collection::vec((1u64..300, 0u64..4, 1u64..60), 1..12),
    ) {
        let mut fleet = Fleet::new(1, terms(tokens, per_second, 100), delays, 1);
        for (length, each, every) in spells {
            for ms in 0..length {
                for _ in 0..each * u64::from(ms % every == 0) {
                    fleet.request(0, 0);
                }
                fleet.tick();
            }
        }
        let seen = &fleet.seen;
        prop_assert!(seen.admitted <= seen.entitled, "{} of {}", seen.admitted, seen.entitled);
        // Late charges cost what came back before they were counted.
        let lag = 2 + u64::from(tokens) / 4;
        prop_assert!(seen.admitted + lag >= seen.entitled.min(u64::from(tokens)), "{seen:?}");
    }

    /// Debt is paid: once nobody asks for as long as bucket and debt fill, everything is as at the beginning.
    #[test]
    fn debt_is_paid_back_and_then_gone(
        nodes in 2usize..10,
        tokens in 2u32..50,
        debt in 0u32..300,
        seed in any::<u64>(),
    ) {
        let terms = terms(tokens, tokens, debt);
        let delays = Delays {
            report: 2 * Duration::from_millis(1),
            answer: Duration::from_millis(1),
            news: Duration::from_millis(1),
            losses: 0,
        };
        let mut fleet = Fleet::new(nodes, terms, delays, seed);
        for _ in 0..50 {
            for at in 0..nodes {
                fleet.request(at, 0);
            }
            fleet.tick();
        }
        let taken = fleet.seen.admitted;
        prop_assert!(taken >= u64::from(tokens));
        // What is owed keeps everybody out until time has paid for it, and no longer.
        let owed_ns = terms.token_ns() * taken;
        let owed_ns = owed_ns.min(terms.cap_us() * 1_000);
        let paid_ms = owed_ns.saturating_sub(terms.fill_ns()) / MS;
        for ms in 0..paid_ms.saturating_sub(60) {
            let is_let = fleet.request((ms % nodes as u64) as usize, 0);
            prop_assert!(!is_let, "let through {ms} ms after, of {paid_ms}");
            fleet.tick();
        }
        for _ in 0..terms.cap_us() / 1_000 + 100 {
            fleet.tick();
        }
        let free = (0..tokens).filter(|_| fleet.request(0, 0)).count();
        prop_assert_eq!(free, tokens as usize, "a full bucket again");
    }

    /// Answers and news, of one beginning or of several, make the same replica in any order and any number.
    #[test]
    fn the_order_of_words_does_not_matter(
        words in prop::collection::vec((0u64..3, 0u64..30_000_000, 0u64..20_000), 1..12),
        takes in 0u32..20,
        shuffled in any::<prop::sample::Index>(),
        again in any::<prop::sample::Index>(),
    ) {
        let terms = terms(100, 10, 100);
        let now = 1_000 * SECOND;
        let told = |(epoch, remaining_us, ago_us): &(u64, u64, u64)| {
            let epoch = Epoch { at: UnixMicros(*epoch), id: *epoch };
            let answer = Answer { epoch, remaining_us: *remaining_us };
            Told { answer, as_of: now - ago_us * 1_000 }
        };
        let mut first = Replica::default();
        for _ in 0..takes {
            first.take(1, &terms, Link::Up, now).unwrap();
        }
        let mut second = first.clone();
        for word in &words {
            first.hear(told(word), &terms);
        }
        let mut others = words.clone();
        let at = shuffled.index(others.len());
        others.rotate_left(at);
        others.swap(0, at);
        others.push(words[again.index(words.len())]);
        for word in &others {
            second.hear(told(word), &terms);
        }
        prop_assert_eq!(first.quota(&terms, now), second.quota(&terms, now));
        prop_assert_eq!(first.epoch(), second.epoch());
        prop_assert_eq!(first.unreported(), second.unreported());
    }

    /// Whatever a replica hears of its own beginning, it never gets fuller, and never emptier than bucket and debt.
    #[test]
    fn a_word_only_raises_and_within_bounds(
        before in 0u64..u64::MAX / 4_000,
        word in any::<u64>(),
        ago_us in 0u64..1_000_000,
    ) {
        let terms = terms(100, 10, 100);
        let now = 1_000 * SECOND;
        let mut replica = Replica::default();
        let told = |remaining_us, as_of| {
            Told { answer: Answer { epoch: Epoch::default(), remaining_us }, as_of }
        };
        replica.hear(told(before, now), &terms);
        let was = replica.quota(&terms, now);
        replica.hear(told(word, now - ago_us * 1_000), &terms);
        let is = replica.quota(&terms, now);
        prop_assert!(is.remaining <= was.remaining);
        prop_assert!(is.reset <= Duration::from_micros(terms.cap_us()));
    }

    /// A report that comes again, however late within the memory of ids and among whatever others, changes nothing.
    #[test]
    fn a_report_counts_once(
        reports in prop::collection::vec((0u64..4, 0u32..30, 0u64..2, 0u64..500_000), 1..20),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let terms = terms(100, 10, 100);
        let start = 1_800_000_000_000_000;
        let mut now = start;
        let made: Vec<(Report, u64)> = reports
            .iter()
            .enumerate()
            .map(|(serial, (user, takes, epoch, later_us))| {
                now += later_us;
                let bucket = bucket(*user as u32);
                let id = ReportId { partition: Partition(0), boot: 1, serial: serial as u64 };
                let epoch = Epoch { at: UnixMicros(start + epoch), id: *epoch };
                let begins = if epoch.id == 0 { Begins::Full } else { Begins::Emptied };
                (Report { id, bucket, takes: *takes, epoch, begins, terms }, now)
            })
            .collect();
        let (mut once, mut twice) = (Ledger::default(), Ledger::default());
        for (at, (report, now)) in made.iter().enumerate() {
            let one = once.report(report, UnixMicros(*now));
            prop_assert_eq!(one, twice.report(report, UnixMicros(*now)));
            if let Some(index) = again.get(at) {
                let (late, _) = &made[index.index(at + 1)];
                let (_, news) = twice.report(late, UnixMicros(*now));
                prop_assert_eq!(news, None);
            }
        }
        // All buckets are the same: what is asked without a take is answered alike.
        for (report, _) in &made {
            let id = ReportId { boot: 2, ..report.id };
            let ask = Report { id, takes: 0, ..*report };
            let (one, other) = (once.report(&ask, UnixMicros(now)), twice.report(&ask, UnixMicros(now)));
            prop_assert_eq!(one, other);
        }
    }
}
