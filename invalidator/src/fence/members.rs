//! The registrations of all daemons, and what they say together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::Status;
use model::time::UnixMicros;

use super::Called;
use crate::wire::{DaemonState, Envoy, Fleet, FleetDaemon, Registration};

/// Most daemons that are registered.
pub const DAEMONS_MAX: usize = 4_096;
/// How often a registration is renewed while there are not more than [`RENEWED_OFTEN_MAX`] daemons.
pub const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// The longest time between two renewals: with [`DAEMONS_MAX`] daemons there are some 500 a second.
pub const RENEWED_EVERY_MAX: Duration = Duration::from_secs(8);
/// With more daemons than this each renews less often, so that there are about as many renewals a second.
pub const RENEWED_OFTEN_MAX: usize = 250;
/// How many renewals have to fail to come before a daemon counts as gone.
const MISSED_MAX: u32 = 3;
/// How long a daemon that is gone is shown, and counts as one whose Envoys may not enforce.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
/// Fields beside the registrations: when they began, the time that they go by, and when there was no room.
const SINCE: &str = "since";
const CLOCK: &str = "clock";
const FULL: &str = "full";
const FIELDS: [&str; 3] = [SINCE, CLOCK, FULL];
/// How far before a renewal the time that registrations go by may be, which tells that somebody has changed it.
const STEP_MAX: Duration = Duration::from_secs(2);
/// Most Envoys in one registration.
const ENVOYS_MAX: usize = 64;
/// Longest registration that is read, in bytes: names of nodes have 128 at most.
const REGISTRATION_BYTES_MAX: usize = 48 * 1024;
/// Most bytes of others' registrations that a daemon remembers.
const REMEMBERED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often a daemon renews its registration among so many.
#[must_use]
pub fn renewed_every(daemons: usize) -> Duration {
    let shared = RENEWED_EVERY.saturating_mul(u32::try_from(daemons).unwrap_or(u32::MAX));
    let shared = shared.checked_div(u32::try_from(RENEWED_OFTEN_MAX).unwrap_or(u32::MAX));
    shared.unwrap_or(RENEWED_EVERY).clamp(RENEWED_EVERY, RENEWED_EVERY_MAX)
}

/// What a daemon registers of itself; `positions` are how far it has read the stream, and its Envoys have applied
/// that; `every` is how often it renews this.
#[must_use]
pub fn registration(
    called: &Called,
    status: &Status,
    sources_age: Option<Duration>,
    (read, applied): (Option<String>, Option<String>),
    every: Duration,
) -> Registration {
    Registration {
        name: called.name.clone(),
        region: called.region.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: status.uptime_s,
        every_ms: millis(every),
        stopped: false,
        sources_age_ms: sources_age.map(millis),
        read,
        applied,
        envoys: status.nodes.iter().take(ENVOYS_MAX).map(envoy).collect(),
        envoys_left_out: status.nodes.len().saturating_sub(ENVOYS_MAX),
        ended: Vec::new(),
    }
}

/// The last word of a daemon that is stopped on purpose: the Envoys that it leaves behind are those whose connection was
/// not closed before.
#[must_use]
pub fn last_word(called: &Called, status: &Status, sources_age: Option<Duration>) -> Registration {
    let (ended, left): (Vec<_>, Vec<_>) = status.nodes.iter().partition(|node| node.hung_up);
    let said = registration(called, status, sources_age, (None, None), RENEWED_EVERY);
    Registration {
        stopped: true,
        envoys: left.iter().take(ENVOYS_MAX).map(|node| envoy(node)).collect(),
        envoys_left_out: left.len().saturating_sub(ENVOYS_MAX),
        ended: ended.iter().take(ENVOYS_MAX).map(|node| node.boot_id.clone()).collect(),
        ..said
    }
}

fn envoy(node: &engine::NodeStatus) -> Envoy {
    Envoy {
        node: node.node.clone(),
        boot_id: node.boot_id.clone(),
        connected: node.connected,
        hung_up: node.hung_up,
        synced: node.synced,
        lag: node.lag,
        staleness_ms: node.staleness_ms,
        does: node.does,
        fleet_limits: node.fleet_limits,
    }
}

/// The daemons that are registered, at one instant of the time that registrations go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// By name and run.
    pub daemons: Vec<FleetDaemon>,
    /// The runs that need not be registered any more.
    pub forgotten: Vec<String>,
    /// Whether every live daemon has had the time to register since the registrations began: they begin anew after
    /// Redis has lost its data.
    pub settled: bool,
    /// Whether a daemon found no room to register within [`REMEMBERED_FOR`].
    pub full: bool,
}

