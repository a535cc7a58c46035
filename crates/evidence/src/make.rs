//! Makes the document of what logs have.

use std::collections::{BTreeMap, BTreeSet};

use model::time::UnixMicros;

use super::document::{About, Checked, Document, Shown, Statement};
use super::line::Line;
use super::log::{Log, Silent};
use super::trace::EventTrace;
use super::words;

/// Version of the document's form.
const FORMAT: u32 = 1;
/// Most events of a user or session that are traced; the newest are left out.
const EVENTS_MAX: usize = 256;
/// Lines that say something of a log as a whole.
const OF_THE_LOG: [&str; 7] = ["start", "stop", "gap", "torn", "damaged", "clock", "erase"];

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
