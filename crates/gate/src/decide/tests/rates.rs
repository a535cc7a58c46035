//! Rates that change: two configurations that are in force at once, and overrides that come and go.

use model::bucket::Rate;
use model::state::Override;
use proptest::prelude::*;

use super::kept::OTHERS_MAX;
use super::*;
use crate::slab;

/// So many tokens, and so many more in each second.
type Numbers = (u32, u32);

fn with_rate((max, per_second): Numbers) -> Value {
    let mut config = base();
    config["limits"][0]["max_tokens"] = json!(max);
    config["limits"][0]["tokens_per_fill"] = json!(per_second);
    config
}

/// One memory, and the gate of each rate.
struct Gates {
    gates: Vec<Gate>,
    memory: Memory,
    time: Time,
}

impl Gates {
    fn new(rates: &[Numbers]) -> Self {
        let gates = rates.iter().map(|rate| gate(&with_rate(*rate))).collect();
        Self { gates, memory: Memory::default(), time: Time::default() }
    }

    fn is_allowed(&mut self, gate: usize) -> bool {
        let fresh = Freshness::Fresh;
        let decision = self.gates[gate].decide(&alice("/"), &mut self.memory, &self.time, fresh);
        decision.verdict == Verdict::Allow
    }

    fn allowed(&mut self, gate: usize, tries: usize) -> usize {
        (0..tries).filter(|_| self.is_allowed(gate)).count()
    }

    fn pass(&self, seconds: f64) {
        self.time.pass(Duration::from_secs_f64(seconds));
    }

    fn stored(&self) -> Vec<slab::BucketRecord> {
        let slabs = self.memory.values.values();
        let entries = slabs.flat_map(|(slab, _)| slab::entries(Some(slab)).flatten());
        entries.flat_map(|entry| entry.buckets().collect::<Vec<_>>()).collect()
    }
}

/// What reproduces the finding: an old and a new configuration, asked in turn.
#[test]
fn two_configurations_in_turn_give_no_more_than_the_larger() {
    let mut both = Gates::new(&[(100, 1), (10, 10)]);
    let mut allowed = 0;
    for _ in 0..450 {
        allowed += both.allowed(0, 10) + both.allowed(1, 10);
        both.pass(0.01);
    }
    assert!((100..=100 + 45).contains(&allowed), "{allowed}");
}

#[test]
fn a_rejection_under_another_rate_gives_nothing_back() {
    let mut both = Gates::new(&[(100, 1), (10, 10)]);
    assert_eq!(both.allowed(0, 200), 100);
    assert_eq!(both.allowed(1, 20), 0);
    assert_eq!(both.allowed(0, 20), 0);
    both.pass(1.0);
    assert_eq!(both.allowed(0, 20), 1, "what this rate gives in a second");
    assert_eq!(both.allowed(1, 20), 9, "and the other, less what was just taken");
    both.pass(2.0);
    assert_eq!(both.allowed(1, 20), 10);
    assert_eq!(both.allowed(0, 20), 0, "ten taken, two come back");
}

#[test]
fn a_bucket_that_is_full_beside_another_that_is_not_is_not_made_again() {
    let mut both = Gates::new(&[(100, 1), (10, 10)]);
    assert_eq!(both.allowed(0, 200), 100);
    assert_eq!(both.allowed(1, 1), 0);
    for _ in 0..5 {
        both.pass(3.0);
        assert_eq!(both.allowed(1, 1), 1, "full long since");
    }
    both.pass(50.0);
    assert_eq!(both.allowed(1, 1), 1);
    assert_eq!(both.stored().len(), 2);
    // Once both are full, the other one is not made any more.
    both.pass(200.0);
    both.gates.remove(0);
    assert_eq!(both.allowed(0, 1), 1);
    assert_eq!(both.stored().len(), 1);
}

/// Each fills at its own speed, however many are asked in turn.
#[test]
fn a_few_rates_in_turn_do_not_hold_each_other_up() {
    let mut all = Gates::new(&[(100, 1), (10, 10), (20, 20), (5, 5)]);
    assert_eq!(all.allowed(0, 200), 100);
    let mut allowed = 0;
    for _ in 0..400 {
        all.pass(0.01);
        allowed += [0, 1, 2, 3].map(|which| all.allowed(which, 1)).iter().sum::<usize>();
    }
    assert!((75..=80).contains(&allowed), "{allowed} of 20 a second");
}