impl Members {
    /// Reads registrations as they lie in Redis: of each the name of the run, and `RENEWED FIRST WALL JSON`: when it
    /// was renewed last and made first by the time that they go by, when it was renewed by Redis's clock, all in
    /// milliseconds, and what the daemon says. `now_ms` is the time that they go by.
    #[must_use]
    pub fn read(raw: &[(String, Vec<u8>)], now_ms: u64) -> Self {
        let (fields, runs): (Vec<_>, Vec<_>) =
            raw.iter().partition(|(run, _)| FIELDS.contains(&run.as_str()));
        let field = |name: &str| {
            let value = fields.iter().find(|(field, _)| field == name);
            value.and_then(|(_, ms)| std::str::from_utf8(ms).ok()?.parse::<u64>().ok())
        };
        let mut members: Vec<_> = runs
            .iter()
            .take(DAEMONS_MAX)
            .map(|(run, value)| Member::read(run, value, now_ms))
            .collect();
        let slowest = members.iter().filter(|one| one.is_live()).map(|one| one.lives_for).max();
        let settles = slowest.unwrap_or_default().max(lives_for(RENEWED_EVERY));
        let settled = field(SINCE).is_some_and(|since| since.saturating_add(settles) <= now_ms);
        let full =
            field(FULL).is_some_and(|full| full.saturating_add(millis(REMEMBERED_FOR)) > now_ms);
        leave_out_seen(&mut members);
        let (over, kept): (Vec<_>, Vec<_>) = members.into_iter().partition(|one| one.is_over);
        let forgotten = over.into_iter().map(|one| one.daemon.run).collect();
        let mut daemons: Vec<_> = kept.into_iter().map(|one| one.daemon).collect();
        daemons.sort_by(|a, b| (&a.said.name, &a.run).cmp(&(&b.said.name, &b.run)));
        let reads = |one: &FleetDaemon| stream_ms(one.said.read.as_deref());
        let most = daemons.iter().filter_map(reads).max();
        for one in &mut daemons {
            // Both by Redis's clock.
            one.behind_ms = most.zip(reads(one)).map(|(most, read)| most.saturating_sub(read));
        }
        Self { daemons, forgotten, settled, full }
    }

    /// Adds a daemon that lives, if it is not registered: whoever asks knows of itself.
    pub fn include(&mut self, run: &str, called: &Called) {
        if self.daemons.iter().any(|one| one.run == run) {
            return;
        }
        let (name, region) = (called.name.clone(), called.region.clone());
        let said = Registration { name, region, ..Registration::default() };
        let state = DaemonState::Live;
        self.daemons.push(FleetDaemon {
            run: run.to_owned(),
            state,
            said,
            ..FleetDaemon::default()
        });
    }

    /// How many daemons are in this state.
    #[must_use]
    pub fn count(&self, state: DaemonState) -> usize {
        self.daemons.iter().filter(|one| one.state == state).count()
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
        let equal_names = self.equal_names();
        Fleet { equal_names, settled: self.settled, full: self.full, daemons: self.daemons }
    }
}

/// A registration, to be written back if Redis loses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The name of the daemon's run.
    pub run: String,
    /// Milliseconds since it was renewed.
    pub renewed_ago_ms: u64,
    /// Milliseconds since the daemon registered first.
    pub first_ago_ms: u64,
    /// `WALL JSON`: when it was renewed by Redis's clock, and what the daemon says.
    pub said: Vec<u8>,
}

/// What is worth being remembered of registrations as they lie in Redis, see [`Members::read`]: that of `own` is not, since
/// it is made anew, nor what cannot be read, nor more than a fixed number of bytes.
#[must_use]
pub fn remembered(raw: &[(String, Vec<u8>)], now_ms: u64, own: &str) -> Vec<Remembered> {
    let mut room = REMEMBERED_BYTES_MAX;
    let read = |(run, value): &(String, Vec<u8>)| {
        let (renewed, first, said) = split(value)?;
        let ago = |at: u64| now_ms.saturating_sub(at);
        let (renewed_ago_ms, first_ago_ms) = (ago(renewed), ago(first));
        Some(Remembered { run: run.clone(), renewed_ago_ms, first_ago_ms, said: said.to_vec() })
    };
    let others = raw.iter().filter(|(run, _)| run != own && !FIELDS.contains(&run.as_str()));
    let fits = |one: &Remembered| {
        let left = room.checked_sub(one.said.len());
        room = left.unwrap_or(room);
        left.is_some()
    };
    others.filter_map(read).take(DAEMONS_MAX).filter(fits).collect()
}

