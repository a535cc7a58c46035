//! A small file beside the store, which says that the directory is in use, how often the store had
//! committed at least, and when the sources were last known to work.
//!
//! It is written in place and without fsync: after a power cut it may be older than the store,
//! which is harmless. It is never newer, so a store with fewer commits has lost some.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use model::time::UnixMicros;

const HEAD: &str = "portcullis: this directory holds a state store";

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Commits that the store has made, at least.
    pub(super) commits: u64,
    /// When every source was known to work; 0: never.
    pub(super) sources_alive: UnixMicros,
}

impl Mark {
    fn text(self) -> String {
        let Self { commits, sources_alive } = self;
        let body = format!("{HEAD}\n{commits:020} {:020}", sources_alive.0);
        format!("{body} {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    /// Nothing if the text is not one that was written: what it said is unknown then.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix(HEAD)?.split_ascii_whitespace();
        let commits = numbers.next()?.parse().ok()?;
        let mark = Self { commits, sources_alive: UnixMicros(numbers.next()?.parse().ok()?) };
        (mark.text() == text).then_some(mark)
    }

    /// What the file says, if there is one; all zero if it cannot be understood.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).ok();
                Ok(Some(text.and_then(Self::parse).unwrap_or_default()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The file, to be written.
#[derive(Debug)]
pub(super) struct MarkFile(File);

impl MarkFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).open(path).map(Self)
    }

    /// Always as many bytes, in one write.
    pub(super) fn write(&self, mark: Mark) -> io::Result<()> {
        self.0.write_all_at(mark.text().as_bytes(), 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        assert_eq!(Mark::read(&path).unwrap(), None);
        let file = MarkFile::open(&path).unwrap();
        for commits in [7, u64::MAX, 8] {
            let mark = Mark { commits, sources_alive: UnixMicros(commits / 2) };
            file.write(mark).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), Some(mark));
        }
        let text = std::fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), Some(Mark::default()), "byte {at}");
        }
    }
}
