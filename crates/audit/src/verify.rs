//! Checks the chain: finds the first line that was changed, is missing, stands twice or stands in
//! another place. Streams, in memory that does not grow with the log; the daemon may go on writing.
//!
//! What it cannot find: that lines at the end were cut off together with the head file, unless it
//! is given a head that was kept elsewhere.

use std::io;
use std::path::Path;

use super::directory::{self, Head, LogFile, Next};
pub use super::finding::{Fault, Finding, Place, Report};
use super::line::{Facts, Hash, Point, Seal};

/// How often the whole is begun again because a file was removed meanwhile.
const TRIES_MAX: usize = 3;

/// Checks the log in a directory, and that it holds the given line, if one is given.
///
/// # Errors
/// If the directory or a file cannot be read.
pub fn verify(directory: &Path, seal: &Seal, expected: Option<Point>) -> io::Result<Report> {
    verify_while(directory, seal, expected, &|| true)
}

/// The same for as long as somebody waits for it.
///
/// # Errors
/// If the directory or a file cannot be read, or `goes_on` says no ([`io::ErrorKind::TimedOut`]).
pub fn verify_while(
    directory: &Path,
    seal: &Seal,
    expected: Option<Point>,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Report> {
    let mut tries = 1;
    loop {
        match try_verify(directory, seal, expected, goes_on) {
            // Past its retention, and removed since the files were listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => {
                tries = tries.saturating_add(1);
            }
            done => return done,
        }
    }
}

