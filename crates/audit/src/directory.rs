//! The directory of the log: which files there are, the head beside them, and who may write.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::time::UnixMicros;
use serde_json::json;

use super::line::{Facts, LINE_BYTES_MAX, Point, Seal};

/// Most files that are looked at; with hourly rotation and the longest retention there are fewer.
const FILES_MAX: usize = 200_000;
/// Permissions of the directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Permissions of the files in it.
const FILE_MODE: u32 = 0o600;
const HEAD: &str = "head";
const HEAD_DRAFT: &str = "head.new";
pub(super) const LOCK: &str = "lock";

/// What is in the directory besides the files of the log.
pub const BESIDE: [&str; 2] = [HEAD, LOCK];

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    /// Number of its first line, by its name.
    pub first: u64,
    /// Its name.
    pub name: String,
}

impl LogFile {
    /// The file that begins with a line. Digits enough that names sort as numbers do.
    #[must_use]
    pub fn beginning_with(first: u64) -> Self {
        Self { first, name: format!("audit-{first:012}.jsonl") }
    }

    fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
        let file = Self::beginning_with(digits.parse().ok()?);
        (file.name == name).then_some(file)
    }
}

/// The files of the log, oldest first.
///
/// # Errors
/// If the directory cannot be read, or holds more files than a log can have.
pub fn list(directory: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        files.extend(entry?.file_name().to_str().and_then(LogFile::parse));
        if files.len() > FILES_MAX {
            return Err(io::Error::other(format!("holds more than {FILES_MAX} audit files")));
        }
    }
    files.sort();
    Ok(files)
}

/// Makes the directory if there is none. What is in it is for its owner only.
///
/// # Errors
/// If it cannot be made.
pub(super) fn create(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)
}

/// Keeps every other writer out for as long as the answer lives; nothing if another one is in.
///
/// # Errors
/// If the lock file cannot be made.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(FILE_MODE).open(lock_path(directory))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Where the lock is.
pub(super) fn lock_path(directory: &Path) -> PathBuf {
    directory.join(LOCK)
}

/// Opens a file to append to, and its length.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn open_to_append(directory: &Path, file: &LogFile) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let path = directory.join(&file.name);
    let file = options.create(true).append(true).read(true).mode(FILE_MODE).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Makes sure that the names in the directory are on disk.
///
/// # Errors
/// If that cannot be done.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Replaces the head: the newest line that is certainly in the files.
///
/// # Errors
/// If it cannot be written; the one before is still there then.
pub(super) fn write_head(
    directory: &Path,
    seal: &Seal,
    head: Point,
    now: UnixMicros,
    durably: bool,
) -> io::Result<()> {
    let object = json!({
        "seq": head.seq, "time": now.to_string(), "kind": "head", "prev": head.hash,
    });
    let mut line = Vec::new();
    seal.write(object.to_string(), &mut line);
    let draft = directory.join(HEAD_DRAFT);
    let mut options = OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(FILE_MODE).open(&draft)?;
    file.write_all(&line)?;
    if durably {
        file.sync_all()?;
    }
    fs::rename(draft, directory.join(HEAD))
}

/// What the head file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// There is none.
    Absent,
    /// Its seal does not hold.
    Changed,
    /// This line was in the files.
    At(Point),
}

/// Reads the head.
///
/// # Errors
/// If there is a file that cannot be read.
pub(super) fn read_head(directory: &Path, seal: &Seal) -> io::Result<Head> {
    let file = match File::open(directory.join(HEAD)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Absent),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    file.take(bytes_max()).read_to_end(&mut line)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let facts = Facts::of(line).filter(|facts| facts.kind == "head" && seal.check(line).is_some());
    let head = facts.map(|facts| Head::At(Point { seq: facts.seq, hash: facts.prev }));
    Ok(head.unwrap_or(Head::Changed))
}

/// Reads a file line by line, in bounded memory.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
}

/// One line as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole line, without its line break.
    Line(&'a [u8]),
    /// What stands after the last line break, or too much for one line.
    Rest(&'a [u8]),
    /// There is nothing more.
    End,
}

impl Lines {
    /// From the beginning of a file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn of(path: PathBuf) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), line: Vec::new() })
    }

    /// The next line.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&mut self) -> io::Result<Next<'_>> {
        self.line.clear();
        (&mut self.reader).take(bytes_max()).read_until(b'\n', &mut self.line)?;
        Ok(match self.line.strip_suffix(b"\n") {
            Some(line) => Next::Line(line),
            None if self.line.is_empty() => Next::End,
            None => Next::Rest(&self.line),
        })
    }
}

/// A line of the greatest length, and its line break.
fn bytes_max() -> u64 {
    u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_by_number_and_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["head", "audit-1.jsonl", "audit-x.jsonl", "notes.txt"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        for first in [1_000_000_000_000, 5, 40] {
            fs::write(directory.path().join(LogFile::beginning_with(first).name), "").unwrap();
        }
        let firsts: Vec<_> = list(directory.path()).unwrap().iter().map(|f| f.first).collect();
        assert_eq!(firsts, [5, 40, 1_000_000_000_000]);
    }

    #[test]
    fn a_head_is_read_back_unless_it_was_changed_or_is_of_another_key() {
        let directory = tempfile::tempdir().unwrap();
        let (path, seal) = (directory.path(), Seal::new(Some(&"0123456789abcdef".into())));
        assert_eq!(read_head(path, &seal).unwrap(), Head::Absent);
        let point = Point { seq: 7, hash: seal.hash(b"x") };
        write_head(path, &seal, point, UnixMicros(1), true).unwrap();
        assert_eq!(read_head(path, &seal).unwrap(), Head::At(point));
        assert_eq!(read_head(path, &Seal::new(None)).unwrap(), Head::Changed);
        let text = fs::read_to_string(path.join(HEAD)).unwrap().replace("\"seq\":7", "\"seq\":6");
        fs::write(path.join(HEAD), text).unwrap();
        assert_eq!(read_head(path, &seal).unwrap(), Head::Changed);
    }

    #[test]
    fn only_one_may_write() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path()).unwrap().unwrap();
        assert!(lock(directory.path()).unwrap().is_none());
        drop(held);
        assert!(lock(directory.path()).unwrap().is_some());
    }
}
