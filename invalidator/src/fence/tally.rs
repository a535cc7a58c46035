//! What is known of one event that somebody has asked all daemons about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::NODE_EXPIRES_AFTER;

use super::{Members, Said, SaidNode, SaidState};
use crate::wire::{ALL_DAEMONS, DaemonState, EnforcedBy, Everywhere, FleetDaemon, Missing, Reason};

/// For how long after daemons were asked their answers count together. What they say is so when they say it: an Envoy
/// that was started anew since enforces nothing until it is synchronized.
pub const COUNTS_FOR: Duration = Duration::from_secs(1);

/// One daemon's answer about the event, as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The name of the daemon's run.
    pub run: String,
    /// The daemon's name.
    pub daemon: String,
    /// Its region.
    pub region: Option<String>,
    /// What it says.
    pub said: Said,
    /// Whether that may be believed: it is signed, or need not be.
    pub is_vouched: bool,
}

/// A daemon that has answered.
#[derive(Debug)]
struct Told {
    daemon: String,
    region: Option<String>,
    said: Said,
    /// When it was first heard of each Envoy, by name and boot id, that it enforces the event.
    at_ms: BTreeMap<(String, String), f64>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Tally {
    /// Nothing until the registrations have been read.
    members: Option<Arc<Members>>,
    /// When they were asked, after the event was taken in.
    asked: Duration,
    told: BTreeMap<String, Told>,
    /// Runs in whose name an answer came that may not be believed.
    not_vouched: BTreeSet<String>,
}

impl Tally {
    /// Notes who is registered, and when they were asked, after the event was taken in.
    pub fn expect(&mut self, members: Arc<Members>, asked: Duration) {
        (self.members, self.asked) = (Some(members), asked);
    }

    /// Takes an answer in, `after` the event was. What is said later replaces what was said before, unless that
    /// was the last word.
    pub fn hear(&mut self, heard: Heard, after: Duration) {
        let Heard { run, daemon, region, said, is_vouched } = heard;
        if !is_vouched {
            // Whoever forges one takes nothing away from the genuine one.
            if self.not_vouched.len() < super::DAEMONS_MAX {
                self.not_vouched.insert(run);
            }
            return;
        }
        if self.told.len() >= super::DAEMONS_MAX && !self.told.contains_key(&run) {
            return;
        }
        let ms = in_ms(after);
        let told = self.told.entry(run).or_insert_with(|| {
            let said = Said { settled: false, nodes: Vec::new(), ..said.clone() };
            Told { daemon, region, said, at_ms: BTreeMap::new() }
        });
        if told.said.settled {
            return;
        }
        for node in said.nodes.iter().filter(|node| node.state == SaidState::Enforced) {
            told.at_ms.entry((node.node.clone(), node.boot_id.clone())).or_insert(ms);
        }
        told.said = said;
    }

    /// Whether there is nothing more to wait for: every live daemon has said its last word.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Some(members) = self.members.as_ref().filter(|members| members.settled) else {
            return false;
        };
        let mut live = members.daemons.iter().filter(|one| one.state == DaemonState::Live);
        !self.told.is_empty()
            && live.all(|one| self.told.get(&one.run).is_some_and(|told| told.said.settled))
    }

    /// Whether all that is known is too old to be counted together.
    #[must_use]
    pub fn is_outdated(&self, after: Duration) -> bool {
        after.saturating_sub(self.asked) > COUNTS_FOR
    }

    /// What is known now, so long after the event was taken in.
    #[must_use]
    pub fn result(&self, after: Duration) -> Everywhere {
        let mut all = Everywhere { elapsed_ms: in_ms(after), ..Everywhere::default() };
        let Some(members) = &self.members else {
            all.missing.push(nobody_knows(Reason::RedisUnreachable));
            return all;
        };
        if !members.settled {
            all.missing.push(nobody_knows(Reason::RegistryNew));
        }
        if members.full {
            all.missing.push(nobody_knows(Reason::RegistryFull));
        }
        all.equal_names = members.equal_names();
        let spoken_for = self.spoken_for();
        for one in &members.daemons {
            if !self.told.contains_key(&one.run) {
                let reason = match one.state {
                    DaemonState::Gone => Reason::Gone,
                    DaemonState::Stopped => Reason::Stopped,
                    _ if self.not_vouched.contains(&one.run) => Reason::NotVouched,
                    DaemonState::Live | DaemonState::Unreadable => Reason::NoAnswer,
                };
                add_silent(&mut all, one, reason, &spoken_for);
            }
        }
        let enforcing = self.enforcing();
        for told in self.told.values() {
            add_told(&mut all, told, &enforcing);
        }
        let by_name = |a: &Missing, b: &Missing| (&a.daemon, &a.node).cmp(&(&b.daemon, &b.node));
        all.missing.sort_by(by_name);
        all.nodes.sort_by(|a, b| (&a.daemon, &a.node).cmp(&(&b.daemon, &b.node)));
        if all.missing.is_empty() && self.is_outdated(after) {
            all.missing.push(nobody_knows(Reason::Outdated));
        }
        all.enforced_everywhere = all.missing.is_empty() && !all.nodes.is_empty();
        all
    }

    /// The boot ids of all Envoys that somebody has said something about.
    fn spoken_for(&self) -> BTreeSet<&str> {
        self.told.values().flat_map(|told| &told.said.nodes).map(|node| &*node.boot_id).collect()
    }

    /// The boot ids of those that enforce the event: wherever else they have polled before, they are not gone.
    fn enforcing(&self) -> BTreeSet<&str> {
        let is_so = |told: &&Told| told.said.known && told.said.in_effect;
        let nodes = self.told.values().filter(is_so).flat_map(|told| &told.said.nodes);
        nodes.filter(|node| node.state == SaidState::Enforced).map(|node| &*node.boot_id).collect()
    }
}

