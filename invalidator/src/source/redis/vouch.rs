//! Our word for signed events that lie in Redis for long: see the module `vouch` of the intake.
//!
//! All that is in force here is gone through again and again, slowly. What needs a word gets one,
//! unless another daemon has given a newer one.

use std::time::Duration;

use model::subject::Subject;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::session::Session;
use super::{KIND, Lost};

/// How often some subjects are looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// How many at a time: a million in half an hour.
const SUBJECTS_AT_ONCE: usize = 256;
/// How often everything is gone through within the time for which a word counts.
const PASSES: u32 = 8;

impl Session<'_> {
    /// Gives our word, for as long as the connection lasts.
    pub(super) async fn vouch(&self) -> Lost {
        let Some(lasts) = self.hub.intake().vouches_after(&KIND) else {
            return std::future::pending().await;
        };
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut after: Option<Subject> = None;
        loop {
            ticks.tick().await;
            match self.vouch_some(after.as_ref()).await {
                Ok(None) => sleep(lasts / PASSES).await,
                Ok(last) => {
                    after = last;
                    continue;
                }
                Err(lost) => return lost,
            }
            after = None;
        }
    }

    /// Gives it for the next subjects, and answers the last of them.
    async fn vouch_some(&self, after: Option<&Subject>) -> Result<Option<Subject>, Lost> {
        let ours = self.hub.engine().events_after(after, SUBJECTS_AT_ONCE);
        let now = self.hub.now().wall;
        let mut link = self.link.clone();
        for (subject, events) in &ours {
            let word = |id| {
                let record = self.hub.keeper().event(subject, id)?;
                Some((id.clone(), self.hub.intake().vouch(&KIND, &record, now)?))
            };
            let words: Vec<_> = events.iter().filter_map(word).collect();
            if !words.is_empty() {
                self.source.scripts.vouch(&mut link, subject, &words).await?;
            }
        }
        Ok(ours.last().map(|(subject, _)| subject.clone()))
    }
}
