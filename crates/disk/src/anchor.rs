//! A file that was opened, and whether its path still names it: whoever has a file open can go on to
//! write it when its name is gone, and nobody will ever read that.
//!
//! While an anchor lives the system keeps what is in the file, so that it can be written anew.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Permission bits of what is written anew: its content is personal data.
const FILE_MODE: u32 = 0o600;

/// What stands where an opened file stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It.
    There,
    /// Nothing: the file or its directory was removed, or has another name now.
    Gone,
    /// Something else.
    Other,
}

/// See the module's description.
#[derive(Debug)]
pub struct Anchor {
    path: PathBuf,
    file: File,
    /// Device and number: nobody else gets the number while the file is open.
    place: (u64, u64),
}

impl Anchor {
    /// Holds on to the file of this name.
    ///
    /// # Errors
    /// If there is none that can be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let place = place_of(&file.metadata()?);
        Ok(Self { path: path.to_owned(), file, place })
    }

    /// What its path names now.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn standing(&self) -> io::Result<Standing> {
        match std::fs::metadata(&self.path) {
            Ok(found) if place_of(&found) == self.place => Ok(Standing::There),
            Ok(_) => Ok(Standing::Other),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Standing::Gone),
                _ => Err(error),
            },
        }
    }

    /// How long the file is, and when it was written last.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn look(&self) -> io::Result<Look> {
        self.file.metadata().map(|found| Look::of(&found))
    }

    /// Writes what is in the file to a new one, and puts it on the disk.
    ///
    /// # Errors
    /// If it cannot be read, or the new one not be written.
    pub fn copy_to(&self, draft: &Path) -> io::Result<()> {
        self.write_to(draft).inspect_err(|_| {
            // On a full disk a part of it would take what room there is.
            let _ = std::fs::remove_file(draft);
        })
    }

    fn write_to(&self, draft: &Path) -> io::Result<()> {
        match std::fs::remove_file(draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut to = options.write(true).create_new(true).mode(FILE_MODE).open(draft)?;
        let mut from = &self.file;
        from.seek(SeekFrom::Start(0))?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()
    }
}

/// What tells whether somebody else has written a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its length.
    pub bytes: u64,
    written: (i64, i64),
}

impl Look {
    fn of(found: &Metadata) -> Self {
        Self { bytes: found.len(), written: (found.mtime(), found.mtime_nsec()) }
    }
}

fn place_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Gives a draft its name, unless something has that name already.
///
/// # Errors
/// If something has, or the system refuses.
pub fn give_name(draft: &Path, path: &Path) -> io::Result<()> {
    std::fs::hard_link(draft, path)?;
    std::fs::remove_file(draft)
}