#[test]
fn an_override_that_is_taken_back_gives_nothing_back() {
    let mut bench = Bench::new(&base_with("/limits/0/fill_interval", json!("60s")));
    assert_eq!(bench.allowed("/", 9), 3);
    let mut events = 0;
    let mut push = |bench: &mut Bench, rate: Option<Rate>| {
        events += 1;
        let effect = Effect::Override(Override { limit: name("per-user"), rate, until: None });
        bench.push(&user("alice"), [event(&format!("o-{events}"), events, effect)]);
    };
    for per_second in 1..20 {
        let other = Rate::new(10, per_second, Duration::from_secs(1)).ok();
        push(&mut bench, other);
        let taken = bench.allowed("/", 20);
        assert_eq!(taken, if per_second == 1 { 7 } else { 0 }, "10, less the 3 taken before");
        push(&mut bench, None);
        assert_eq!(bench.allowed("/", 9), 0);
    }
    bench.pass(60.0);
    assert_eq!(bench.allowed("/", 9), 1);
}

#[test]
fn a_bucket_of_an_older_module_goes_on_as_it_was() {
    // What older modules kept of a rate was a hash; none of these is taken for a rate.
    for hash in [0, 0xdead_beef, 0x8000_0001, 0xffff_ffff] {
        let mut one = Gates::new(&[(10, 1)]);
        assert_eq!(one.allowed(0, 20), 10);
        for (slab, _) in one.memory.values.values_mut() {
            let at = slab.len() - 12;
            slab[at..at + 4].copy_from_slice(&u32::to_le_bytes(hash));
        }
        assert_eq!(one.allowed(0, 20), 0);
        one.pass(1.0);
        assert_eq!(one.allowed(0, 20), 1);
    }
}

#[test]
fn a_second_bucket_needs_no_room_that_is_counted() {
    let tight = |rate| {
        let mut config = with_rate(rate);
        config["storage"]["slab_bytes_max"] = json!(64);
        gate(&config)
    };
    let gates = vec![tight((10, 1)), tight((5, 1))];
    let mut both = Gates { gates, memory: Memory::default(), time: Time::default() };
    assert_eq!((both.allowed(0, 3), both.allowed(1, 9)), (3, 2));
    assert_eq!(both.stored().len(), 2);
}

/// The obvious bucket, in fractions of tokens.
struct Oracle {
    level: f64,
    at: Duration,
}

impl Oracle {
    /// The first request that finds no token, if they come at these times.
    fn denies(
        times: impl Iterator<Item = Duration>,
        (max, per_second): Numbers,
    ) -> Option<Duration> {
        let max = f64::from(max);
        let mut oracle = Self { level: max, at: Duration::ZERO };
        for now in times {
            let filled = (now - oracle.at).as_secs_f64() * f64::from(per_second);
            // A millionth for rounding.
            oracle.level = (oracle.level + filled).min(max) - 1.0 + 1e-6;
            oracle.at = now;
            if oracle.level < -1e-3 {
                return Some(now);
            }
        }
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// In every window no more is allowed than by the largest bucket with the fastest filling of all
    /// rates, and of a few rates under each no more than by that one alone.
    #[test]
    fn no_window_has_more_than_the_larger_rate(
        rates in prop::collection::vec((1u32..40, 1u32..40), 2..6),
        steps in prop::collection::vec((0usize..5, 0u64..900, 1usize..50), 1..60),
    ) {
        let mut all = Gates::new(&rates);
        let mut taken: Vec<(Duration, usize)> = Vec::new();
        for (which, after_ms, tries) in steps {
            let which = which % rates.len();
            all.time.pass(Duration::from_millis(after_ms));
            let allowed = all.allowed(which, tries);
            taken.extend(std::iter::repeat_n((all.time.0.get(), which), allowed));
            // Whoever is refused has a token one token's time later, whatever the other rates do.
            if allowed < tries {
                let token = Duration::from_secs(1).div_f64(rates[which].1.into());
                all.time.pass(token + Duration::from_micros(1));
                prop_assert!(all.is_allowed(which), "a long wait");
                taken.push((all.time.0.get(), which));
            }
            prop_assert!(all.stored().len() <= 1 + OTHERS_MAX);
        }
        let largest = (
            rates.iter().map(|rate| rate.0).max().unwrap(),
            rates.iter().map(|rate| rate.1).max().unwrap(),
        );
        let times = taken.iter().map(|(at, _)| *at);
        prop_assert_eq!(Oracle::denies(times, largest), None, "{:?}", taken);
        // Of more, one is given up, and then made anew.
        for (which, rate) in rates.iter().enumerate().filter(|_| rates.len() <= 1 + OTHERS_MAX) {
            let own = taken.iter().filter(|(_, one)| *one == which).map(|(at, _)| *at);
            prop_assert_eq!(Oracle::denies(own, *rate), None, "{:?}", taken);
        }
    }
}
