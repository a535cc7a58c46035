//! The registrations of all daemons, and what they say together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::Status;
use model::time::UnixMicros;

use super::Called;
use crate::wire::{DaemonState, Envoy, Fleet, FleetDaemon, Registration};

/// Most daemons that are registered.
pub const DAEMONS_MAX: usize = 4_096;
/// How long after its last renewal a daemon counts as live: it renews about once a second.
pub const LIVE_FOR: Duration = Duration::from_secs(3);
/// How long a daemon that is gone is shown, and counts as one whose Envoys may not enforce.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
/// The field beside the registrations that says when they began.
const SINCE: &str = "since";
/// How far before a renewal Redis's clock may be, which tells that it was set back.
const STEP_MAX: Duration = Duration::from_secs(2);
/// Most Envoys in one registration.
const ENVOYS_MAX: usize = 64;
/// Longest registration that is read, in bytes: names of nodes have 128 at most.
const REGISTRATION_BYTES_MAX: usize = 48 * 1024;

/// What a daemon registers of itself; `positions` are how far it has read the stream, and its Envoys have applied
/// that.
#[must_use]
pub fn registration(
    called: &Called,
    status: &Status,
    sources_age: Option<Duration>,
    (read, applied): (Option<String>, Option<String>),
) -> Registration {
    let envoy = |node: &engine::NodeStatus| Envoy {
        node: node.node.clone(),
        boot_id: node.boot_id.clone(),
        connected: node.connected,
        synced: node.synced,
        lag: node.lag,
        staleness_ms: node.staleness_ms,
        does: node.does,
        fleet_limits: node.fleet_limits,
    };
    Registration {
        name: called.name.clone(),
        region: called.region.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: status.uptime_s,
        sources_age_ms: sources_age.map(millis),
        read,
        applied,
        envoys: status.nodes.iter().take(ENVOYS_MAX).map(envoy).collect(),
        envoys_left_out: status.nodes.len().saturating_sub(ENVOYS_MAX),
    }
}

/// The daemons that are registered, at one instant of Redis's clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// By name and run.
    pub daemons: Vec<FleetDaemon>,
    /// The runs that need not be registered any more.
    pub forgotten: Vec<String>,
    /// Whether every live daemon has had the time to register since the registrations began: they begin anew after
    /// Redis has lost its data.
    pub settled: bool,
}

impl Members {
    /// Reads registrations as they lie in Redis: of each the name of the run, and `MILLISECONDS JSON`, when it was
    /// renewed last by Redis's clock. `now_ms` is the time by the same clock.
    #[must_use]
    pub fn read(raw: &[(String, Vec<u8>)], now_ms: u64) -> Self {
        let since = raw.iter().find(|(run, _)| run == SINCE);
        let since = since.and_then(|(_, ms)| std::str::from_utf8(ms).ok()?.parse::<u64>().ok());
        let settled = since.is_some_and(|since| since.saturating_add(millis(LIVE_FOR)) <= now_ms);
        let all = raw.iter().filter(|(run, _)| run != SINCE).take(DAEMONS_MAX);
        let mut daemons: Vec<_> = all.map(|(run, value)| member(run, value, now_ms)).collect();
        let live = |one: &FleetDaemon| one.state != DaemonState::Gone;
        let names: BTreeSet<_> =
            daemons.iter().filter(|one| live(one)).map(|one| one.said.name.clone()).collect();
        let is_over = |one: &FleetDaemon| {
            let long_gone = one.renewed_ago_ms.is_some_and(|ago| ago > millis(REMEMBERED_FOR));
            // Who has come back under the same name speaks for its Envoys.
            !live(one) && (long_gone || names.contains(&one.said.name))
        };
        let forgotten = daemons.iter().filter(|one| is_over(one)).map(|one| one.run.clone());
        let forgotten = forgotten.collect();
        daemons.retain(|one| !is_over(one));
        daemons.sort_by(|a, b| (&a.said.name, &a.run).cmp(&(&b.said.name, &b.run)));
        let reads = |one: &FleetDaemon| stream_ms(one.said.read.as_deref());
        let most = daemons.iter().filter_map(reads).max();
        for one in &mut daemons {
            // Both by Redis's clock.
            one.behind_ms = most.zip(reads(one)).map(|(most, read)| most.saturating_sub(read));
        }
        Self { daemons, forgotten, settled }
    }

    /// Names that more than one live daemon has.
    #[must_use]
    pub fn equal_names(&self) -> Vec<String> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for one in self.daemons.iter().filter(|one| one.state == DaemonState::Live) {
            let times = times.entry(&one.said.name).or_default();
            *times = times.saturating_add(1);
        }
        times.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name.to_owned()).collect()
    }

    /// How many Envoys poll a live daemon, as these have said.
    #[must_use]
    pub fn live_envoys(&self) -> usize {
        let live = self.daemons.iter().filter(|one| one.state == DaemonState::Live);
        let polls = |one: &FleetDaemon| {
            let known = one.said.envoys.iter().filter(|envoy| envoy.connected).count();
            known.saturating_add(one.said.envoys_left_out)
        };
        live.map(polls).fold(0, usize::saturating_add)
    }

    /// As the API shows them.
    #[must_use]
    pub fn fleet(self) -> Fleet {
        Fleet { equal_names: self.equal_names(), settled: self.settled, daemons: self.daemons }
    }
}

fn member(run: &str, value: &[u8], now_ms: u64) -> FleetDaemon {
    let at = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (renewed, json) = value.split_at_checked(at).unwrap_or((value, b""));
    let renewed = std::str::from_utf8(renewed).ok().and_then(|ms| ms.parse::<u64>().ok());
    // A renewal in the future tells nothing: the clock was set back, and whoever lives renews it at once.
    let ago = renewed.filter(|renewed| *renewed <= now_ms.saturating_add(millis(STEP_MAX)));
    let ago = ago.map(|renewed| now_ms.saturating_sub(renewed));
    let is_live = ago.is_some_and(|ago| ago <= millis(LIVE_FOR));
    let said = (json.len() <= REGISTRATION_BYTES_MAX)
        .then(|| serde_json::from_slice::<Registration>(json).ok())
        .flatten()
        .filter(|said| !said.name.is_empty());
    let state = match (is_live, &said) {
        (true, Some(_)) => DaemonState::Live,
        (true, None) => DaemonState::Unreadable,
        (false, _) => DaemonState::Gone,
    };
    let since = renewed.filter(|_| !is_live).map(|ms| UnixMicros(ms.saturating_mul(1_000)));
    let nameless = || Registration { name: run.to_owned(), ..Registration::default() };
    FleetDaemon {
        run: run.to_owned(),
        state,
        renewed_ago_ms: ago,
        gone_since: since.map(|since| since.to_string()),
        behind_ms: None,
        said: said.unwrap_or_else(nameless),
    }
}

/// The time in a stream id.
fn stream_ms(id: Option<&str>) -> Option<u64> {
    id?.split_once('-')?.0.parse().ok()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
