//! Who has a file, as Linux tells it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The process that holds a lock on a file, as Linux tells it.
pub fn holder_of(path: &Path) -> Option<u32> {
    let inode = std::fs::metadata(path).ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 4711 fe:01:393217 0 EOF
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(4);
        let pid = words.next()?;
        let file = words.next()?;
        if file.rsplit(':').next() != Some(inode.as_str()) {
            return None;
        }
        pid.parse().ok().filter(|pid| *pid != 0 && *pid != std::process::id())
    })
}
