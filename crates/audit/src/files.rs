//! Writes lines to the files of the log: numbers and seals them, begins new files, removes old
//! ones. Does what it is told in the caller's thread; when to do what is decided in the writer.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use disk::Anchor;
use model::time::UnixMicros;
use serde::Serialize;

use super::current::Current;
use super::directory::{self, Lines, LogFile, Next};
use super::entry::{Fact, FileStart, RemovedFact};
use super::line::{FORMAT, Facts, Hash, Point, Seal};
use super::recover::{self, OpenError, Recovered};

/// Most names of removed files in one line.
const REMOVED_NAMES_MAX: usize = 64;

/// How the files are kept.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    /// Where they are.
    pub(super) directory: PathBuf,
    /// Size from which on a new file is begun, in bytes.
    pub(super) rotate_bytes: u64,
    /// Age of its first line from which on a new file is begun.
    pub(super) rotate_age: Duration,
    /// How long after its last line a file is kept.
    pub(super) retention: Duration,
    /// Whether what was written is to survive a power cut at all.
    pub(super) durable: bool,
}

/// An entry that is ready to be written.
#[derive(Debug)]
pub(super) struct Ready {
    /// When it was noted.
    pub(super) at: UnixMicros,
    /// `user` or `session`, and the pseudonym.
    pub(super) about: Option<(&'static str, String)>,
    /// What happened.
    pub(super) fact: Fact,
}

/// A line as it is written.
#[derive(Serialize)]
struct Written<'a> {
    seq: u64,
    time: String,
    #[serde(flatten)]
    fact: &'a Fact,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    prev: Hash,
}

/// The files, and where the chain stands.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) keeping: Keeping,
    seal: Seal,
    pub(super) current: Option<Current>,
    /// The file before the current one.
    after: Option<String>,
    last: Point,
    /// The last line that is on disk as far as anyone can know.
    synced: Point,
    /// There may be a part of a batch behind the last whole line.
    is_torn: bool,
    /// Why the next file is begun.
    cause: &'static str,
    /// Held as long as this lives, and what its name has to name.
    pub(super) lock: (File, Anchor),
}

impl Files {
    /// Opens the log where it ended, and says what has to be noted about that end.
    ///
    /// # Errors
    /// If another process writes, the key is not the log's, or the files cannot be read.
    pub(super) fn open(keeping: Keeping, seal: Seal) -> Result<(Self, Vec<Fact>), OpenError> {
        let cannot = |cause| OpenError::Cannot(keeping.directory.clone(), cause);
        directory::create(&keeping.directory).map_err(cannot)?;
        let lock = directory::lock(&keeping.directory).map_err(cannot)?;
        let lock = lock.ok_or_else(|| OpenError::InUse(keeping.directory.clone()))?;
        let Recovered { last, file, after, cause, begun, notes } =
            recover::recover(&keeping.directory, &seal)?;
        let current = match file {
            Some(log) => {
                let (file, length) =
                    directory::open_to_append(&keeping.directory, &log).map_err(cannot)?;
                let anchor = Anchor::of(&keeping.directory.join(&log.name)).map_err(cannot)?;
                Some(Current::new(file, anchor, log, length, begun))
            }
            None => None,
        };
        let lock_anchor = Anchor::of(&directory::lock_path(&keeping.directory)).map_err(cannot)?;
        let files = Self {
            keeping,
            seal,
            current,
            after,
            last,
            synced: last,
            is_torn: false,
            cause,
            lock: (lock, lock_anchor),
        };
        Ok((files, notes))
    }

    /// The last line.
    #[must_use]
    pub(super) fn last(&self) -> Point {
        self.last
    }

    /// Appends entries, all or none, and gives the number of bytes. A new file is begun before
    /// if it is time.
    ///
    /// # Errors
    /// If they cannot be written; the log is as before then, and they can be tried again.
    pub(super) fn append(&mut self, entries: &[Ready], now: UnixMicros) -> io::Result<u64> {
        self.rotate_if_due(now)?;
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        let current = self.current.insert(current);
        if self.is_torn {
            current.file.set_len(current.length)?;
            self.is_torn = false;
        }
        let mut bytes = Vec::new();
        let mut last = self.last;
        if current.length == 0 {
            let fact = Fact::File(FileStart {
                format: FORMAT,
                seal: self.seal.name(),
                after: self.after.clone(),
                cause: self.cause,
            });
            let first = Ready { at: now, about: None, fact };
            last = write(&self.seal, last, &first, &mut bytes)?;
        }
        for entry in entries {
            last = write(&self.seal, last, entry, &mut bytes)?;
        }
        if let Err(error) = current.file.write_all(&bytes) {
            // Undone at once if that is possible, else before the next attempt.
            self.is_torn = current.file.set_len(current.length).is_err();
            return Err(error);
        }
        let written = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        current.length = current.length.saturating_add(written);
        current.begun.get_or_insert(now);
        self.last = last;
        Ok(written)
    }

