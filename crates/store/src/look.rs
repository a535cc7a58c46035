//! Looks whether the store could be opened, and changes nothing.

use std::path::Path;

use disk::{StoreError, holder_of, is_locked};

use super::mark::Mark;
use super::open::{FILE_NAME, MARK_NAME, is_used};
use super::witness::Witness;

/// Whether a daemon could open the store in this directory, as far as that can be told without
/// reading what it holds. With `while_running`, one that has it does not count.
///
/// # Errors
/// If another process has it, or it is gone from a directory in which it was, or that a witness speaks for.
pub fn look(directory: &Path, witness: &Witness, while_running: bool) -> Result<(), StoreError> {
    let path = directory.join(FILE_NAME);
    if !directory.is_dir() {
        return witness.is_silent(&path);
    }
    if !while_running && is_locked(directory) {
        let pid = holder_of(directory);
        return Err(StoreError::InUse { path: directory.to_owned(), pid });
    }
    let mark = directory.join(MARK_NAME);
    if path.try_exists().map_err(StoreError::system(&path))? {
        return Ok(());
    }
    let was_there = Mark::read(&mark).map_err(StoreError::system(&mark))?.is_some();
    if was_there || is_used(&path)? {
        return Err(StoreError::Missing { path });
    }
    witness.is_silent(&path)
}
