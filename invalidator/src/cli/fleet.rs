//! All daemons on one Redis and their Envoys in words, for people at a terminal.

use std::collections::BTreeSet;
use std::fmt::Write;

use engine::Does;

use super::show::{count, fleet_limits, span_ms, table};
use crate::wire::{ALL_DAEMONS, DaemonState, Envoy, Everywhere, Fleet, FleetDaemon, Missing};

/// The whole of `GET /v1/fleet`: a row for each Envoy, and for each daemon without one.
pub(super) fn nodes(fleet: &Fleet) -> String {
    let header = [
        "DAEMON",
        "REGION",
        "DAEMON IS",
        "EVENTS",
        "NODE",
        "BOOT",
        "NODE IS",
        "BEHIND",
        "DOES NOW",
        "FLEET LIMITS",
    ];
    let rows = fleet.daemons.iter().flat_map(rows);
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let mut envoys = fleet.daemons.iter().flat_map(|one| &one.said.envoys);
    let mut out = match envoys.any(|envoy| envoy.fleet_limits.is_some()) {
        true => table(rows),
        false => table(without_last(rows)),
    };
    for name in &fleet.equal_names {
        let _ = writeln!(out, "EQUAL NAMES: more than one live daemon is called {name}");
    }
    if !fleet.settled {
        let what = "registrations began only now: more daemons may be there";
        let _ = writeln!(out, "NOT ALL MAY BE HERE: {what}");
    }
    if fleet.full {
        let what = "a daemon found no room to register within the last hour";
        let _ = writeln!(out, "NOT ALL ARE HERE: {what}");
    }
    out
}

fn without_last(rows: Vec<[String; 10]>) -> Vec<[String; 9]> {
    rows.into_iter().map(|[a, b, c, d, e, f, g, h, i, _]| [a, b, c, d, e, f, g, h, i]).collect()
}

fn rows(one: &FleetDaemon) -> Vec<[String; 10]> {
    let is_there = matches!(one.state, DaemonState::Live | DaemonState::Unreadable);
    let stream = match (&one.said.read, one.behind_ms) {
        _ if !is_there => "-".to_owned(),
        (None, _) => "not read yet".to_owned(),
        (Some(_), Some(0)) => "up to date".to_owned(),
        (Some(_), Some(behind)) => format!("{} behind", span_ms(behind)),
        (Some(_), None) => "?".to_owned(),
    };
    let state = match (one.state, &one.gone_since) {
        (DaemonState::Live, _) => "live".to_owned(),
        (DaemonState::Gone, Some(since)) => format!("GONE since {since}"),
        (DaemonState::Gone, None) => "GONE".to_owned(),
        (DaemonState::Stopped, Some(since)) => format!("stopped since {since}"),
        (DaemonState::Stopped, None) => "stopped".to_owned(),
        (DaemonState::Unreadable, _) => "UNREADABLE".to_owned(),
    };
    let region = one.said.region.clone().unwrap_or_else(|| "-".to_owned());
    let row = |node: [String; 6]| {
        let [name, boot, is, behind, does, limits] = node;
        let (daemon, region) = (one.said.name.clone(), region.clone());
        [daemon, region, state.clone(), stream.clone(), name, boot, is, behind, does, limits]
    };
    let mut rows: Vec<_> =
        one.said.envoys.iter().map(|envoy| row(cells(envoy, one.state))).collect();
    if rows.is_empty() {
        let none = if one.state == DaemonState::Stopped { "(none left behind)" } else { "(none)" };
        rows.push(row([none, "-", "-", "-", "-", "-"].map(str::to_owned)));
    }
    if one.said.envoys_left_out > 0 {
        let more = format!("(and {} more)", one.said.envoys_left_out);
        let [boot, is, behind, does, limits] = ["-"; 5].map(str::to_owned);
        rows.push(row([more, boot, is, behind, does, limits]));
    }
    rows
}

fn cells(envoy: &Envoy, daemon: DaemonState) -> [String; 6] {
    let (is, does) = match (daemon, envoy.connected, envoy.synced) {
        // Nobody says anything of it now.
        (DaemonState::Gone | DaemonState::Unreadable, _, _) => ("not known", "not known"),
        (DaemonState::Stopped, _, _) => ("without a daemon", "not known"),
        (_, false, _) if envoy.hung_up => ("ended", "-"),
        (_, false, _) => ("gone", "not known"),
        (_, true, false) => ("syncing", does(envoy.does)),
        (_, true, true) => ("connected", does(envoy.does)),
    };
    let boot = envoy.boot_id.chars().take(12).collect();
    // What was said of it before tells nothing about now.
    let (lag, limits) = match (daemon, envoy.connected) {
        (DaemonState::Live, true) => {
            let lag = count(usize::try_from(envoy.lag).unwrap_or(usize::MAX), "change");
            (lag, fleet_limits(envoy.fleet_limits))
        }
        _ => ("-".to_owned(), "not known".to_owned()),
    };
    [envoy.node.clone(), boot, is.to_owned(), lag, does.to_owned(), limits]
}

fn does(does: Does) -> &'static str {
    match does {
        Does::Enforces => "enforces",
        Does::DeniesStale => "DENIES: stale",
        Does::AllowsStale => "ALLOWS although stale",
        Does::ByRouteStale => "BY ROUTE: stale",
        Does::DeniesNeverSynced => "DENIES: never synchronized",
        Does::AllowsNeverSynced => "ALLOWS although never synchronized",
        Does::ByRouteNeverSynced => "BY ROUTE: never synchronized",
        Does::Gone | Does::Unknown => "not known",
    }
}

/// Whether all Envoys of the fleet enforce an event.
pub(super) fn everywhere(all: &Everywhere) -> String {
    let daemons: BTreeSet<_> = all.nodes.iter().map(|node| &node.daemon).collect();
    let (nodes, daemons) = (count(all.nodes.len(), "node"), count(daemons.len(), "daemon"));
    let verb = if all.nodes.len() == 1 { "is" } else { "are" };
    let mut lines = vec![match all.enforced_everywhere {
        true => format!("enforced everywhere: {nodes} of {daemons} in {:?} ms", all.elapsed_ms),
        false => {
            let only = format!("only {nodes} of {daemons} {verb} known to enforce it");
            format!("NOT enforced everywhere: {only}; missing:")
        }
    }];
    lines.extend(all.missing.iter().map(missing));
    let equal = all.equal_names.iter();
    lines.extend(equal.map(|name| format!("more than one live daemon is called {name}")));
    lines.join("\n")
}

fn missing(one: &Missing) -> String {
    let Missing { daemon, node, reason, cause, .. } = one;
    let who = match node {
        Some(node) => format!("{node} of daemon {daemon}"),
        None if daemon == ALL_DAEMONS => "the fleet".to_owned(),
        None => format!("daemon {daemon}"),
    };
    let cause = cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!("  {who}: {}{cause}", reason.words())
}
