//! The document as a whole.

use std::collections::{BTreeMap, BTreeSet};

use model::time::UnixMicros;
use serde::Serialize;

use super::line::Line;
use super::log::{Log, Silent, Verdict, Vouched};
use super::trace::EventTrace;
use super::words;

/// Version of the document's form.
const FORMAT: u32 = 1;
/// Most events of a user or session that are traced; the newest are left out.
const EVENTS_MAX: usize = 256;
/// Lines that say something of a log as a whole.
const OF_THE_LOG: [&str; 7] = ["start", "stop", "gap", "torn", "damaged", "clock", "erase"];

/// Whom or what the document is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A user, by the id.
    User(String),
    /// A session, by the id.
    Session(String),
    /// An event, by its id.
    EventId(String),
}

/// What audit logs prove, and what not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// Version of this form.
    pub format: u32,
    /// The program that made it.
    pub made_by: String,
    /// When.
    pub made_at: String,
    /// Whom or what it is about.
    pub about: About,
    /// What is proven, and what is not, in words.
    pub statement: Statement,
    /// Each event, in the order in which they were first received.
    pub events: Vec<EventTrace>,
    /// Events of the user or session that are left out for want of room.
    pub events_left_out: usize,
    /// The logs that the lines come from.
    pub logs: Vec<Checked>,
    /// Daemons that have said nothing.
    pub silent: Vec<Silent>,
    /// The lines themselves, by daemon and number.
    pub lines: Vec<Shown>,
}

/// What is proven, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// What lines say that are in the part of their log that was checked and holds.
    pub proven: Vec<String>,
    /// What is not proven, or missing: each with why.
    pub not_proven: Vec<String>,
    /// What no such document can prove.
    pub limits: Vec<String>,
}

/// A log, and what was found of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// The daemon that writes it.
    pub daemon: String,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Why it is believed to be this daemon's.
    pub vouched: Vouched,
    /// The pseudonyms of the user or session in it.
    pub pseudonyms: Vec<String>,
    /// What checking the whole of it has found; nothing if it could not be checked.
    pub verdict: Option<Verdict>,
    /// Why it could not be read or checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Lines about it that are not shown, for want of room.
    pub lines_left_out: u64,
    /// Lines that could not be read, and may be about it.
    pub lines_unreadable: u64,
}

/// One line as it stands in its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The daemon.
    pub daemon: String,
    /// Its number.
    pub seq: u64,
    /// Whether it is in the part of the log that was checked and holds.
    pub in_chain: bool,
    /// Its exact bytes.
    pub text: String,
}

impl Document {
    /// Makes the document of what the logs have. `now` is when it is made, and decides whether an effect has ended by
    /// itself; `made_by` names the program.
    #[must_use]
    pub fn of(
        about: About,
        logs: &[Log],
        silent: Vec<Silent>,
        now: UnixMicros,
        made_by: &str,
    ) -> Self {
        let daemons: Vec<Vec<Line<'_>>> = logs.iter().map(Line::all).collect();
        let (ids, events_left_out) = match &about {
            About::EventId(id) => (vec![id.clone()], 0),
            About::User(_) | About::Session(_) => events_of(logs, &daemons),
        };
        let trace = |id: &String| EventTrace::of(id, &daemons, now);
        let events: Vec<_> =
            ids.iter().map(trace).filter(|trace| !trace.daemons.is_empty()).collect();
        let mut document = Self {
            format: FORMAT,
            made_by: made_by.to_owned(),
            made_at: now.to_string(),
            statement: Statement::default(),
            events_left_out,
            logs: logs.iter().map(Checked::of).collect(),
            silent,
            lines: shown(&about, &daemons, &events),
            about,
            events,
        };
        document.statement = words::statement(&document, &daemons);
        document
    }

    /// Whether any event was found.
    #[must_use]
    pub fn knows_any(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether nothing is missing, and nothing in it is not proven.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.statement.not_proven.is_empty()
    }
}

impl Checked {
    fn of(log: &Log) -> Self {
        Self {
            daemon: log.daemon.clone(),
            region: log.region.clone(),
            vouched: log.vouched,
            pseudonyms: log.pseudonyms.clone(),
            verdict: log.verdict.clone(),
            failure: log.failure.clone(),
            lines_left_out: log.left_out,
            lines_unreadable: log.unreadable,
        }
    }
}

/// The events about whoever the pseudonyms stand for, in the order in which they were first received, and how many more
/// there are.
fn events_of(logs: &[Log], daemons: &[Vec<Line<'_>>]) -> (Vec<String>, usize) {
    let mut first: BTreeMap<String, (UnixMicros, u64)> = BTreeMap::new();
    for (log, lines) in logs.iter().zip(daemons) {
        let is_about = |line: &&Line<'_>| {
            let whom = line.text("user").or_else(|| line.text("session"));
            whom.is_some_and(|whom| log.pseudonyms.iter().any(|name| name == whom))
        };
        for line in lines.iter().filter(|line| line.kind == "event").filter(is_about) {
            if let Some(id) = line.owned("event_id") {
                let at = (line.noted, line.at.seq);
                first.entry(id).and_modify(|known| *known = at.min(*known)).or_insert(at);
            }
        }
    }
    let mut ids: Vec<_> = first.into_iter().map(|(id, at)| (at, id)).collect();
    ids.sort();
    let left_out = ids.len().saturating_sub(EVENTS_MAX);
    (ids.into_iter().take(EVENTS_MAX).map(|(_, id)| id).collect(), left_out)
}

/// The lines that the document shows: of one event not those about others, but about what has ended or overruled it.
fn shown(about: &About, daemons: &[Vec<Line<'_>>], events: &[EventTrace]) -> Vec<Shown> {
    let on = || events.iter().flat_map(|event| &event.daemons);
    let mut ids: BTreeSet<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
    ids.extend(on().filter_map(|on| on.ended.as_ref()?.event_id.as_deref()));
    let overruling = on().flat_map(|on| &on.received).flat_map(|one| &one.overruled_by);
    ids.extend(overruling.map(String::as_str));
    let is_shown = |line: &&Line<'_>| match about {
        About::User(_) | About::Session(_) => true,
        About::EventId(_) => {
            let of_the_log = OF_THE_LOG.contains(&line.kind.as_str()) || line.kind == "node";
            of_the_log || ids.iter().any(|id| line.names_event(id))
        }
    };
    let shown = |line: &Line<'_>| Shown {
        daemon: line.at.daemon.clone(),
        seq: line.at.seq,
        in_chain: line.at.in_chain,
        text: line.text.to_owned(),
    };
    daemons.iter().flatten().filter(is_shown).map(shown).collect()
}