fn try_verify(
    directory: &Path,
    seal: &Seal,
    expected: Option<Point>,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<Report> {
    // The head first: what is written while the files are read comes after it.
    let head = directory::read_head(directory, seal)?;
    let files = directory::list(directory)?;
    let mut checker = Checker::new(seal);
    checker.heads.extend(expected.map(|point| ("--expect-head", point)));
    if let Head::At(point) = head {
        checker.heads.push(("head", point));
    }
    for (index, file) in files.iter().enumerate() {
        checker.begin(file);
        let mut lines = directory::Lines::of(directory.join(&file.name))?;
        let is_last = index.saturating_add(1) == files.len();
        while checker.goes_on {
            if !goes_on() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match lines.read()? {
                Next::Line(line) => checker.line(line),
                Next::Rest(rest) if is_last => checker.rest(rest),
                Next::Rest(rest) => checker.line(rest),
                Next::End => break,
            }
        }
    }
    let mut report = checker.finish();
    report.files = files.len();
    let place = || Place { file: "head".to_owned(), line: 1 };
    let fault = match (head, expected) {
        (Head::Changed, _) => Some((Fault::Changed, "the head file is not what was written")),
        (Head::Absent, None) => Some((
            Fault::Missing,
            "there is no head file: nothing tells whether lines are missing at the end",
        )),
        _ => None,
    };
    if let (None, Some((fault, detail))) = (&report.finding, fault) {
        let seq = report.last.map_or(0, |last| last.seq);
        let detail = detail.to_owned();
        report.finding = Some(Finding { fault, place: place(), seq, detail });
    }
    Ok(report)
}

/// A hole in the chain, while the rest is looked through for the line that should be there.
#[derive(Debug)]
struct Hole {
    place: Place,
    /// The line that should stand there.
    seq: u64,
    /// The line that does.
    found: u64,
}

/// Follows the chain, line by line.
#[derive(Debug)]
struct Checker<'a> {
    seal: &'a Seal,
    /// Lines that have to be there, and who says so.
    heads: Vec<(&'static str, Point)>,
    report: Report,
    /// Where the line being read stands.
    place: Place,
    /// Where the line before stands.
    before: Place,
    /// The number that the next line has to have.
    next: Option<u64>,
    /// The hash that it has to name; nothing if the lines before were removed.
    prev: Option<Hash>,
    /// What the first line says comes before it, until a line says that this was removed.
    unexplained: Option<Point>,
    hole: Option<Hole>,
    goes_on: bool,
}

impl<'a> Checker<'a> {
    fn new(seal: &'a Seal) -> Self {
        Self {
            seal,
            heads: Vec::new(),
            report: Report::default(),
            place: Place::default(),
            before: Place::default(),
            next: None,
            prev: None,
            unexplained: None,
            hole: None,
            goes_on: true,
        }
    }

    fn begin(&mut self, file: &LogFile) {
        self.place = Place { file: file.name.clone(), line: 0 };
        if self.next.is_none() {
            self.next = Some(file.first);
            self.prev = (file.first == 1).then_some(Hash::ZERO);
        }
    }

    fn found(&mut self, fault: Fault, place: Place, seq: u64, detail: impl Into<String>) {
        self.report.finding = Some(Finding { fault, place, seq, detail: detail.into() });
        self.goes_on = false;
    }

    /// What stands after the last line break of the last file: being written, or torn by a crash.
    fn rest(&mut self, rest: &[u8]) {
        if self.seal.check(rest).is_some() {
            self.line(rest);
        } else {
            self.report.incomplete = true;
            self.goes_on = false;
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.place.line = self.place.line.saturating_add(1);
        self.report.lines = self.report.lines.saturating_add(1);
        let next = self.next.unwrap_or(1);
        let sealed = self.seal.check(line).zip(Facts::of(line));
        match (sealed, &self.hole) {
            (Some((hash, facts)), None) => self.follow(next, hash, &facts),
            (Some((_, facts)), Some(hole)) if facts.seq == hole.seq => {
                let (place, seq) = (hole.place.clone(), hole.found);
                let detail =
                    format!("stands where {} belongs, which stands at {}", hole.seq, self.place);
                self.found(Fault::Reordered, place, seq, detail);
            }
            (_, Some(_)) => {}
            (None, None) => {
                let detail = self.why_changed(line);
                self.found(Fault::Changed, self.place.clone(), next, detail);
            }
        }
    }

    /// One more line of the chain, sealed as it should be.
    fn follow(&mut self, next: u64, hash: Hash, facts: &Facts<'_>) {
        let (place, seq) = (self.place.clone(), facts.seq);
        if seq > next {
            self.hole = Some(Hole { place, seq: next, found: seq });
            return;
        }
        if seq < next {
            let (fault, detail) = match self.report.first {
                Some(first) if seq >= first => (Fault::Duplicated, "stands a second time"),
                _ => (Fault::Reordered, "belongs before the first line"),
            };
            return self.found(fault, place, seq, detail);
        }
        if self.prev.is_some_and(|prev| prev != facts.prev) {
            if self.report.first.is_none() {
                let detail = "the first line names a line before it";
                return self.found(Fault::Changed, place, seq, detail);
            }
            let detail =
                format!("it is not the line that the next one, at {place}, was written after");
            return self.found(Fault::Changed, self.before.clone(), seq.saturating_sub(1), detail);
        }
        if let Some((who, _)) = self.heads.iter().find(|(_, p)| p.seq == seq && p.hash != hash) {
            let detail = format!("{who} names another line with this number");
            return self.found(Fault::Changed, place, seq, detail);
        }
        if self.report.first.is_none() {
            let before = Point { seq: seq.saturating_sub(1), hash: facts.prev };
            let other = |(_, p): &&(_, Point)| p.seq == before.seq && *p != before;
            if let Some((who, _)) = self.heads.iter().find(other) {
                let detail = format!("{who} names another line before this one");
                return self.found(Fault::Changed, place, seq, detail);
            }
            self.report.first = Some(seq);
            self.unexplained = (before.seq > 0).then_some(before);
        }
        self.note(facts);
        self.report.last = Some(Point { seq, hash });
        self.prev = Some(hash);
        self.next = Some(seq.saturating_add(1));
        self.before = place;
    }

    fn note(&mut self, facts: &Facts<'_>) {
        match &*facts.kind {
            "removed" => {
                let removed = facts.through.zip(facts.through_hash);
                let removed = removed.map(|(seq, hash)| Point { seq, hash });
                self.unexplained = self.unexplained.filter(|before| Some(*before) != removed);
            }
            "gap" => {
                self.report.lost = self.report.lost.saturating_add(facts.lines.unwrap_or(0));
            }
            "torn" => self.report.torn = self.report.torn.saturating_add(1),
            _ => {}
        }
    }

    /// A line that has to be there, and that the log begins after: without a key, whoever can write
    /// the files can also write that what came before was removed.
    fn head_before_the_first(&self) -> Option<(Place, u64, String)> {
        let first = self.report.first?;
        let is_before = |(_, point): &&(_, Point)| point.seq.saturating_add(1) < first;
        let (who, point) = self.heads.iter().find(is_before)?;
        let place = Place { file: LogFile::beginning_with(first).name, line: 1 };
        Some((place, point.seq, format!("{who} names this line, and the log begins with {first}")))
    }

    fn why_changed(&self, line: &[u8]) -> String {
        let other = Facts::of(line).and_then(|facts| facts.seal.map(|seal| seal.into_owned()));
        match other.filter(|seal| *seal != self.seal.name()) {
            Some(seal) => {
                format!("the file is sealed with {seal}, and was checked with {}", self.seal.name())
            }
            None => "its bytes are not those that were sealed".to_owned(),
        }
    }

    fn finish(mut self) -> Report {
        if self.report.finding.is_some() {
            return self.report;
        }
        if let Some(Hole { place, seq, found }) = self.hole.take() {
            let detail = match found.saturating_sub(seq) {
                0 | 1 => format!("{found} stands where it belongs"),
                count => format!("and {} more: {found} stands there", count.saturating_sub(1)),
            };
            self.found(Fault::Missing, place, seq, detail);
        } else if let Some(before) = self.unexplained {
            let file = LogFile::beginning_with(before.seq.saturating_add(1)).name;
            let detail =
                "lines up to this one are not there, and no line says that they were removed";
            self.found(Fault::Missing, Place { file, line: 1 }, before.seq, detail);
        } else if let Some((place, seq, detail)) = self.head_before_the_first() {
            self.found(Fault::Missing, place, seq, detail);
        } else {
            let last = self.report.last.map_or(0, |last| last.seq);
            let cut = self.heads.iter().find(|(_, point)| point.seq > last);
            if let Some((who, point)) = cut {
                let detail = format!("the log ends here, and {who} names line {}", point.seq);
                let place = self.place.clone();
                self.found(Fault::Missing, place, last.saturating_add(1), detail);
            }
        }
        self.report
    }
}
