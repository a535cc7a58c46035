//! Many more subjects than there is room for: nobody gets a fresh bucket by being forgotten.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MAX_TOKENS: u64 = 3;
const TOKEN: Duration = Duration::from_secs(1);
/// Ten times what fits into 16 slabs of 3 subjects each.
const USERS: u32 = 480;

/// The obvious bucket, for everybody, forgetting nobody: tokens in nanoseconds' worth.
#[derive(Default)]
struct Oracle(HashMap<u32, (Duration, Duration)>);

impl Oracle {
    /// The level now, in time's worth of tokens.
    fn level(&mut self, user: u32, now: Duration) -> &mut Duration {
        let full = TOKEN * u32::try_from(MAX_TOKENS).unwrap();
        let (level, since) = self.0.entry(user).or_insert((full, now));
        *level = (*level + (now - *since)).min(full);
        *since = now;
        level
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn eviction_gives_no_amnesty(
        steps in prop::collection::vec((0u32..USERS, 0u64..40, any::<bool>()), 400..1_200),
    ) {
        let room = crate::slab::SUBJECT_BYTES * 3;
        let mut bench = Bench::new(&base_with("/storage/slab_bytes_max", json!(room)));
        let mut oracle = Oracle::default();
        let mut refused = 0;
        for (anybody, step_ms, is_regular) in steps {
            bench.time.pass(Duration::from_millis(step_ms));
            // A few come often, so that buckets do run dry.
            let user = if is_regular { anybody % 8 } else { anybody };
            let request = Plain::get("/").with("x-user-id", &format!("user-{user}"));
            let line = bench.says(&request);
            let level = oracle.level(user, bench.time.0.get());
            match line.as_str() {
                "ok" => {
                    prop_assert!(*level >= TOKEN, "amnesty for user {}", user);
                    *level -= TOKEN;
                }
                "rule=limit:per-user" => prop_assert!(*level < TOKEN, "denied without cause"),
                other => {
                    prop_assert_eq!(other, "rule=slab_full");
                    refused += 1;
                }
            }
        }
        prop_assert!(refused > 0, "there was room for everybody");
    }
}
