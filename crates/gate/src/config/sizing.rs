//! How much memory there is for what a configuration asks to be remembered.
//!
//! What is full turns requests away, so it should take more to fill it than a site has, or than
//! somebody can make up. How much that is follows from the configuration alone.

use std::time::Duration;

use signing::Profile;
use signing::replay::ENTRY_BYTES;

use super::{Config, Integration, Limit};
use crate::slab::SUBJECT_BYTES;
use crate::slab::replicas::BUCKET_BYTES;

/// Room for fewer new subjects a second than this is told.
const SUBJECTS_PER_S_MIN: u64 = 100;

/// Room for fewer requests of a partner a second than this is told.
const REQUESTS_PER_S_MIN: u64 = 10;

impl Config {
    /// What is remembered for so long that little fills its room, in words for an operator.
    #[must_use]
    pub fn sizing(&self) -> Vec<String> {
        let limits = self.limits.iter().filter_map(|limit| self.room_of_limit(limit));
        let integrations = self.integrations.iter().filter_map(|one| self.room_of_integration(one));
        limits.chain(integrations).collect()
    }

    fn room_of_limit(&self, limit: &Limit) -> Option<String> {
        let each = if limit.fleet.is_some() { BUCKET_BYTES } else { SUBJECT_BYTES };
        let room = usable(self.storage.slabs, self.storage.slab_bytes_max / each);
        let refill_s = seconds(limit.rate.refill());
        if room >= refill_s.saturating_mul(SUBJECTS_PER_S_MIN) {
            return None;
        }
        let name = &limit.name;
        let subjects = limit.key.plural();
        Some(format!(
            "limit {name}: storage.slabs and storage.slab_bytes_max give room for about {room} {subjects} \
             with tokens taken, and an empty bucket fills in {refill_s} s: if more come in that time, new \
             ones are answered as slab_full says"
        ))
    }

    fn room_of_integration(&self, integration: &Integration) -> Option<String> {
        let (signature, replay) = (integration.signature.as_ref()?, self.replay?);
        let room = usable(replay.slabs, replay.slab_bytes_max / ENTRY_BYTES);
        let counts_s = seconds(match signature.profile {
            Profile::Github => signature.remember_for,
            Profile::Body => replay.tolerance.saturating_mul(3),
            Profile::Portcullis
            | Profile::StandardWebhooks
            | Profile::Stripe
            | Profile::Rfc9421 => replay.tolerance.saturating_mul(2),
        });
        let name = &integration.name;
        (room < counts_s.saturating_mul(REQUESTS_PER_S_MIN)).then(|| {
            format!(
                "integration {name}: replay.slabs and replay.slab_bytes_max give room for about {room} used \
                 requests of each partner, and each is remembered for {counts_s} s: if more come in that \
                 time, those are answered 503"
            )
        })
    }
}

/// How many there may be until the first slab is full. Not all are filled alike: with so many of them one has
/// four standard deviations more than the average, which is the square root of the average.
fn usable(slabs: u32, each: usize) -> u64 {
    const SCALE: u64 = 1_000;
    let each = u64::try_from(each).unwrap_or(u64::MAX).min(1 << 20);
    let root = ((each + 4) * SCALE * SCALE).isqrt().saturating_sub(2 * SCALE);
    let average = root * root / SCALE;
    u64::from(slabs).saturating_mul(average) / SCALE
}

fn seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{base, config, limit};

    #[test]
    fn a_slab_is_full_before_all_are() {
        assert_eq!(usable(1_000, 29), 14_017);
        assert_eq!(usable(1_000, 0), 0);
        assert_eq!(usable(1_000, 292) / 1_000, 231);
        assert!(usable(u32::MAX, usize::MAX) < u64::MAX);
    }

    #[test]
    fn the_defaults_are_enough_for_what_is_usual() {
        let mut usual = base();
        usual["storage"] = json!({});
        usual["limits"] = json!([limit("per-ip", json!("client_ip"), 100)]);
        usual["integrations"] = json!([signed("portcullis"), signed("github"), signed("body")]);
        assert_eq!(config(&usual).sizing(), [""; 0]);
    }

    fn signed(profile: &str) -> Value {
        json!({"name": profile, "match": [{"path": {"prefix": format!("/{profile}")}}],
               "signature": {"profile": profile}})
    }

    #[test]
    fn what_little_fills_is_told_with_figures() {
        let mut tight = base();
        tight["storage"] = json!({});
        tight["replay"] = json!({"slab_bytes_max": 4_096});
        tight["integrations"] = json!([signed("portcullis"), signed("github")]);
        let slow = |name: &str, key: Value, interval: &str| {
            let mut limit = limit(name, key, 10);
            limit["fill_interval"] = json!(interval);
            limit
        };
        tight["limits"] = json!([
            slow("quick", json!("user"), "1s"),
            slow("slow", json!("client_ip"), "1h"),
            slow("names", json!({"header": "x-api-key"}), "2h"),
        ]);
        let said = config(&tight).sizing();
        let [slow, names, github] = said.as_slice() else { panic!("{said:?}") };
        let room = usable(65_536, 29);
        assert!(slow.starts_with("limit slow: storage.slabs"), "{slow}");
        assert!(slow.contains(&format!("about {room} networks of clients")), "{slow}");
        assert!(slow.contains("fills in 36000 s"), "{slow}");
        assert!(names.starts_with("limit names: ") && names.contains("values of its header"));
        assert!(github.starts_with("integration github: ") && github.contains(" 86400 s"));
    }
}