    fn rotate_if_due(&mut self, now: UnixMicros) -> io::Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let is_large = current.length >= self.keeping.rotate_bytes;
        let age = current.begun.map_or(Duration::ZERO, |begun| now.since(begun));
        if current.length == 0 || !(is_large || age >= self.keeping.rotate_age) {
            return Ok(());
        }
        // What the new file builds upon has to be there, whatever happens to the new file.
        self.sync()?;
        self.after = self.current.take().map(|current| current.log.name);
        self.cause = if is_large { "size" } else { "age" };
        Ok(())
    }

    fn begin(&mut self) -> io::Result<Current> {
        let log = LogFile::beginning_with(self.last.seq.saturating_add(1));
        let (file, length) = directory::open_to_append(&self.keeping.directory, &log)?;
        if length > 0 {
            // Nothing but an attempt that was broken off can stand there.
            file.set_len(0)?;
        }
        if self.keeping.durable {
            directory::sync(&self.keeping.directory)?;
        }
        let anchor = Anchor::of(&self.keeping.directory.join(&log.name))?;
        Ok(Current::new(file, anchor, log, 0, None))
    }

    /// Whether lines were written since the last [`Files::sync`].
    #[must_use]
    pub(super) fn is_dirty(&self) -> bool {
        self.synced != self.last
    }

    /// Puts on disk what was written, unless that is not wanted.
    ///
    /// # Errors
    /// If that cannot be done.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.as_mut().filter(|_| self.keeping.durable) {
            current.sync(&self.keeping.directory, &self.seal, self.last)?;
        }
        self.synced = self.last;
        Ok(())
    }

    /// Replaces the head: it names the last line that [`Files::sync`] has put on disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_head(&self, now: UnixMicros) -> io::Result<Point> {
        let Keeping { directory, durable, .. } = &self.keeping;
        directory::write_head(directory, &self.seal, self.synced, now, *durable)?;
        Ok(self.synced)
    }

    /// The files of which every line is past its retention, as the line that has to be written and
    /// synced before [`Files::remove`]; the current file is none of them.
    ///
    /// # Errors
    /// If the files cannot be read.
    pub(super) fn past_retention(&self, now: UnixMicros) -> io::Result<Option<RemovedFact>> {
        let files = directory::list(&self.keeping.directory)?;
        let mut past: Option<RemovedFact> = None;
        for (file, next) in files.iter().zip(files.iter().skip(1)) {
            // The next one's first line is younger than all lines of this one.
            let Some((at, prev)) = self.first_line(next)? else { break };
            if now.since(at) < self.keeping.retention {
                break;
            }
            let through = next.first.saturating_sub(1);
            let past = past.get_or_insert(RemovedFact {
                files: Vec::new(),
                count: 0,
                through,
                through_hash: prev,
            });
            (past.through, past.through_hash) = (through, prev);
            past.count = past.count.saturating_add(1);
            if past.files.len() < REMOVED_NAMES_MAX {
                past.files.push(file.name.clone());
            }
        }
        Ok(past)
    }

    /// The time of a file's first line, and the hash of the line before.
    fn first_line(&self, file: &LogFile) -> io::Result<Option<(UnixMicros, Hash)>> {
        let mut lines = Lines::of(self.keeping.directory.join(&file.name))?;
        let Next::Line(line) = lines.read()? else { return Ok(None) };
        let facts = Facts::of(line).filter(|facts| facts.seq == file.first);
        let facts = facts.filter(|_| self.seal.check(line).is_some());
        Ok(facts.and_then(|facts| Some((facts.at()?, facts.prev))))
    }

    /// Removes the files up to a line.
    ///
    /// # Errors
    /// If one cannot be removed; the others before it are.
    pub(super) fn remove(&self, through: u64) -> io::Result<()> {
        let files = directory::list(&self.keeping.directory)?;
        for (file, next) in files.iter().zip(files.iter().skip(1)) {
            if next.first <= through.saturating_add(1) {
                fs::remove_file(self.keeping.directory.join(&file.name))?;
            }
        }
        Ok(())
    }
}

fn write(seal: &Seal, last: Point, entry: &Ready, out: &mut Vec<u8>) -> io::Result<Point> {
    let about = |kind| entry.about.as_ref().filter(|(of, _)| *of == kind).map(|(_, name)| &**name);
    let line = Written {
        seq: last.seq.saturating_add(1),
        time: entry.at.to_string(),
        fact: &entry.fact,
        user: about("user"),
        session: about("session"),
        prev: last.hash,
    };
    let object = serde_json::to_string(&line)?;
    Ok(Point { seq: line.seq, hash: seal.write(object, out) })
}
