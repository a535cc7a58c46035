//! What is known of one event that somebody has asked all daemons about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::NODE_EXPIRES_AFTER;

use super::{Members, Said, SaidState};
use crate::wire::{DaemonState, EnforcedBy, Everywhere, FleetDaemon, Missing, Reason};

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
    members: Option<Members>,
    told: BTreeMap<String, Told>,
    /// Runs in whose name an answer came that may not be believed.
    not_vouched: BTreeSet<String>,
}

impl Tally {
    /// Notes who is registered.
    pub fn expect(&mut self, members: Members) {
        self.members = Some(members);
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
        all.equal_names = members.equal_names();
        for one in &members.daemons {
            if !self.told.contains_key(&one.run) {
                let reason = match one.state {
                    DaemonState::Gone => Reason::Gone,
                    _ if self.not_vouched.contains(&one.run) => Reason::NotVouched,
                    DaemonState::Live | DaemonState::Unreadable => Reason::NoAnswer,
                };
                add_silent(&mut all, one, reason);
            }
        }
        for told in self.told.values() {
            add_told(&mut all, told);
        }
        all.enforced_everywhere = all.missing.is_empty() && !all.nodes.is_empty();
        all
    }
}

/// What is missing when nobody can say who is there.
fn nobody_knows(reason: Reason) -> Missing {
    let daemon = "(all)".to_owned();
    Missing { daemon, region: None, node: None, reason, cause: None }
}

impl Everywhere {
    /// Nothing is known of anybody, since Redis cannot be asked.
    #[must_use]
    pub fn unknown(after: Duration) -> Self {
        Tally::default().result(after)
    }
}

/// A daemon that has not answered: each Envoy that it has registered.
fn add_silent(all: &mut Everywhere, one: &FleetDaemon, reason: Reason) {
    let cause = one.gone_since.as_ref().map(|since| format!("the daemon, since {since}"));
    let missing = |node: Option<String>| Missing {
        daemon: one.said.name.clone(),
        region: one.said.region.clone(),
        node,
        reason,
        cause: cause.clone(),
    };
    let names: BTreeSet<_> = one.said.envoys.iter().map(|envoy| envoy.node.clone()).collect();
    if names.is_empty() || one.said.envoys_left_out > 0 {
        all.missing.push(missing(None));
    }
    all.missing.extend(names.into_iter().map(|name| missing(Some(name))));
}

fn add_told(all: &mut Everywhere, told: &Told) {
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
            SaidState::Behind => Reason::Behind,
            SaidState::NeverSynced => Reason::NeverSynced,
            SaidState::Gone => Reason::Gone,
            SaidState::Refused => Reason::Refused,
        };
        all.missing.push(missing(Some(&node.node), reason, node.cause.as_deref()));
    }
}

/// Milliseconds, to the microsecond: more digits would be noise.
fn in_ms(span: Duration) -> f64 {
    f64::from(u32::try_from(span.as_micros()).unwrap_or(u32::MAX)) / 1_000.0
}
