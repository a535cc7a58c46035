//! Forgets in Redis what nobody needs any more.

use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};

use super::compact::may_forget;
use super::read::Found;
use super::session::Session;
use super::{Lost, locked};

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(250);
/// Most reports taken from the engine at a time.
const REPORTS_AT_ONCE: usize = 4_096;
/// How often in a row.
const ROUNDS_MAX: usize = 16;
/// Most subjects looked at in Redis at a time.
const SUBJECTS_AT_ONCE: usize = 256;

impl Session<'_> {
    /// Forgets, for as long as the connection lasts.
    pub(super) async fn tidy(&self) -> Lost {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // After a flood there is much to forget: some of it at once, with a breath between.
            for _ in 0..ROUNDS_MAX {
                match self.forget_due().await {
                    Ok(SUBJECTS_AT_ONCE) => yield_now().await,
                    Ok(_) => break,
                    Err(lost) => return lost,
                }
            }
        }
    }

    fn note_dropped(&self) {
        let dropped = self.hub.engine().take_dropped(REPORTS_AT_ONCE);
        let (now, wall) = (self.hub.now().mono, self.hub.common_time());
        let mut chores = locked(&self.source.chores);
        for dropped in dropped {
            chores.add(dropped, now, wall, random());
        }
    }

    /// Forgets what need not wait any longer, before a comparison.
    pub(super) async fn forget_now(&self) -> Result<(), Lost> {
        self.note_dropped();
        locked(&self.source.chores).hurry(self.hub.now().mono);
        self.forget_due().await.map(|_| ())
    }

    /// Forgets what is due of some subjects; answers of how many.
    async fn forget_due(&self) -> Result<usize, Lost> {
        self.note_dropped();
        let now = self.hub.now().mono;
        let due = locked(&self.source.chores).due(now, SUBJECTS_AT_ONCE);
        let looked_at = due.len();
        if due.is_empty() {
            return Ok(0);
        }
        let scripts = &self.source.scripts;
        let mut link = self.link.clone();
        let mut ask = redis::pipe();
        for chore in &due {
            ask.hkeys(scripts.layout.state(&chore.dropped.subject));
        }
        let held: Vec<Vec<Vec<u8>>> = ask.query_async(&mut link).await?;
        for (chore, held) in due.into_iter().zip(held) {
            let text = |id: &Vec<u8>| std::str::from_utf8(id).ok().and_then(EventId::parse);
            let held: Vec<_> = held.iter().filter_map(text).collect();
            let dropped = &chore.dropped;
            let known = self.hub.engine().events_of(&dropped.subject);
            // What has come back into force since is not to be forgotten.
            let here = |id: &&EventId| held.contains(id) && !known.contains(id);
            let events: Vec<_> = dropped.event_ids.iter().filter(here).cloned().collect();
            if events.is_empty() {
                continue;
            }
            if !may_forget(&known, &held) {
                locked(&self.source.chores).put_off(chore, now, random());
                continue;
            }
            let events: Vec<_> =
                events.into_iter().map(|event_id| (event_id, dropped.not_before)).collect();
            let forgotten = scripts.forget(&mut link, &dropped.subject, &events).await?;
            self.source.metrics.forgotten(forgotten);
        }
        if locked(&self.source.chores).take_left_out() {
            locked(&self.source.watch).has_left_out();
        }
        Ok(looked_at)
    }

    /// Forgets what Redis itself has overtaken of one subject: how many events.
    pub(super) async fn make_room(&self, subject: &Subject) -> Result<u64, redis::RedisError> {
        let scripts = &self.source.scripts;
        let mut link = self.link.clone();
        if scripts.put_aside(&mut link, subject.to_text().as_bytes()).await? {
            self.source.metrics.put_aside(1);
            return Ok(1);
        }
        let fields: Vec<(Vec<u8>, Vec<u8>)> =
            redis::cmd("HGETALL").arg(scripts.layout.state(subject)).query_async(&mut link).await?;
        let mut found = Found::default();
        let plan = self.compare(&mut found, subject, &fields, &[]);
        if plan.forget.is_empty() {
            return Ok(0);
        }
        scripts.forget(&mut link, subject, &plan.forget).await
    }
}

/// A number that other daemons do not have; the middle one if the system has none.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
