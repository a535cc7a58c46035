//! The file that is being written, and how much of it is on disk.
//!
//! After a sync that has failed the system may count as written what is not on disk. The next sync
//! succeeds then, and proves nothing. So everything since the last one that did succeed is looked
//! at, and written once more in its place, before it is synced again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use disk::Anchor;
use model::time::UnixMicros;

use super::directory::LogFile;
use super::line::{Point, Seal};
use super::recover::Scan;

/// How much is written again at a time.
const STEP_BYTES: usize = 64 * 1024;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: File,
    /// What its name has to name.
    pub(super) anchor: Anchor,
    pub(super) log: LogFile,
    /// Whole lines in it, in bytes.
    pub(super) length: u64,
    /// When its first line was noted.
    pub(super) begun: Option<UnixMicros>,
    /// The length of what is certainly on disk.
    synced: u64,
    /// The last sync has failed.
    is_doubtful: bool,
}

impl Current {
    pub(super) fn new(
        file: File,
        anchor: Anchor,
        log: LogFile,
        length: u64,
        begun: Option<UnixMicros>,
    ) -> Self {
        Self { file, anchor, log, length, begun, synced: length, is_doubtful: false }
    }

    /// Puts on disk what was written; `last` is the last line of that.
    pub(super) fn sync(&mut self, directory: &Path, seal: &Seal, last: Point) -> io::Result<()> {
        if self.is_doubtful {
            self.write_again(directory, seal, last)?;
        }
        self.is_doubtful = true;
        self.file.sync_data()?;
        self.is_doubtful = false;
        self.synced = self.length;
        Ok(())
    }

    fn write_again(&self, directory: &Path, seal: &Seal, last: Point) -> io::Result<()> {
        let scan = Scan::of(directory, &self.log, seal)?;
        if scan.broken || scan.last.is_none_or(|found| found.seq < last.seq) {
            let cause = format!("{} has lost lines that the disk did not take", self.log.name);
            return Err(io::Error::other(cause));
        }
        // Not the handle at hand: whatever that is told, it appends.
        let file = OpenOptions::new().write(true).open(directory.join(&self.log.name))?;
        let mut bytes = [0; STEP_BYTES];
        let mut at = self.synced;
        while at < self.length {
            let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(STEP_BYTES);
            let (step, _) = bytes.split_at_mut(left.min(STEP_BYTES));
            self.file.read_exact_at(step, at)?;
            file.write_all_at(step, at)?;
            at = at.saturating_add(u64::try_from(step.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}
