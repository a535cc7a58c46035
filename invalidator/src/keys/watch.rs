//! Notices that the keys file has changed, or a file of a secret that it names, and hands the new
//! keys on. A broken file changes nothing but the logs, the metrics and the status.
//!
//! It looks once a second rather than asking the kernel: that also works for files that are
//! replaced, linked, mounted from elsewhere, or not there yet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use super::{Load, Reading, Stamps, is_outdated};
use crate::config::ConfigError;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a change is noticed the files are read: whoever writes in place is likely done.
const SETTLE: Duration = Duration::from_millis(100);

/// Watches until it is dropped. `put` is given each new reading's keys.
pub async fn watch<K: Send + 'static>(
    path: PathBuf,
    mut stamps: Stamps,
    load: Load<K>,
    put: impl Fn(Result<K, ConfigError>),
) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (path, known) = (path.clone(), stamps.clone());
        // The disk may be a network, and the other tasks must not wait for it.
        match spawn_blocking(move || look(&path, &known, load)).await {
            Ok(Some(reading)) => {
                stamps = reading.stamps;
                put(reading.keys);
            }
            Ok(None) => {}
            Err(cause) => error!(%cause, "cannot look at the keys file"),
        }
    }
}

/// Reads the files if they are other ones than those known, and do not change meanwhile.
fn look<K>(path: &Path, known: &Stamps, load: Load<K>) -> Option<Reading<K>> {
    if !is_outdated(known) {
        return None;
    }
    std::thread::sleep(SETTLE);
    let reading = Reading::of(path, load);
    (!is_outdated(&reading.stamps)).then_some(reading)
}
