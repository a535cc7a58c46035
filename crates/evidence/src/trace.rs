//! What became of one event, on every daemon that has a line about it.

use model::time::UnixMicros;
use serde::Serialize;
use serde_json::Value;

use super::ends::{self, Ended};
use super::line::{Line, LineRef};
use super::nodes::{self, Enforced};

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventTrace {
    /// Its id.
    pub event_id: String,
    /// What it orders; nothing if no line says it.
    pub ordered: Option<Ordered>,
    /// What became of it on each daemon.
    pub daemons: Vec<OnDaemon>,
}

/// What an event orders, as it was taken in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ordered {
    /// `block`, `unblock`, `zero` or `override`.
    pub action: String,
    /// Why.
    pub reason: Option<String>,
    /// The route groups; none means every request.
    pub scope: Vec<String>,
    /// Until when; nothing: until it is lifted.
    pub until: Option<String>,
    /// The limit of an override.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Its rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Value>,
    /// Its type, in the publisher's words.
    pub event_type: Option<String>,
    /// When it occurred, by its publisher's clock.
    pub occurred_at: Option<String>,
    /// Who published it, by its own word.
    pub publisher: Option<String>,
    /// Its place in its publisher's own order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_sequence: Option<u64>,
}

/// One event on one daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnDaemon {
    /// The daemon.
    pub daemon: String,
    /// Whom it is about: `user:` or `session:` and the pseudonym.
    pub whom: Option<String>,
    /// Each time that it was received, oldest first.
    pub received: Vec<Received>,
    /// Calls of the API that brought it.
    pub asked: Vec<Asked>,
    /// What each Envoy did with it, if it rejects requests.
    pub nodes: Vec<Enforced>,
    /// What ended it.
    pub ended: Option<Ended>,
}

/// One time that an event was received.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Received {
    /// When, by the daemon's clock.
    pub at: String,
    /// The source it came from.
    pub source: Option<String>,
    /// The inbox that it came out of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// `applied`, `duplicate`, `stale`, `no_effect` or `refused`.
    pub result: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether what it says was so at that moment.
    pub in_effect: Option<bool>,
    /// The events that overruled it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overruled_by: Vec<String>,
    /// Its place in the order of events.
    pub counts_from: Option<String>,
    /// Its sequence in that run of the daemon.
    pub sequence: Option<u64>,
    /// What its signature was found to be; nothing if it was not looked at.
    pub signature: Option<String>,
    /// The key that it is signed with, if that was verified.
    pub signed_by: Option<String>,
    /// Whether an operator replayed it from the dead letters.
    pub replayed: bool,
    /// The line that says so.
    pub line: LineRef,
}

/// A call that brought an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    /// When it was answered.
    pub at: String,
    /// Whose credentials were shown.
    pub caller: Option<String>,
    /// As what.
    pub role: Option<String>,
    /// The resource.
    pub resource: Option<String>,
    /// The status of the answer.
    pub status: Option<u64>,
    /// What else the caller said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The line that says so.
    pub line: LineRef,
}

impl EventTrace {
    /// What became of an event, by the lines of each daemon.
    pub(crate) fn of(event_id: &str, daemons: &[Vec<Line<'_>>], now: UnixMicros) -> Self {
        let mut found: Vec<_> =
            daemons.iter().filter_map(|lines| on_daemon(event_id, lines, now)).collect();
        let ordered = found.iter_mut().find_map(|(_, ordered)| ordered.take());
        let daemons = found.into_iter().map(|(daemon, _)| daemon).collect();
        Self { event_id: event_id.to_owned(), ordered, daemons }
    }
}

fn on_daemon(
    event_id: &str,
    lines: &[Line<'_>],
    now: UnixMicros,
) -> Option<(OnDaemon, Option<Ordered>)> {
    let is_event = |line: &&Line<'_>| line.kind == "event" && line.is("event_id", event_id);
    let events: Vec<&Line<'_>> = lines.iter().filter(is_event).collect();
    let calls = lines.iter().filter(|line| line.kind == "call" && line.names_event(event_id));
    let asked: Vec<_> = calls.map(asked).collect();
    let daemon = lines.iter().find(|line| line.names_event(event_id))?.at.daemon.clone();
    let applied = events.iter().find(|line| line.is("result", "applied")).copied();
    let first =
        applied.or_else(|| events.iter().find(|line| line.text("action").is_some()).copied());
    let ordered = first.and_then(ordered);
    let rejects = matches!(first.and_then(|line| line.text("action")), Some("block" | "zero"));
    let until = ordered.as_ref().and_then(|ordered| ordered.until.as_deref());
    let ended = applied.and_then(|line| ends::of_event(lines, line, until, now));
    let nodes = first.map(|line| nodes::of_event(lines, event_id, line, ended.as_ref()));
    let nodes = nodes.unwrap_or_default();
    // Of one that rejects nobody only what is said of it: nobody owes an answer.
    let said = |one: &Enforced| rejects || one.line.is_some() || one.first_rejection.is_some();
    let on = OnDaemon {
        daemon,
        whom: events.iter().find_map(|line| line.whom()),
        received: events.iter().map(|line| received(line)).collect(),
        asked,
        nodes: nodes.into_iter().filter(said).collect(),
        ended,
    };
    Some((on, ordered))
}

fn ordered(line: &Line<'_>) -> Option<Ordered> {
    Some(Ordered {
        action: line.owned("action")?,
        reason: line.owned("reason"),
        scope: line.texts("scope"),
        until: line.owned("until"),
        limit: line.owned("limit"),
        rate: line.fields.get("rate").cloned(),
        event_type: line.owned("event_type"),
        occurred_at: line.owned("occurred_at"),
        publisher: line.owned("publisher"),
        publisher_sequence: line.number("publisher_sequence"),
    })
}

fn received(line: &Line<'_>) -> Received {
    Received {
        at: line.time.clone(),
        source: line.owned("source"),
        inbox: line.owned("inbox"),
        result: line.owned("result"),
        cause: line.owned("cause"),
        in_effect: line.fields.get("in_effect").and_then(Value::as_bool),
        overruled_by: line.texts("overruled_by"),
        counts_from: line.owned("counts_from"),
        sequence: line.number("sequence"),
        signature: line.owned("signature"),
        signed_by: line.owned("signed_by"),
        replayed: line.fields.get("replayed") == Some(&true.into()),
        line: line.at.clone(),
    }
}

fn asked(line: &Line<'_>) -> Asked {
    Asked {
        at: line.time.clone(),
        caller: line.owned("caller"),
        role: line.owned("role"),
        resource: line.owned("resource"),
        status: line.number("status"),
        note: line.owned("note"),
        line: line.at.clone(),
    }
}
