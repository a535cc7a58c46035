//! Notices that the keys file has changed, or a file of a secret that it names, and hands the new
//! keys on. A broken file changes nothing but the logs, the metrics and the status.
//!
//! It looks once a second rather than asking the kernel: that also works for files that are
//! replaced, linked, mounted from elsewhere, or not there yet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::violation::Violation;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::Stamp;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a change is noticed the files are read: whoever writes in place is likely done.
const SETTLE: Duration = Duration::from_millis(100);

/// What the files were that a set was read from.
pub type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// One attempt to read keys of some sort.
#[derive(Debug)]
pub struct Reading<K> {
    /// What they were read from, taken before reading: a change in between shows the next time.
    pub stamps: Stamps,
    /// The keys, or the rule that is broken.
    pub keys: Result<K, Violation>,
}

/// Reads a file of keys, and notes the further files that it reads.
pub type Load<K> = fn(&Path, &mut Stamps) -> Result<K, Violation>;

impl<K> Reading<K> {
    /// Reads the file and the secrets that it names.
    #[must_use]
    pub fn of(path: &Path, load: Load<K>) -> Self {
        let mut stamps = Stamps::from([(path.to_owned(), Stamp::of(path))]);
        let keys = load(path, &mut stamps);
        Self { stamps, keys }
    }
}

/// Whether any of the files is another one now.
#[must_use]
pub fn is_outdated(stamps: &Stamps) -> bool {
    stamps.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
}

/// Watches until it is dropped. `put` is given each new reading's keys.
pub async fn watch<K: Send + 'static>(
    path: PathBuf,
    stamps: Stamps,
    load: Load<K>,
    put: impl Fn(Result<K, Violation>),
) {
    let read = move || {
        let Reading { stamps, keys } = Reading::of(&path, load);
        (stamps, keys)
    };
    follow(stamps, read, put).await;
}

/// The same for whatever is read from files: `read` gives it with what the files were before, and
/// `put` is given it.
pub async fn follow<T: Send + 'static>(
    mut stamps: Stamps,
    read: impl Fn() -> (Stamps, T) + Clone + Send + 'static,
    put: impl Fn(T),
) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (read, known) = (read.clone(), stamps.clone());
        // The disk may be a network, and the other tasks must not wait for it.
        match spawn_blocking(move || look(&known, read)).await {
            Ok(Some((now, new))) => {
                stamps = now;
                put(new);
            }
            Ok(None) => {}
            Err(cause) => error!(%cause, "cannot look at files that are watched"),
        }
    }
}

/// Reads the files if they are other ones than those known, and do not change meanwhile.
fn look<T>(known: &Stamps, read: impl Fn() -> (Stamps, T)) -> Option<(Stamps, T)> {
    if !is_outdated(known) {
        return None;
    }
    std::thread::sleep(SETTLE);
    let (stamps, new) = read();
    (!is_outdated(&stamps)).then_some((stamps, new))
}
