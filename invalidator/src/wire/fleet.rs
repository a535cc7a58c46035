//! All daemons on one Redis, and whether all of their Envoys enforce an event.

use engine::{Does, FleetLimits};
use serde::{Deserialize, Serialize};

/// What a daemon says of itself in Redis, about once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// `fleet.name`: the host's name unless it is configured.
    pub name: String,
    /// `fleet.region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The version of the program.
    pub version: String,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// How often it renews this, in milliseconds: the more daemons, the less often.
    pub every_ms: u64,
    /// Whether it was stopped on purpose, and this is its last word.
    #[serde(skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// Milliseconds since all of its sources were last known to work; nothing if that never was.
    pub sources_age_ms: Option<u64>,
    /// The id in the stream up to which it has taken events in.
    pub read: Option<String>,
    /// The id in the stream up to which all of its Envoys that poll have applied events: of about a second ago if
    /// they are behind. Nothing if none polls, or one has not had all yet.
    pub applied: Option<String>,
    /// Its Envoys: those that poll, and those that did within the last ten minutes. Of one that was stopped, those
    /// that had not ended before it.
    pub envoys: Vec<Envoy>,
    /// How many more there are.
    pub envoys_left_out: usize,
    /// Of one that was stopped, the boot ids of Envoys that had ended before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde asks")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// One Envoy of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Envoy {
    /// The node's name.
    pub node: String,
    /// The life of its memory.
    pub boot_id: String,
    /// Whether it polls.
    pub connected: bool,
    /// Whether it has closed the connection of its last poll, and has not polled since: most likely its process has
    /// ended.
    #[serde(skip_serializing_if = "is_false")]
    pub hung_up: bool,
    /// Whether it has had all that its daemon knows since both run.
    pub synced: bool,
    /// How many changes it is behind its daemon.
    pub lag: u64,
    /// Milliseconds since its last poll arrived.
    pub staleness_ms: u64,
    /// What it does with requests.
    pub does: Does,
    /// How it stands to limits that hold for the whole fleet; nothing if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet_limits: Option<FleetLimits>,
}

/// The answer of `GET /v1/fleet`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fleet {
    /// Every daemon that has registered and is not forgotten, by name.
    pub daemons: Vec<FleetDaemon>,
    /// Names that more than one live daemon has.
    pub equal_names: Vec<String>,
    /// Whether every live daemon has had the time to register since the registrations began, which they do anew
    /// after Redis has lost its data.
    pub settled: bool,
    /// Whether a daemon found no room to register within the last hour.
    pub full: bool,
}

/// One daemon, as its registration and Redis's clock say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetDaemon {
    /// Random name of its run.
    pub run: String,
    /// Whether it is there.
    pub state: DaemonState,
    /// Milliseconds since it last renewed its registration, by Redis's clock without its jumps; nothing if that
    /// cannot be said.
    pub renewed_ago_ms: Option<u64>,
    /// The instant of that by Redis's clock, if the daemon is gone or was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<String>,
    /// Milliseconds by which its stream position is behind that of the daemon that has read the most.
    pub behind_ms: Option<u64>,
    /// What it has said. Of a daemon that is gone or was stopped, the Envoys that have not been seen elsewhere since.
    #[serde(flatten)]
    pub said: Registration,
}

/// Whether a daemon is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonState {
    /// It renews its registration.
    Live,
    /// It does not: it has crashed, or hangs, or is cut off from Redis.
    #[default]
    Gone,
    /// It was stopped on purpose, and has said so.
    Stopped,
    /// It renews its registration, which cannot be read here.
    Unreadable,
}

/// Whether all Envoys of the fleet enforce an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Everywhere {
    /// Whether every Envoy of every registered daemon is known to enforce it, and there is one.
    pub enforced_everywhere: bool,
    /// From taking the event in to the end of the waiting, in milliseconds, by the clock of the daemon asked.
    pub elapsed_ms: f64,
    /// The Envoys that enforce it.
    pub nodes: Vec<EnforcedBy>,
    /// Those of which that is not known, and why.
    pub missing: Vec<Missing>,
    /// Names that more than one live daemon has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal_names: Vec<String>,
}

