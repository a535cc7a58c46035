//! Notices that the keys file has changed, or a file of a secret that it names, and hands the new
//! keys on. A broken file changes nothing but the logs, the metrics and the status.
//!
//! It looks once a second rather than asking the kernel: that also works for files that are
//! replaced, linked, mounted from elsewhere, or not there yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use super::{Reading, Stamps};
use crate::shared::Shared;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a change is noticed the files are read: whoever writes in place is likely done.
const SETTLE: Duration = Duration::from_millis(100);

/// Watches until it is dropped.
pub async fn watch(path: PathBuf, mut stamps: Stamps, shared: Arc<Shared>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (path, known) = (path.clone(), stamps.clone());
        // The disk may be a network, and the other tasks must not wait for it.
        match spawn_blocking(move || look(&path, &known)).await {
            Ok(Some(reading)) => {
                stamps = reading.stamps;
                shared.keys_read(reading.keys);
            }
            Ok(None) => {}
            Err(cause) => error!(%cause, "cannot look at the keys file"),
        }
    }
}

/// Reads the files if they are other ones than those known, and do not change meanwhile.
fn look(path: &Path, known: &Stamps) -> Option<Reading> {
    if !Reading::is_outdated(known) {
        return None;
    }
    std::thread::sleep(SETTLE);
    let reading = Reading::of(path);
    (!Reading::is_outdated(&reading.stamps)).then_some(reading)
}
