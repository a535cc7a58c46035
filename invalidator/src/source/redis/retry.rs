//! Tries again what was refused for a cause that may have passed; see [`super::refused`].

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::read::{Found, SUBJECTS_AT_ONCE as SUBJECTS_AT_ONCE_READ};
use super::session::Session;
use super::{Lost, locked};

/// How often it is looked what is due.
const INTERVAL: Duration = Duration::from_millis(500);
/// Most subjects at a time.
const SUBJECTS_AT_ONCE: usize = 256;

impl Session<'_> {
    /// Tries, for as long as the connection lasts.
    pub(super) async fn retry(&self) -> Lost {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (keys, now) = (self.hub.intake().keys_version(), self.hub.now().mono);
            let due = locked(&self.source.refused).due(keys, now, SUBJECTS_AT_ONCE);
            let names: Vec<_> = due.iter().map(|subject| subject.to_text().into_bytes()).collect();
            let mut found = Found::default();
            if let Err(lost) = self.put_oversized_aside(&names).await {
                return lost;
            }
            for names in names.chunks(SUBJECTS_AT_ONCE_READ) {
                if let Err(lost) = self.read_some(&mut found, names).await {
                    return lost;
                }
            }
            let passing = locked(&self.source.refused).passing();
            self.source.metrics.refused(passing);
        }
    }
}