/// An Envoy that enforces an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnforcedBy {
    /// The name of its daemon.
    pub daemon: String,
    /// The region of its daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Its name.
    pub node: String,
    /// The life of its memory.
    pub boot_id: String,
    /// From taking the event in to hearing that this Envoy enforces it, in milliseconds, by the clock of the
    /// daemon asked.
    pub ms: f64,
}

/// Stands for a daemon's name where it is said of no daemon in particular.
pub const ALL_DAEMONS: &str = "(all)";

/// An Envoy, or a daemon with all of its Envoys, that is not known to enforce an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The name of the daemon.
    pub daemon: String,
    /// The region of the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The Envoy; nothing if it is the daemon, and which Envoys it has is not known.
    pub node: Option<String>,
    /// Why.
    pub reason: Reason,
    /// More about it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Why an Envoy is not known to enforce an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The Envoy does not poll its daemon any more, or the daemon does not renew its registration: it has crashed,
    /// hangs, or is cut off.
    Gone,
    /// Its daemon was stopped on purpose, and the Envoy has not been seen at another one since.
    Stopped,
    /// It has not acknowledged the event yet.
    Behind,
    /// It has not had all that its daemon knows yet.
    NeverSynced,
    /// It could not store the event, or does nothing about it; or its daemon has not taken the event in.
    Refused,
    /// Its daemon knows the event, and that it is not in effect.
    NotInEffect,
    /// Its daemon is live and has not answered in time.
    NoAnswer,
    /// What its daemon has answered is not signed with the key of the event, as is required.
    NotVouched,
    /// No Envoy has polled this daemon since it started, not long ago.
    NoEnvoy,
    /// The registrations began only now, as they do after Redis has lost its data: a daemon may be there that has not
    /// registered yet.
    RegistryNew,
    /// A daemon found no room to register within the last hour, so not all are known.
    RegistryFull,
    /// All have said that they enforce it, and that took so long that it may not be so any more.
    Outdated,
    /// Redis could not be asked.
    RedisUnreachable,
    /// A reason of a later version.
    #[serde(other)]
    Other,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Gone,
        Self::Stopped,
        Self::Behind,
        Self::NeverSynced,
        Self::Refused,
        Self::NotInEffect,
        Self::NoAnswer,
        Self::NotVouched,
        Self::NoEnvoy,
        Self::RegistryNew,
        Self::RegistryFull,
        Self::Outdated,
        Self::RedisUnreachable,
        Self::Other,
    ];

    /// As it is spelled in answers, metrics and the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Stopped => "stopped",
            Self::Behind => "behind",
            Self::NeverSynced => "never_synced",
            Self::Refused => "refused",
            Self::NotInEffect => "not_in_effect",
            Self::NoAnswer => "no_answer",
            Self::NotVouched => "not_vouched",
            Self::NoEnvoy => "no_envoy",
            Self::RegistryNew => "registry_new",
            Self::RegistryFull => "registry_full",
            Self::Outdated => "outdated",
            Self::RedisUnreachable => "redis_unreachable",
            Self::Other => "other",
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Stopped => "its daemon was stopped, and it may serve on without one",
            Self::Behind => "behind",
            Self::NeverSynced => "not synchronized yet",
            Self::Refused => "refused",
            Self::NotInEffect => "not in effect there",
            Self::NoAnswer => "no answer in time",
            Self::NotVouched => "its answer is not signed as required",
            Self::NoEnvoy => "no Envoy has polled yet",
            Self::RegistryNew => "registrations began only now: ask again",
            Self::RegistryFull => "there was no room to register another daemon",
            Self::Outdated => "the answers were too old when the last one came: ask again",
            Self::RedisUnreachable => "Redis could not be asked",
            Self::Other => "another reason",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_spelled_alike_wherever_they_stand() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
    }
}