/// Takes the value of a registration apart: when it was renewed and made first, and the rest.
fn split(value: &[u8]) -> Option<(u64, u64, &[u8])> {
    let mut parts = value.splitn(3, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    let (renewed, first) = (number()?, number()?);
    Some((renewed, first, parts.next()?))
}

/// How long after its last renewal a daemon counts as live that renews this often, in milliseconds.
fn lives_for(every: Duration) -> u64 {
    millis(every.clamp(RENEWED_EVERY, RENEWED_EVERY_MAX).saturating_mul(MISSED_MAX))
}

/// One daemon, and what is not shown of it.
struct Member {
    daemon: FleetDaemon,
    /// When it was renewed last and registered first, by the time that registrations go by.
    renewed: u64,
    first: u64,
    lives_for: u64,
    is_over: bool,
}

impl Member {
    fn read(run: &str, value: &[u8], now_ms: u64) -> Self {
        let (renewed, first, rest) = match split(value) {
            Some((renewed, first, rest)) => (Some(renewed), first, rest),
            None => (None, 0, [].as_slice()),
        };
        let space = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (wall, json) = rest.split_at_checked(space).unwrap_or_default();
        let wall = std::str::from_utf8(wall).ok().and_then(|ms| ms.parse::<u64>().ok());
        let json = json.trim_ascii_start();
        let said = (json.len() <= REGISTRATION_BYTES_MAX)
            .then(|| serde_json::from_slice::<Registration>(json).ok())
            .flatten()
            .filter(|said| !said.name.is_empty());
        let every = Duration::from_millis(said.as_ref().map_or(0, |said| said.every_ms));
        // A renewal in the future tells nothing: somebody has changed the time, and whoever lives renews it at once.
        let ago = renewed.filter(|renewed| *renewed <= now_ms.saturating_add(millis(STEP_MAX)));
        let ago = ago.map(|renewed| now_ms.saturating_sub(renewed));
        let is_renewed = ago.is_some_and(|ago| ago <= lives_for(every));
        let state = match (is_renewed, &said) {
            (_, Some(said)) if said.stopped => DaemonState::Stopped,
            (true, Some(_)) => DaemonState::Live,
            (true, None) => DaemonState::Unreadable,
            (false, _) => DaemonState::Gone,
        };
        let is_there = matches!(state, DaemonState::Live | DaemonState::Unreadable);
        let since = wall.filter(|_| !is_there).map(|ms| UnixMicros(ms.saturating_mul(1_000)));
        let nameless = || Registration { name: run.to_owned(), ..Registration::default() };
        let daemon = FleetDaemon {
            run: run.to_owned(),
            state,
            renewed_ago_ms: ago,
            gone_since: since.map(|since| since.to_string()),
            behind_ms: None,
            said: said.unwrap_or_else(nameless),
        };
        let is_over = !is_there && ago.is_some_and(|ago| ago > millis(REMEMBERED_FOR));
        let renewed = renewed.unwrap_or_default();
        Self { daemon, renewed, first, lives_for: lives_for(every), is_over }
    }

    fn is_live(&self) -> bool {
        self.daemon.state == DaemonState::Live
    }

    fn has_ended(&self) -> bool {
        matches!(self.daemon.state, DaemonState::Gone | DaemonState::Stopped)
    }
}

/// A daemon as others of its name go by it.
struct Namesake {
    first: u64,
    is_live: bool,
    /// The names of the Envoys that poll it.
    polling: BTreeSet<String>,
    /// The boot ids of all that it speaks for.
    boots: BTreeSet<String>,
}

impl Namesake {
    fn of(one: &Member) -> Self {
        let envoys = &one.daemon.said.envoys;
        let polling = envoys.iter().filter(|envoy| envoy.connected);
        Self {
            first: one.first,
            is_live: one.is_live(),
            polling: polling.map(|envoy| envoy.node.clone()).collect(),
            boots: envoys.iter().map(|envoy| envoy.boot_id.clone()).collect(),
        }
    }
}

/// Of daemons that are gone, leaves out the Envoys that others speak for: those that poll a live one, those that had ended
/// before the daemon that they polled last was stopped, those that a later daemon of the same name has registered, and those
/// of which another process has the name there. A daemon is later that was first registered when the other one was not
/// renewed any more: two that were there at the same time only have equal names. A daemon is over once it has none left, and
/// has a live successor or had some.
fn leave_out_seen(members: &mut [Member]) {
    let mut seen = BTreeSet::new();
    let mut named: BTreeMap<String, Vec<Namesake>> = BTreeMap::new();
    for one in members.iter() {
        let said = &one.daemon.said;
        if one.is_live() {
            let polling = said.envoys.iter().filter(|envoy| envoy.connected);
            seen.extend(polling.map(|envoy| envoy.boot_id.clone()));
        }
        seen.extend(said.ended.iter().cloned());
        named.entry(said.name.clone()).or_default().push(Namesake::of(one));
    }
    for one in members.iter_mut().filter(|one| one.has_ended()) {
        let all = named.get(&one.daemon.said.name).into_iter().flatten();
        let later: Vec<_> = all.filter(|other| other.first > one.renewed).collect();
        let said = &mut one.daemon.said;
        let had_some = !said.envoys.is_empty();
        said.envoys.retain(|envoy| {
            let is_back = later.iter().any(|other| {
                other.boots.contains(&envoy.boot_id)
                    || (other.is_live && other.polling.contains(&envoy.node))
            });
            !seen.contains(&envoy.boot_id) && !is_back
        });
        let none_left = said.envoys.is_empty() && said.envoys_left_out == 0;
        let has_successor = later.iter().any(|other| other.is_live);
        one.is_over |= none_left && (had_some || has_successor);
    }
}

/// The time in a stream id.
fn stream_ms(id: Option<&str>) -> Option<u64> {
    id?.split_once('-')?.0.parse().ok()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
