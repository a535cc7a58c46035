//! Finds where the log ended, after a crash too. Nothing is thrown away in silence: whatever is
//! not as it was written becomes a line.

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::time::UnixMicros;
use thiserror::Error;

use super::directory::{self, Head, Lines, LogFile, Next};
use super::entry::Fact;
use super::line::{FORMAT, Facts, Hash, Point, Seal};

/// Why the log cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory or a file in it.
    #[error("audit.directory: cannot use {}: {}", .0.display(), .1)]
    Cannot(PathBuf, io::Error),
    /// Two writers would tear the chain apart.
    #[error("audit.directory: {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The key is another one than that of the log.
    #[error(
        "audit.key: {file} is sealed with {found}, and the configuration has {configured}: put the \
         key back, or set audit.directory to a new directory"
    )]
    OtherKey {
        /// The file.
        file: String,
        /// What it is sealed with.
        found: String,
        /// What the configuration says.
        configured: String,
    },
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The last line.
    pub(super) last: Point,
    /// The file to go on with; nothing to begin a new one.
    pub(super) file: Option<LogFile>,
    /// The file before that.
    pub(super) after: Option<String>,
    /// Why a new file is begun, if one is.
    pub(super) cause: &'static str,
    /// When the first line of the file to go on with was noted.
    pub(super) begun: Option<UnixMicros>,
    /// What has to be noted.
    pub(super) notes: Vec<Fact>,
}

/// Reads the last file that has a line, cuts off a last line that is incomplete, and compares with
/// the head.
pub(super) fn recover(directory: &Path, seal: &Seal) -> Result<Recovered, OpenError> {
    let cannot = |cause| OpenError::Cannot(directory.to_owned(), cause);
    let files = directory::list(directory).map_err(cannot)?;
    let head = directory::read_head(directory, seal).map_err(cannot)?;
    let mut end = None;
    let mut notes = Vec::new();
    let mut newer: Option<&LogFile> = None;
    for file in files.iter().rev() {
        let scan = Scan::of(directory, file, seal).map_err(cannot)?;
        if let Some(found) = scan.other_seal {
            let configured = seal.name();
            return Err(OpenError::OtherKey { file: file.name.clone(), found, configured });
        }
        // Behind a line that is not what was written nothing is touched.
        if scan.rest > 0 && !scan.broken {
            cut(&directory.join(&file.name), &scan).map_err(cannot)?;
            notes.extend((!scan.rest_is_line).then(|| {
                let file = file.name.clone();
                Fact::Torn { file, bytes: scan.rest }
            }));
        }
        if scan.last.is_some() || scan.broken {
            end = Some((file, scan));
            break;
        }
        // A file that was just begun: its first line never got there.
        newer = Some(file);
    }
    let (mut last, mut broken, mut begun) = (Point::START, false, None);
    let mut is_of_other_format = false;
    let before = end.as_ref().map(|(file, _)| (*file).clone());
    if let Some((file, scan)) = end {
        last = scan.last.unwrap_or(Point { seq: file.first.saturating_sub(1), hash: Hash::ZERO });
        (broken, begun) = (scan.broken, scan.begun);
        is_of_other_format = scan.format != Some(FORMAT);
        if let Some(at) = scan.broken_at {
            let cause = format!("{}:{at} is not what was written", file.name);
            notes.push(Fact::Damaged { cause });
        }
    }
    match head {
        Head::At(point) if point.seq > last.seq => {
            let cause = format!(
                "the log ended at line {}, and the head names line {}",
                last.seq, point.seq
            );
            notes.push(Fact::Damaged { cause });
            last = point;
            broken = true;
        }
        Head::Changed => {
            let cause = "the head file is not what was written".to_owned();
            notes.push(Fact::Damaged { cause });
        }
        Head::Absent if before.is_some() => {
            notes.push(Fact::Damaged { cause: "there is no head file".to_owned() });
        }
        Head::At(_) | Head::Absent => {}
    }
    // Behind a break the chain goes on in a file of its own, so that it is easy to find.
    // Each file has lines of one format.
    let begins_anew = broken || newer.is_some() || is_of_other_format;
    let before_name = before.as_ref().map(|file| file.name.clone());
    let after = before_name.clone().filter(|_| begins_anew);
    let file = before.filter(|_| !begins_anew);
    let cause = match (&before_name, broken) {
        (_, true) => "damaged",
        (Some(_), false) if is_of_other_format => "format",
        (Some(_), false) => "restart",
        (None, false) => "first",
    };
    Ok(Recovered { last, file, after, cause, begun, notes })
}

/// Takes away what stands behind the last line break, or completes it if only that is missing.
fn cut(path: &Path, scan: &Scan) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if scan.rest_is_line {
        file.seek(SeekFrom::End(0))?;
        file.write_all(b"\n")?;
    } else {
        file.set_len(scan.length)?;
    }
    file.sync_all()
}

/// One file, read to its end.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The line with the highest number of those that are what was written.
    pub(super) last: Option<Point>,
    begun: Option<UnixMicros>,
    /// Which version of the format the file says its lines are of.
    format: Option<u32>,
    /// Whole lines, in bytes.
    length: u64,
    /// What stands behind them, in bytes.
    rest: u64,
    /// That is a whole line but for its line break.
    rest_is_line: bool,
    pub(super) broken: bool,
    /// The first line that is not what was written, from 1.
    broken_at: Option<u64>,
    /// What the file says it is sealed with, if that is not the seal at hand.
    other_seal: Option<String>,
}

impl Scan {
    pub(super) fn of(directory: &Path, file: &LogFile, seal: &Seal) -> io::Result<Self> {
        let mut scan = Self::default();
        let mut lines = Lines::of(directory.join(&file.name))?;
        let (mut number, mut prev) = (0_u64, None);
        loop {
            match lines.read()? {
                Next::Line(line) => {
                    number = number.saturating_add(1);
                    let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
                    scan.length = scan.length.saturating_add(bytes).saturating_add(1);
                    scan.line(line, number, &mut prev, seal);
                }
                Next::Rest(rest) => {
                    let bytes = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                    // Too long for one line: there is more, and none of it is a line.
                    scan.rest = scan.rest.saturating_add(bytes);
                    scan.rest_is_line = seal.check(rest).is_some();
                    if scan.rest_is_line {
                        scan.line(rest, number.saturating_add(1), &mut prev, seal);
                    }
                }
                Next::End => return Ok(scan),
            }
        }
    }

    fn line(&mut self, line: &[u8], number: u64, prev: &mut Option<Hash>, seal: &Seal) {
        let facts = Facts::of(line);
        let Some((hash, facts)) = seal.check(line).zip(facts.as_ref()) else {
            let named = facts.and_then(|facts| facts.seal);
            let named = named.filter(|name| number == 1 && *name != seal.name());
            self.other_seal = self.other_seal.take().or(named.map(|name| name.into_owned()));
            self.broken = true;
            self.broken_at.get_or_insert(number);
            return;
        };
        if number == 1 {
            self.begun = facts.at();
            self.format = facts.format;
        }
        if prev.replace(hash).is_some_and(|prev| prev != facts.prev) {
            self.broken = true;
            self.broken_at.get_or_insert(number);
        }
        if self.last.is_none_or(|last| facts.seq > last.seq) {
            self.last = Some(Point { seq: facts.seq, hash });
        }
    }
}
