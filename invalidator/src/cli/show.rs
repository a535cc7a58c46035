//! The daemon's answers in words, for people at a terminal.

use std::fmt::Write;

use engine::{FleetLimits, Overruling, Refused};
use serde_json::Value;

use crate::wire::{Problem, Published};

/// One event's outcome.
pub(super) struct Outcome {
    pub(super) line: String,
    pub(super) warnings: Vec<String>,
}

/// An event that the daemon has.
pub(super) fn outcome(published: &Published, is_settled: bool) -> Outcome {
    let line = match is_settled {
        _ if !published.is_in_effect() => not_in_effect(published),
        true if published.has_no_effect() => changes_nothing(published),
        true => enforced(published),
        false => not_enforced(published),
    };
    Outcome { line, warnings: published.warnings.clone() }
}

fn enforced(published: &Published) -> String {
    let Published { event_id, sequence, receipt, .. } = published;
    let when = match published.result.as_str() {
        "duplicate" => "already: this event was published before".to_owned(),
        // As the daemon has written it: 1.0 for a whole number.
        _ => format!("in {:?} ms", receipt.elapsed_ms),
    };
    let nodes = count(receipt.nodes.len(), "node");
    format!("enforced on {nodes} of this daemon {when} (event {event_id}, sequence {sequence})")
}

fn not_in_effect(published: &Published) -> String {
    let overruling = published.overruled_by.iter().map(|by| {
        let Overruling { what, event_id, at, .. } = by;
        match by.sequence {
            Some(sequence) => format!("{what} (event {event_id}, sequence {sequence}) is newer"),
            None => format!("{what} (event {event_id}, heard {at}) is newer"),
        }
    });
    let overruling: Vec<_> = overruling.collect();
    let why = match overruling.is_empty() {
        true => "it has ended, or newer events have taken its place".to_owned(),
        false => overruling.join(", and "),
    };
    format!("NOT in effect: {why} (event {})", published.event_id)
}

fn changes_nothing(published: &Published) -> String {
    let event = &published.event_id;
    format!("changes nothing: there is nothing in effect that it could end (event {event})")
}

fn not_enforced(published: &Published) -> String {
    let Published { event_id, sequence, receipt, durable, .. } = published;
    let mut reasons = Vec::new();
    if !receipt.pending.is_empty() {
        reasons.push(format!("no acknowledgement yet from {}", receipt.pending.join(", ")));
    }
    for Refused { node, cause } in &receipt.refused {
        reasons.push(format!("refused by {node}: {cause}"));
    }
    if !receipt.enforced && reasons.is_empty() {
        reasons.push("no node is connected to this daemon".to_owned());
    }
    if !durable {
        reasons.push("not on the daemon's disk yet".to_owned());
    }
    let lack = match (receipt.enforced, durable) {
        (true, true) => "enforced by this daemon's Envoys",
        (true, false) => "enforced by this daemon's Envoys, but NOT durable",
        (false, true) => "accepted, but NOT enforced by all of this daemon's Envoys",
        (false, false) => {
            "accepted, but NOT enforced by all of this daemon's Envoys and NOT durable"
        }
    };
    let reasons = reasons.join("; ");
    let reasons = if reasons.is_empty() { reasons } else { format!(": {reasons}") };
    format!("{lack}{reasons} (event {event_id}, sequence {sequence})")
}

/// An event that the daemon does not have, and why.
pub(super) fn refused(problem: &Problem) -> String {
    match (&problem.field, &problem.rule) {
        (Some(field), Some(rule)) => format!("refused: {field}: {rule}"),
        _ => format!("refused: {}", problem.title),
    }
}

