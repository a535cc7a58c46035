//! Reads an audit log for what is asked: its lines, and whether it is whole. Reads files, in the caller's thread: not for
//! async code.

use std::io;
use std::path::Path;

use audit::line::Seal;
use audit::search::{Found, FoundLine, Room, Wanted, search};
use audit::verify::{Report, verify_while};
use evidence::{Log, LogLine, Verdict, Vouched};

use super::Question;
use crate::fence::Called;

/// How much is taken of a log that is read here.
pub const ROOM_HERE: Room = Room { lines: 16_384, bytes: 4 * 1024 * 1024 };
/// How much of it a daemon sends to another.
pub const ROOM_SENT: Room = Room { lines: 2_048, bytes: 192 * 1024 };

/// A log, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directory of its files.
    pub directory: &'a Path,
    /// What its lines are sealed with.
    pub seal: &'a Seal,
    /// How its daemon is called.
    pub called: &'a Called,
}

/// What a log has about a question; `pseudonyms` are those of whom it asks about. What cannot be read is said in it.
#[must_use]
pub fn read(
    place: Place<'_>,
    question: &Question,
    pseudonyms: Vec<String>,
    room: Room,
    goes_on: &dyn Fn() -> bool,
) -> Log {
    let Place { directory, seal, called } = place;
    let mut log = Log {
        daemon: called.name.clone(),
        region: called.region.clone(),
        pseudonyms,
        vouched: Vouched::Files,
        ..Log::default()
    };
    // The lines first: so all of them are among those that are checked.
    let looked = search(directory, seal, &wanted(question, &log.pseudonyms), room, goes_on);
    let checked = looked.and_then(|found| {
        fill(&mut log, found);
        verify_while(directory, seal, None, goes_on)
    });
    match checked {
        Ok(report) => log.verdict = Some(verdict(&report, seal)),
        Err(cause) => log.failure = Some(failure(&cause)),
    }
    log
}

fn wanted(question: &Question, pseudonyms: &[String]) -> Wanted {
    let names = question.subject().map_or_else(Vec::new, |subject| {
        let kind = subject.kind_name();
        pseudonyms.iter().map(|name| (kind.to_owned(), name.clone())).collect()
    });
    let event_id = match question {
        Question::Event(id) => Some(id.to_string()),
        Question::Subject(_) => None,
    };
    Wanted { names, event_id }
}

fn fill(log: &mut Log, found: Found) {
    let Found { lines, left_out, unreadable, names } = found;
    let line = |line: FoundLine| LogLine { text: line.text, is_sealed: line.is_sealed };
    log.lines = lines.into_iter().map(line).collect();
    (log.left_out, log.unreadable) = (left_out, unreadable);
    if log.pseudonyms.is_empty() {
        log.pseudonyms = names.into_iter().map(|(_, name)| name).collect();
    }
}

fn verdict(report: &Report, seal: &Seal) -> Verdict {
    Verdict {
        intact: report.finding.is_none(),
        finding: report.finding.as_ref().map(ToString::to_string),
        first: report.first,
        last: report.last.map(|last| last.seq),
        head: report.last.map(|last| last.to_string()),
        lines: report.lines,
        files: u64::try_from(report.files).unwrap_or(u64::MAX),
        lost: report.lost,
        incomplete: report.incomplete,
        seal: seal.name(),
    }
}

fn failure(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::TimedOut => "it could not be read and checked in time".to_owned(),
        _ => format!("it cannot be read: {cause}"),
    }
}
