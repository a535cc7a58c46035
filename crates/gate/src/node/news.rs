//! What an operator should know of a configuration, each thing once and not from every VM.

use std::hash::Hash;

use model::hash::fingerprint;
use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::subject::Kind;

use crate::config::{Config, Limit};

/// The most things that are kept in mind; beyond that some are told again.
const KNOWN_MAX: usize = 1_024;

/// What has not been told yet in this memory: how little fills it, and which limits begin with full
/// buckets although others have been in use. A limit is known by its name and by what it counts.
pub fn news(shared: &mut impl SharedMemory, config: &Config) -> Vec<String> {
    let sizing: Vec<(u32, String)> =
        config.sizing().into_iter().map(|text| (fingerprint(&text), text)).collect();
    let limits: Vec<u32> = config.limits.iter().map(|limit| identity(limit, config)).collect();
    let told = update(shared, MemoryKey::Known, |known| {
        let is_first = known.is_none();
        let known = known.unwrap_or_default();
        let (whole, _) = known.as_chunks();
        let known: Vec<u32> = whole.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let is_new = |mark: &u32| !known.contains(mark);
        let mut told: Vec<String> = Vec::new();
        for (limit, mark) in config.limits.iter().zip(&limits) {
            if !is_first && is_new(mark) {
                told.push(format!(
                    "limit {}: begins with full buckets for everybody: since Envoy's start there was none \
                     of this name that counts the same",
                    limit.name
                ));
            }
        }
        told.extend(sizing.iter().filter(|(mark, _)| is_new(mark)).map(|(_, text)| text.clone()));
        let new: Vec<u32> = limits
            .iter()
            .copied()
            .chain(sizing.iter().map(|(mark, _)| *mark))
            .filter(is_new)
            .collect();
        if new.is_empty() {
            return Step::Keep(told);
        }
        let kept = if known.len() > KNOWN_MAX { &[][..] } else { known.as_slice() };
        let all = kept.iter().chain(&new);
        Step::Write(all.flat_map(|mark| mark.to_le_bytes()).collect(), told)
    });
    // Too many VMs at once: another has told it.
    told.unwrap_or_default()
}

fn identity(limit: &Limit, config: &Config) -> u32 {
    #[derive(Hash)]
    struct Counted<'a>(&'a str, &'a Kind, Option<(u8, u8)>);
    let networks = config.identity.client_ip;
    let networks = (networks.ipv4_prefix, networks.ipv6_prefix);
    let networks = limit.key.is_network().then_some(networks);
    fingerprint(&Counted(limit.name.as_str(), &limit.key, networks))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{base, config, limit};
    use model::testing::Memory;

    #[test]
    fn everything_is_told_once() {
        let mut memory = Memory::default();
        let mut value = base();
        value["limits"][0]["fill_interval"] = json!("1h");
        let mut tell = |value: &serde_json::Value| news(&mut memory, &config(value));
        let first = tell(&value);
        assert!(first.len() == 1 && first[0].starts_with("limit per-user: storage.slabs"));
        assert_eq!(tell(&value), [""; 0], "by the next VM");
        value["limits"][0]["fill_interval"] = json!("1s");
        value["storage"]["slab_bytes_max"] = json!(65_536);
        assert_eq!(tell(&value), [""; 0], "another rate goes on with the tokens that are missing");
        for (name, key) in [("renamed", "user"), ("per-user", "session"), ("ip", "client_ip")] {
            value["limits"] = json!([limit(name, json!(key), 3)]);
            let said = tell(&value);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with(&format!("limit {name}: begins with full buckets")));
            assert_eq!(tell(&value), [""; 0]);
        }
        value["identity"]["client_ip"] = json!({"ipv6_prefix": 56});
        assert_eq!(tell(&value).len(), 1, "other networks are other subjects");
        value["limits"] = json!([limit("renamed", json!("user"), 3)]);
        assert_eq!(tell(&value), [""; 0], "its buckets are still there");
    }
}
