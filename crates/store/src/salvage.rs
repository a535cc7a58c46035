//! Reads what can be read of a damaged store.
//!
//! The database library checks a file that it opens in earnest. A damaged one has to be read
//! without that check, and then the library may panic, which ends the process it happens in: so
//! it is read by a process of its own, [`write_rows`], whose rows [`read`] collects until it ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use disk::StoreError;
use redb::{Builder, ConcurrencyMode, ReadableDatabase, ReadableTable};
use tracing::warn;

use super::keeper::KeptEvent;
use super::pending::Identity;
use super::table::{self, EVENTS};

/// The hidden subcommand that runs [`write_rows`].
pub const SUBCOMMAND: &str = "salvage";
/// Where the library's file format has its flags, and the one of them that says that
/// the file was not closed.
const FLAGS_OFFSET: u64 = 9;
const REPAIR_FLAG: u8 = 2;
/// How much of what the reading process says of its end is shown, in bytes.
const CAUSE_BYTES_MAX: usize = 512;

/// Ways to read a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it is, from the first event to where it is damaged.
    Forwards,
    /// As it is, from the last event to where it is damaged.
    Backwards,
    /// After the library's own repair, which may go back to an older state: if nothing else helps.
    Repaired,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forwards, Self::Backwards, Self::Repaired];

    /// What the command line calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwards => "forwards",
            Self::Backwards => "backwards",
            Self::Repaired => "repaired",
        }
    }
}

/// Every event in the file whose record is whole. `copy` is where a copy may be put for a while,
/// `program` what has [`SUBCOMMAND`].
pub(super) fn read(path: &Path, copy: &Path, program: &Path) -> Result<Vec<KeptEvent>, StoreError> {
    let mut found: BTreeMap<Identity, KeptEvent> = BTreeMap::new();
    for way in Way::ALL {
        // Opening it may write to it: what the operator may want to look at stays as it is.
        std::fs::copy(path, copy).map_err(StoreError::system(copy))?;
        if way != Way::Repaired {
            make_readable(copy).map_err(StoreError::system(copy))?;
        }
        let rows = rows_of(program, copy, way).map_err(StoreError::system(program))?;
        for (subject, event_id, value) in Rows(&rows) {
            match table::kept((subject, event_id), value, path) {
                Ok(event) => {
                    let identity = (event.subject.clone(), event.event_id.clone());
                    found.entry(identity).or_insert(event);
                }
                Err(cause) => warn!(%cause, "an event cannot be salvaged"),
            }
        }
        std::fs::remove_file(copy).map_err(StoreError::system(copy))?;
        if way == Way::Backwards && !found.is_empty() {
            break;
        }
    }
    Ok(found.into_values().collect())
}

/// A file that was not closed is opened for reading only once it has been repaired, and a damaged
/// one cannot be. What was committed last is where its header says all the same.
fn make_readable(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut flags = [0];
    match file.read_exact_at(&mut flags, FLAGS_OFFSET) {
        Ok(()) => file.write_all_at(&flags.map(|flags| flags & !REPAIR_FLAG), FLAGS_OFFSET),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the reading process has written when it ends, whichever way it ends.
fn rows_of(program: &Path, path: &Path, way: Way) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args([SUBCOMMAND, "--way", way.name(), "--file"]).arg(path);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = output.stderr.get(..CAUSE_BYTES_MAX).unwrap_or(&output.stderr);
        let (status, cause) = (output.status, String::from_utf8_lossy(said));
        let (way, cause) = (way.name(), cause.trim());
        warn!(way, %status, cause, "the damaged store cannot be read to its end");
    }
    Ok(output.stdout)
}

/// Writes the rows of a file one after the other, in the form that [`Rows`] reads.
///
/// # Errors
/// Where the file cannot be read any further, or nobody listens. Where it is damaged, the library
/// may panic instead.
pub fn write_rows(path: &Path, way: Way, out: &mut impl Write) -> Result<(), redb::Error> {
    // Both are kept: closing the database ends its transactions.
    let (read_only, repaired);
    let transaction = if way == Way::Repaired {
        repaired = Builder::new().open(path)?;
        repaired.begin_read()?
    } else {
        // As a reader beside a writer: it believes the header, and needs nothing but the tables.
        let mode = ConcurrencyMode::SingleWriter;
        read_only = Builder::new().set_concurrency_mode(mode).open_read_only(path)?;
        read_only.begin_read()?
    };
    let table = transaction.open_table(EVENTS)?;
    let mut entries = table.iter()?;
    loop {
        let entry = if way == Way::Backwards { entries.next_back() } else { entries.next() };
        let Some(entry) = entry else { return Ok(()) };
        let (key, value) = entry?;
        let (subject, event_id) = key.value();
        for part in [subject.as_bytes(), event_id.as_bytes(), value.value()] {
            // A part of 4 GiB is in no store: what is damaged ends here.
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(part)?;
        }
    }
}

/// The whole rows at the start of what the reading process wrote: subject, event id, record, each
/// with its length in front (32 bits, little-endian).
struct Rows<'a>(&'a [u8]);

impl<'a> Iterator for Rows<'a> {
    type Item = (&'a str, &'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut part = || {
            let (length, rest) = self.0.split_first_chunk()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (part, rest) = rest.split_at_checked(length)?;
            self.0 = rest;
            Some(part)
        };
        let (subject, event_id, value) = (part()?, part()?, part()?);
        Some((std::str::from_utf8(subject).ok()?, std::str::from_utf8(event_id).ok()?, value))
    }
}
