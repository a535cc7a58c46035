//! Whether this node hears of the fleet, and under which key the fleet knows subjects: in shared memory, for all VMs.

use std::collections::HashMap;
use std::time::Duration;

use fleet::loss::is_lost;
use fleet::terms::DebtMax;
use fleet::wire::Partition;
use model::bucket::Bucket;
use model::hash::HashKey;
use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::push::{self, FleetUse, Message};
use model::time::MonotonicNanos;

use super::messages::FleetLink;
use crate::config::Config;

/// What a node knows of the fleet beside its buckets.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The key of the fleet's names, and its version; none until it was told.
    pub key: Option<(u64, HashKey)>,
    /// How many Envoys there are; 0 while nobody has said.
    pub nodes: u32,
    /// Since when reports have had no answer.
    pub waiting_since: Option<MonotonicNanos>,
    /// Until when the node was last cut off; 0 if it never was.
    pub lost_until: MonotonicNanos,
    /// What is left of the budget of each limit for subjects at first sight, by the limit's fingerprint.
    pub(super) first_sights: HashMap<u32, Bucket>,
}

/// What this node knows.
pub fn read(shared: &mut impl SharedMemory) -> Known {
    let link = decode(shared.read(MemoryKey::FleetLink).0.as_deref());
    let key = link.key.as_ref();
    Known {
        key: key.and_then(|key| Some((key.version, hash_key(key)?))),
        nodes: link.nodes,
        waiting_since: Some(link.waiting_since).filter(|since| *since > 0),
        lost_until: link.lost_until,
        first_sights: link
            .first_sights
            .into_iter()
            .map(|(id, full_at)| (id, Bucket { full_at }))
            .collect(),
    }
}

/// Notes which limits of a plugin hold for the fleet. The worker that polls does so for all plugins, and may have been
/// configured before there were any.
pub fn join(shared: &mut impl SharedMemory, config: &Config) {
    if config.has_fleet_limits() {
        let limits = config.limits.iter();
        let debts = limits.filter_map(|limit| Some((limit.id, limit.fleet?.debt.as_percent())));
        let debts: Vec<_> = debts.collect();
        change(shared, |link| link.limits.extend(debts.iter().copied()));
    }
}

/// What is kept of what was admitted too much, by the fingerprint of each limit that holds for the fleet.
pub(super) fn debts(shared: &mut impl SharedMemory) -> HashMap<u32, DebtMax> {
    let link = decode(shared.read(MemoryKey::FleetLink).0.as_deref());
    let debts = link.limits.into_iter();
    debts.filter_map(|(limit, debt)| Some((limit, DebtMax::percent(debt).ok()?))).collect()
}

/// What a poll says of it; nothing where no limit holds for the fleet.
pub fn told(shared: &mut impl SharedMemory, now: MonotonicNanos) -> Option<FleetUse> {
    let link = decode(shared.read(MemoryKey::FleetLink).0.as_deref());
    if link.limits.is_empty() {
        return None;
    }
    let waiting = match link.waiting_since {
        0 => 0,
        since => now.saturating_sub(since).max(1_000_000),
    };
    Some(FleetUse {
        key_version: link.key.map_or(0, |key| key.version),
        waiting_ms: u64::try_from(Duration::from_nanos(waiting).as_millis()).unwrap_or(u64::MAX),
        behind: link.behind,
        given_up: link.given_up,
    })
}

/// Takes in what a batch says of the fleet: its key, and how many nodes it has.
///
/// # Errors
/// Why the key cannot be used, in words for an operator.
pub fn store(
    shared: &mut impl SharedMemory,
    key: Option<&push::FleetKey>,
    nodes: u32,
) -> Result<(), &'static str> {
    if let Some(key) = key {
        let partitions = u16::try_from(key.partitions).unwrap_or(0);
        if hash_key(key).is_none() || key.version == 0 {
            return Err("fleet_key: must have a version, and 16 bytes");
        }
        if !(1..=Partition::COUNT_MAX).contains(&partitions) {
            return Err("fleet_key.partitions: must be between 1 and 4096");
        }
    }
    change(shared, |link| {
        if let Some(key) = key {
            link.key = Some(key.clone());
        }
        if nodes > 0 {
            link.nodes = nodes;
        }
    });
    Ok(())
}

/// Notes that reports were sent, and what of the budgets is used now: of two workers at the same time the one that has used
/// more counts.
pub(super) fn note_sent(
    shared: &mut impl SharedMemory,
    first_sights: &HashMap<u32, Bucket>,
    now: MonotonicNanos,
) {
    change(shared, |link| {
        if link.waiting_since == 0 {
            link.waiting_since = now;
        }
        for (limit, bucket) in first_sights {
            let known = link.first_sights.entry(*limit).or_default();
            *known = bucket.full_at.max(*known);
        }
    });
}

/// Notes that reports were answered, and what was seen then.
pub(super) fn note_answered(
    shared: &mut impl SharedMemory,
    (nodes, behind): (u32, u64),
    now: MonotonicNanos,
) {
    change(shared, |link| {
        if link.waiting_since > 0 && is_lost(Some(link.waiting_since), now) {
            link.lost_until = now;
        }
        link.waiting_since = 0;
        link.behind = link.behind.saturating_add(behind);
        if nodes > 0 {
            link.nodes = nodes;
        }
    });
}

/// Notes that reports of so many tokens were given up.
pub(super) fn note_given_up(shared: &mut impl SharedMemory, tokens: u64) {
    change(shared, |link| link.given_up = link.given_up.saturating_add(tokens));
}

/// Where too many VMs write at once, the next report or batch says it again.
fn change(shared: &mut impl SharedMemory, change: impl Fn(&mut FleetLink)) {
    let _ = update(shared, MemoryKey::FleetLink, |present| {
        let mut link = decode(present);
        change(&mut link);
        let encoded = link.encode_to_vec();
        match present {
            Some(present) if present == encoded => Step::Keep(()),
            _ => Step::Write(encoded, ()),
        }
    });
}

fn decode(value: Option<&[u8]>) -> FleetLink {
    value.and_then(|value| FleetLink::decode(value).ok()).unwrap_or_default()
}

fn hash_key(key: &push::FleetKey) -> Option<HashKey> {
    key.key.as_slice().try_into().ok().map(HashKey::new)
}
