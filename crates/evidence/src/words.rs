//! What is proven, and what is not, in words. Nothing is called proven that is not in the part of a log that was checked
//! and holds.

use super::document::{About, Document, Statement};
use super::ends::How;
use super::line::{Line, LineRef};
use super::log::Vouched;
use super::nodes::{Enforced, NodeState};
use super::trace::{OnDaemon, Ordered, Received};

/// What no document of this kind proves.
const LIMITS: [&str; 4] = [
    "That what a daemon wrote is true: whoever has the key of its log, or controls the daemon or the clock of its host, \
     writes anything. Each time is by the clock of the daemon's host.",
    "That lines which were cut off at the end, together with the file `head`, were ever there: compare with a head that \
     was kept elsewhere (portcullis audit verify --expect-head).",
    "That requests which a gate had let pass before it enforced the event were stopped: they went on.",
    "That there are no other daemons and Envoys than those named here: who can write to Redis can hide one.",
];

/// Says a thing as proven, or as what an unchecked line says.
struct Sayer {
    statement: Statement,
}

impl Sayer {
    fn say(&mut self, line: &LineRef, what: String) {
        let place = format!("{} line {}", line.daemon, line.seq);
        match line.in_chain {
            true => self.statement.proven.push(format!("{what} ({place})")),
            false => {
                let why = "is not in the part of its log that was checked and holds";
                self.not(format!("{what}: {place} says so, and {why}"));
            }
        }
    }

    fn not(&mut self, what: String) {
        self.statement.not_proven.push(what);
    }
}