/// The whole of `GET /v1/status`.
pub(super) fn status(json: &Value) -> String {
    let mut out = format!(
        "daemon   up {}, sequence {}, {}\n",
        match number(json, "uptime_s") {
            0 => "under 1 s".to_owned(),
            uptime_s => span_ms(uptime_s.saturating_mul(1000)),
        },
        number(json, "sequence"),
        count(usize::try_from(number(json, "subjects")).unwrap_or(usize::MAX), "subject"),
    );
    for source in list(json, "sources") {
        let age = match source.get("age_ms").and_then(Value::as_u64) {
            Some(age) => format!("alive {} ago", span_ms(age)),
            None => "never alive yet".to_owned(),
        };
        let name = text(source, "name");
        let _ = writeln!(out, "source   {name}: {}, {age}", text(source, "state"));
    }
    if let Some(redis) = json.get("redis").filter(|redis| redis.is_object()) {
        out.push_str(&redis_line(redis));
    }
    if let Some(store) = json.get("store") {
        out.push_str(&store_line(store));
    }
    if let Some(audit) = json.get("audit") {
        out.push_str(&audit_line(audit));
    }
    let nodes = list(json, "nodes");
    if let Some(keys) = json.get("keys").filter(|keys| keys.is_object()) {
        out.push_str(&keys_line(keys, nodes));
    }
    if let Some(limits) = json.get("fleet_limits").filter(|limits| text(limits, "ledger") != "none")
    {
        out.push_str(&fleet_limits_line(limits, nodes));
    }
    if nodes.is_empty() {
        out.push_str("nodes    none: no Envoy has polled yet\n");
        return out;
    }
    let header =
        ["NODE", "BOOT", "STATE", "APPLIED", "BEHIND", "LAST POLL", "REFUSED", "FLEET LIMITS"];
    let rows = nodes.iter().map(node_row);
    let rows: Vec<_> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let is_shared = nodes.iter().any(|node| node.get("fleet_limits").is_some());
    out.push_str(&match is_shared {
        true => table(rows),
        false => table(without_last(rows)),
    });
    out
}

/// Whether Redis holds the events that are known here.
fn redis_line(redis: &Value) -> String {
    let here = redis.pointer("/here/count").and_then(Value::as_u64).unwrap_or_default();
    let there = redis.pointer("/there/count").and_then(Value::as_u64);
    let there = there.map_or_else(|| "not known".to_owned(), |there| there.to_string());
    let since = text(redis, "since");
    let lasts = span_ms(number(redis, "for_ms"));
    let events = count(usize::try_from(here).unwrap_or(usize::MAX), "event");
    match text(redis, "state") {
        "same" => format!("redis    the same {events} as here\n"),
        "settling" => {
            format!("redis    settling since {since} ({lasts}): {events} here, there {there}\n")
        }
        _ => format!("redis    DIFFERS since {since} ({lasts}): {events} here, there {there}\n"),
    }
}

/// What is kept, and whether it can be written.
fn store_line(store: &Value) -> String {
    let events = usize::try_from(number(store, "events")).unwrap_or(usize::MAX);
    let mut line = format!("store    {}, {} kept", text(store, "state"), count(events, "event"));
    if let Some(cause) = store.get("cause").and_then(Value::as_str) {
        let _ = write!(line, "; NOT WRITABLE: {cause}");
    }
    if let Some(doubt) = store.get("doubt").and_then(Value::as_str) {
        let _ = write!(line, "; MAY LACK BLOCKS: {doubt}");
    }
    if number(store, "unkept") > 0 {
        let _ = write!(line, "; NOT KEPT: {}", number(store, "unkept"));
    }
    line.push('\n');
    line
}

/// The end of the audit log, to keep elsewhere, and whether it can be written.
fn audit_line(audit: &Value) -> String {
    let failing = audit.get("failing").and_then(Value::as_str);
    let failing = failing.map(|cause| format!("; NOT WRITABLE: {cause}")).unwrap_or_default();
    format!("audit    head {}{failing}\n", text(audit, "head"))
}

/// How many keys are valid, and which connected nodes do not have the set.
fn keys_line(keys: &Value, nodes: &[Value]) -> String {
    let active = list(keys, "keys").iter().filter(|key| text(key, "state") == "active").count();
    let version = number(keys, "version");
    let connected = nodes.iter().filter(|node| node.get("connected") == Some(&Value::Bool(true)));
    let behind = connected.filter(|node| number(node, "keys_version") != version);
    let behind: Vec<_> = behind.map(|node| text(node, "node")).collect();
    let mut line = format!("keys     {} valid", count(active, "key"));
    if !behind.is_empty() {
        let _ = write!(line, "; NOT YET on {}", behind.join(", "));
    }
    if let Some(failure) = keys.get("failure").and_then(Value::as_str) {
        let _ = write!(line, "; the file as it is now is NOT IN FORCE: {failure}");
    }
    line.push('\n');
    line
}

