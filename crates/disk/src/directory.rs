//! The directory of a database file.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tracing::warn;

use super::StoreError;

/// Permission bits of a directory that is made.
const MODE: u32 = 0o700;

/// Makes it if there is none, so that only its owner can look into it. One that others can look into is warned of.
///
/// # Errors
/// If the system refuses.
pub fn make(directory: &Path) -> Result<(), StoreError> {
    if directory.is_dir() {
        let metadata = std::fs::metadata(directory).map_err(StoreError::system(directory))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            warn!(path = %directory.display(), "the store's directory is open to other users");
        }
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(MODE).create(directory);
    made.map_err(StoreError::system(directory))?;
    // Whatever the umask leaves of it.
    std::fs::set_permissions(directory, Permissions::from_mode(MODE))
        .map_err(StoreError::system(directory))
}