pub(crate) fn statement(document: &Document, daemons: &[Vec<Line<'_>>]) -> Statement {
    let limits = LIMITS.map(str::to_owned).to_vec();
    let mut sayer = Sayer { statement: Statement { limits, ..Statement::default() } };
    if document.events.is_empty() {
        sayer.not(nobody(&document.about));
    }
    for event in &document.events {
        for on in &event.daemons {
            on_daemon(&mut sayer, &event.event_id, event.ordered.as_ref(), on);
        }
        absent(&mut sayer, document, &event.event_id, &event.daemons);
    }
    if document.events_left_out > 0 {
        sayer
            .not(format!("{} more events are left out for want of room", document.events_left_out));
    }
    logs(&mut sayer, document);
    for lines in daemons {
        notes(&mut sayer, lines);
    }
    for silent in &document.silent {
        let envoys = match silent.envoys.as_slice() {
            [] => "its Envoys".to_owned(),
            envoys => format!("its Envoys ({})", envoys.join(", ")),
        };
        sayer.not(format!("What daemon {} and {envoys} did: {}", silent.daemon, silent.reason));
    }
    sayer.statement
}

fn nobody(about: &About) -> String {
    let why =
        "it was never received, or its lines are past the retention, or they are not in these logs";
    match about {
        About::EventId(id) => format!("No line names the event {id}: {why}"),
        About::User(_) | About::Session(_) => {
            "No line is about this id: no event has named it, or it was erased and its lines belong to nobody, or \
             they are past the retention; which of these cannot be told"
                .to_owned()
        }
    }
}

/// Daemons whose logs have nothing about an event that others have.
fn absent(sayer: &mut Sayer, document: &Document, event_id: &str, found: &[OnDaemon]) {
    for log in &document.logs {
        let has_it = found.iter().any(|on| on.daemon == log.daemon && !on.received.is_empty());
        if !has_it && log.failure.is_none() {
            sayer.not(format!("That daemon {} has received event {event_id}", log.daemon));
        }
    }
}

fn on_daemon(sayer: &mut Sayer, id: &str, ordered: Option<&Ordered>, on: &OnDaemon) {
    for one in &on.received {
        let said = received(id, ordered, on, one);
        sayer.say(&one.line, said);
    }
    for call in &on.asked {
        let (caller, role) = (call.caller.as_deref(), call.role.as_deref().unwrap_or("?"));
        let status = call.status.unwrap_or_default();
        let what = format!(
            "{}: a call with the credentials of {} ({role}) was about event {id}, and was answered {status}",
            call.at,
            caller.unwrap_or("nobody")
        );
        sayer.say(&call.line, what);
    }
    for node in &on.nodes {
        enforced(sayer, id, on, node);
    }
    if let Some(ended) = &on.ended {
        let by = ended.by.join(", ");
        let by = if by.is_empty() { "nobody that a line names".to_owned() } else { by };
        let event = ended.event_id.as_deref().unwrap_or_default();
        let what = match ended.how {
            How::Lifted => format!("{}: event {id} was lifted by event {event}, of {by}", ended.at),
            How::Replaced => {
                format!("{}: event {event}, of {by}, took the place of {id}", ended.at)
            }
            How::Expired => format!("{}: event {id} ended by itself", ended.at),
        };
        // By itself it ends as the line says that took it in.
        if let Some(line) = ended.line.as_ref().or(on.received.first().map(|one| &one.line)) {
            sayer.say(line, what);
        }
    }
}

fn received(id: &str, ordered: Option<&Ordered>, on: &OnDaemon, one: &Received) -> String {
    let what = ordered.map_or_else(String::new, |ordered| {
        let reason = ordered.reason.as_ref().map(|reason| format!(" for {reason}"));
        format!(" ({}{})", ordered.action, reason.unwrap_or_default())
    });
    let signed = match (one.signature.as_deref(), one.signed_by.as_deref()) {
        (_, Some(key)) => format!("its signature by the key {key} was verified"),
        (Some("missing"), None) => "it was not signed".to_owned(),
        (Some(found), None) => format!("its signature was not accepted: {found}"),
        (None, None) => "no signature was looked at".to_owned(),
    };
    let overruled = match one.overruled_by.as_slice() {
        [] => String::new(),
        ids => format!(", overruled by {}", ids.join(", ")),
    };
    let result = one.result.as_deref().unwrap_or("?");
    let source = one.source.as_deref().unwrap_or("?");
    format!(
        "{}: daemon {} received event {id}{what} from the source {source}: {result}{overruled}; {signed}",
        one.at, on.daemon
    )
}

fn enforced(sayer: &mut Sayer, id: &str, on: &OnDaemon, node: &Enforced) {
    let who = format!("Envoy {} (memory {})", node.node, node.boot_id);
    let at = node.at.as_deref().unwrap_or("?");
    // Who has rejected a request because of it has it, whatever it acknowledged.
    let has_rejected = node.first_rejection_line.as_ref().is_some_and(|line| line.in_chain);
    match (node.state, &node.line) {
        (NodeState::Enforced, Some(line)) => {
            let ms = node.ms.map(|ms| format!(", {ms:?} ms after its daemon had taken it in"));
            let ms = ms.unwrap_or_default();
            sayer.say(line, format!("{at}: {who} had acknowledged event {id}{ms}"));
        }
        (NodeState::Synchronized, Some(line)) => sayer.say(
            line,
            format!("{at}: {who} had acknowledged all that its daemon knew, event {id} among it"),
        ),
        (NodeState::Refused, _) => {
            let cause = node.cause.as_deref().unwrap_or("no cause is named");
            sayer.not(format!("That {who} of daemon {} enforced event {id}: {cause}", on.daemon));
        }
        _ if has_rejected => {}
        _ => sayer.not(format!(
            "That {who} of daemon {} enforced event {id}: no line says that it acknowledged it",
            on.daemon
        )),
    }
    // Where there is none, nobody need have asked.
    if let Some((first, line)) =
        node.first_rejection.as_ref().zip(node.first_rejection_line.as_ref())
    {
        let what = format!("{first}: {who} rejected the first request because of event {id}");
        sayer.say(line, what);
    }
}

/// What there is to say of the logs themselves.
fn logs(sayer: &mut Sayer, document: &Document) {
    for log in &document.logs {
        let daemon = &log.daemon;
        if let Some(failure) = &log.failure {
            sayer.not(format!("What the log of daemon {daemon} says: {failure}"));
        }
        if log.vouched == Vouched::Nobody {
            sayer.not(format!(
                "That daemon {daemon} has sent what stands here in its name: whoever can write to Redis could have \
                 made it, since the daemons share no key (fleet.pseudonym_key_file)"
            ));
        }
        if log.lines_left_out > 0 {
            let more = log.lines_left_out;
            sayer
                .not(format!("{more} more lines of daemon {daemon} are left out for want of room"));
        }
        if log.lines_unreadable > 0 {
            let lines = log.lines_unreadable;
            sayer.not(format!("What {lines} lines of daemon {daemon} say: they cannot be read"));
        }
        let Some(verdict) = &log.verdict else { continue };
        match &verdict.finding {
            Some(finding) => sayer.not(format!(
                "That the log of daemon {daemon} is whole: {finding}. What stands behind that place was not checked"
            )),
            None => {
                let head = verdict.head.as_deref().unwrap_or("no line");
                sayer.statement.proven.push(format!(
                    "The log of daemon {daemon} is whole from line {} to {head}: no line in it was changed, removed, \
                     repeated or moved by somebody without its key",
                    verdict.first.unwrap_or_default()
                ));
            }
        }
        if !verdict.is_keyed() {
            sayer.not(format!(
                "That nobody has written another log in the place of that of daemon {daemon}: it is sealed without a \
                 key (audit.key), so whoever can write its files could have"
            ));
        }
        if verdict.lost > 0 {
            let lost = verdict.lost;
            sayer.not(format!("What {lost} entries said that daemon {daemon} could not write"));
        }
    }
}

/// Lines about the log or its clock that whoever reads times has to know of.
fn notes(sayer: &mut Sayer, lines: &[Line<'_>]) {
    for line in lines {
        let (daemon, time) = (&line.at.daemon, &line.time);
        let what = match line.kind.as_str() {
            "clock" => {
                let jump = line.fields.get("jump_ms").map(ToString::to_string).unwrap_or_default();
                format!(
                    "That times of daemon {daemon} before and after {time} fit: its clock jumped by {jump} ms"
                )
            }
            "damaged" => {
                format!("That the log of daemon {daemon} was whole when it started at {time}")
            }
            "erase" => {
                let name = line.text("pseudonym").unwrap_or("nobody");
                format!(
                    "Whom {name} stands for: it belongs to nobody since {time}, when it was erased"
                )
            }
            _ => continue,
        };
        sayer.not(format!("{what} (line {})", line.at.seq));
    }
}