/// Whether the fleet's buckets can be reached, and which connected nodes do not name them with the fleet's key.
fn fleet_limits_line(limits: &Value, nodes: &[Value]) -> String {
    let mut line = match text(limits, "ledger") {
        "unused" => return String::new(),
        "open" => "limits   the fleet's buckets can be reached".to_owned(),
        _ => "limits   the fleet's buckets CANNOT BE REACHED: on_loss holds".to_owned(),
    };
    match number(limits, "nodes") {
        0 => {}
        known => {
            let _ = write!(line, ", {} in the fleet", count_u64(known, "node"));
        }
    }
    let version = number(limits, "key_version");
    let lacks = |node: &&Value| {
        let has = node.pointer("/fleet_limits/key_version").and_then(Value::as_u64);
        let connected = node.get("connected") == Some(&Value::Bool(true));
        connected && version > 0 && has.is_some_and(|has| has != version)
    };
    let lacking: Vec<_> = nodes.iter().filter(lacks).map(|node| text(node, "node")).collect();
    if !lacking.is_empty() {
        let _ = write!(line, "; the key is NOT YET on {}", lacking.join(", "));
    }
    line.push('\n');
    line
}

/// A list of keys.
pub(super) fn keys(keys: &[Value]) -> String {
    if keys.is_empty() {
        return "no keys\n".to_owned();
    }
    let header = ["ID", "PARTNER", "STATE", "NOT BEFORE", "NOT AFTER", "PROFILE", "INTEGRATIONS"];
    let or = |key: &Value, name, absent: &str| {
        key.get(name).and_then(Value::as_str).unwrap_or(absent).to_owned()
    };
    let rows = keys.iter().map(|key| {
        let integrations = texts(key, "integrations").join(",");
        let integrations = if integrations.is_empty() { "all".to_owned() } else { integrations };
        [
            text(key, "id").to_owned(),
            text(key, "partner").to_owned(),
            text(key, "state").to_owned(),
            or(key, "not_before", "-"),
            or(key, "not_after", "-"),
            or(key, "profile", "-"),
            integrations,
        ]
    });
    table(std::iter::once(header.map(str::to_owned)).chain(rows).collect())
}

fn node_row(node: &Value) -> [String; 8] {
    let connected = node.get("connected").and_then(Value::as_bool).unwrap_or_default();
    let synced = node.get("synced").and_then(Value::as_bool).unwrap_or_default();
    let state = match (connected, synced) {
        (false, _) => "gone",
        (true, false) => "syncing",
        (true, true) => "connected",
    };
    [
        text(node, "node").to_owned(),
        text(node, "boot_id").chars().take(12).collect(),
        state.to_owned(),
        number(node, "applied").to_string(),
        number(node, "lag").to_string(),
        format!("{} ago", span_ms(number(node, "staleness_ms"))),
        number(node, "refused").to_string(),
        fleet_limits(
            node.get("fleet_limits").and_then(|said| serde_json::from_value(said.clone()).ok()),
        ),
    ]
}

/// How a node stands to limits that hold for the whole fleet.
pub(super) fn fleet_limits(said: Option<FleetLimits>) -> String {
    let Some(FleetLimits { cut_off_ms, behind, given_up, .. }) = said else {
        return "-".to_owned();
    };
    let mut cell = match cut_off_ms {
        Some(for_ms) => format!("CUT OFF for {}", span_ms(for_ms)),
        None => "shared".to_owned(),
    };
    if behind > 0 {
        let _ = write!(cell, ", Redis had less {}", count_u64(behind, "time"));
    }
    if given_up > 0 {
        let _ = write!(cell, ", gave up {}", count_u64(given_up, "token"));
    }
    cell
}

fn count_u64(number: u64, noun: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

fn without_last(rows: Vec<[String; 8]>) -> Vec<[String; 7]> {
    rows.into_iter().map(|[a, b, c, d, e, f, g, _]| [a, b, c, d, e, f, g]).collect()
}

/// Columns padded to their widest cell.
pub(super) fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..N).filter_map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

pub(super) fn span_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

pub(super) fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json.get(name).and_then(Value::as_str).unwrap_or("?")
}

pub(super) fn number(json: &Value, name: &str) -> u64 {
    json.get(name).and_then(Value::as_u64).unwrap_or_default()
}

pub(super) fn list<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(json: &Value, name: &str) -> Vec<String> {
    list(json, name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
