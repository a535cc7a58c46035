//! What the store's files are called, also while something is done to them.

use std::path::{Path, PathBuf};

/// The store's file in its directory.
pub const FILE_NAME: &str = "state.redb";
/// The small file that says that the directory is in use.
pub const MARK_NAME: &str = "state.mark";
/// What the name ends with of a store that is written anew: not as that of a first start, since all
/// that was kept may be in it.
pub(super) const REWRITTEN: &str = "again";

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("{FILE_NAME}.{suffix}"))
}