/// What is missing when nobody can say who is there.
fn nobody_knows(reason: Reason) -> Missing {
    let daemon = ALL_DAEMONS.to_owned();
    Missing { daemon, region: None, node: None, reason, cause: None }
}

impl Everywhere {
    /// Nothing is known of anybody, since Redis cannot be asked.
    #[must_use]
    pub fn unknown(after: Duration) -> Self {
        Tally::default().result(after)
    }
}

/// A daemon that has not answered: each Envoy that it has registered, and nobody else has spoken for.
fn add_silent(
    all: &mut Everywhere,
    one: &FleetDaemon,
    reason: Reason,
    spoken_for: &BTreeSet<&str>,
) {
    let cause = one.gone_since.as_ref().map(|since| format!("the daemon, since {since}"));
    let missing = |node: Option<String>| Missing {
        daemon: one.said.name.clone(),
        region: one.said.region.clone(),
        node,
        reason,
        cause: cause.clone(),
    };
    let ended = matches!(one.state, DaemonState::Gone | DaemonState::Stopped);
    let left = one.said.envoys.iter();
    let left = left.filter(|envoy| !(ended && spoken_for.contains(&*envoy.boot_id)));
    let names: BTreeSet<_> = left.map(|envoy| envoy.node.clone()).collect();
    // Which Envoys it has is not known, unless it has said so at its end.
    let is_unknown = one.said.envoys.is_empty() && one.state != DaemonState::Stopped;
    if is_unknown || one.said.envoys_left_out > 0 {
        all.missing.push(missing(None));
    }
    all.missing.extend(names.into_iter().map(|name| missing(Some(name))));
}

fn add_told(all: &mut Everywhere, told: &Told, enforcing: &BTreeSet<&str>) {
    let Told { daemon, region, said, at_ms } = told;
    let missing = |node: Option<&String>, reason, cause: Option<&str>| Missing {
        daemon: daemon.clone(),
        region: region.clone(),
        node: node.cloned(),
        reason,
        cause: cause.map(str::to_owned),
    };
    if !said.known {
        let (reason, cause) = match said.settled {
            true => (Reason::Refused, Some("the daemon has not accepted the event")),
            false => (Reason::Behind, Some("the daemon does not have the event yet")),
        };
        return all.missing.push(missing(None, reason, cause));
    }
    if said.nodes.is_empty() {
        // A daemon that nobody polls for long has no Envoys; of another one they may be on their way.
        if said.uptime_s <= NODE_EXPIRES_AFTER.as_secs() {
            all.missing.push(missing(None, Reason::NoEnvoy, None));
        }
        return;
    }
    for node in &said.nodes {
        let reason = match node.state {
            _ if !said.in_effect => Reason::NotInEffect,
            SaidState::Enforced => {
                let ms = at_ms.get(&(node.node.clone(), node.boot_id.clone())).copied();
                all.nodes.push(EnforcedBy {
                    daemon: daemon.clone(),
                    region: region.clone(),
                    node: node.node.clone(),
                    boot_id: node.boot_id.clone(),
                    ms: ms.unwrap_or(all.elapsed_ms),
                });
                continue;
            }
            // It polls another daemon now.
            SaidState::Gone if enforcing.contains(&*node.boot_id) => continue,
            SaidState::Behind => Reason::Behind,
            SaidState::NeverSynced => Reason::NeverSynced,
            SaidState::Gone => Reason::Gone,
            SaidState::Refused => Reason::Refused,
        };
        let cause = node.cause.as_deref().or_else(|| namesake(node, said));
        all.missing.push(missing(Some(&node.node), reason, cause));
    }
}

/// Why an Envoy counts as gone although one of its name is there.
fn namesake(node: &SaidNode, said: &Said) -> Option<&'static str> {
    let has_namesake =
        || said.nodes.iter().any(|one| one.node == node.node && one.boot_id != node.boot_id);
    (node.state == SaidState::Gone && has_namesake())
        .then_some("another Envoy polls under this name: give each its own")
}

/// Milliseconds, to the microsecond: more digits would be noise.
fn in_ms(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
