//! The keys file on disk: read only if it is private, replaced as a whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use model::violation::Violation;

use crate::read_bounded;

/// Largest keys file, and largest file of one secret, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Permission bits that a file with secrets must not have: anything for others, write for the
/// group.
const OPEN_BITS: u32 = 0o027;
/// Permission bits that a replaced file keeps, so that a group that reads it still can.
const KEPT_BITS: u32 = 0o640;

/// Reads a file that holds secrets, unless others may read it too.
pub fn read_private(path: &Path, field: &str) -> Result<String, Violation> {
    let refuse = |rule: String| Violation::new(field, rule);
    let cannot = |cause| refuse(format!("cannot read {}: {cause}", path.display()));
    let metadata = fs::metadata(path).map_err(cannot)?;
    // To read a pipe would wait for a writer, for ever.
    if !metadata.is_file() {
        return Err(refuse(format!("{} is not a file", path.display())));
    }
    let mode = metadata.mode() & 0o777;
    if mode & OPEN_BITS != 0 {
        let path = path.display();
        let rule = format!(
            "{path} has mode {mode:04o}: others must not read a file with secrets, nor its group \
             write it; chmod 0600 (or 0640) {path}"
        );
        return Err(refuse(rule));
    }
    let bytes = read_bounded(path, FILE_BYTES_MAX).map_err(refuse)?;
    String::from_utf8(bytes).map_err(|_| refuse(format!("{} must be UTF-8 text", path.display())))
}

/// What tells one content of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file that the path leads to; nothing if there is none to be seen.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The next content of a file, beside it until it is whole. While it exists no second one can be
/// made, so two edits cannot overwrite each other.
#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    placed: bool,
}

impl Draft {
    /// Begins to replace the file, or to make it. Owner, group and the group's right to read stay.
    pub fn begin(path: &Path) -> Result<Self, Violation> {
        let cannot = |cause: io::Error| {
            Violation::new("file", format!("cannot write beside {}: {cause}", path.display()))
        };
        // A link stays a link: it is the file behind it that is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut name = target.as_os_str().to_owned();
        name.push(".new");
        let temporary = PathBuf::from(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => {
                let rule = format!(
                    "{} exists: another rotation is under way, or one was killed; if none is, \
                     remove it",
                    temporary.display()
                );
                Violation::new("file", rule)
            }
            _ => cannot(cause),
        })?;
        let draft = Self { target, temporary, file, placed: false };
        if let Ok(metadata) = fs::metadata(&draft.target) {
            let (owner, group) = (metadata.uid(), metadata.gid());
            let own = draft.file.metadata().map_err(cannot)?;
            if (own.uid(), own.gid()) != (owner, group) {
                fchown(&draft.file, Some(owner), Some(group)).map_err(cannot)?;
            }
            let mode = 0o600 | metadata.mode() & KEPT_BITS;
            draft.file.set_permissions(Permissions::from_mode(mode)).map_err(cannot)?;
        }
        Ok(draft)
    }

    /// Writes the content, and puts it in place once it is on the disk.
    pub fn commit(mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.placed = true;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it is in place, a file of that name is somebody else's draft.
        if !self.placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
