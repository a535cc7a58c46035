//! Keys files: read before the daemon starts, and watched from then on.

use std::path::PathBuf;

use model::violation::Violation;
use system::{Load, Reading, Stamps};
use tokio::task::JoinHandle;

/// A keys file as the daemon starts with it. Without the keys that it is configured with it would
/// take them away from its nodes, or refuse good events: then it does not start.
pub(super) struct KeysFile<K: 'static> {
    path: PathBuf,
    stamps: Stamps,
    pub(super) keys: K,
    load: Load<K>,
}

impl<K: Send> KeysFile<K> {
    pub(super) fn read(path: PathBuf, load: Load<K>) -> Result<Self, Violation> {
        let Reading { stamps, keys } = Reading::of(&path, load);
        Ok(Self { path, stamps, keys: keys?, load })
    }

    /// Puts the keys in force, and goes on to watch the file.
    pub(super) fn watch(
        self,
        put: impl Fn(Result<K, Violation>) + Send + 'static,
    ) -> JoinHandle<()> {
        let Self { path, stamps, keys, load } = self;
        put(Ok(keys));
        tokio::spawn(system::watch(path, stamps, load, put))
    }
}
