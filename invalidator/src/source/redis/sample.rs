//! Whether Redis still has, event by event, what is known here to be in force.
//!
//! The digest compares two ledgers, and a key that was deleted by hand, or evicted, is in both of them
//! still. So all that is in force here is looked for there, again and again, within a stated time.

use std::collections::BTreeSet;
use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;
use redis::RedisResult;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::error;

use super::decide::Why;
use super::read::Found;
use super::session::{SETTLE_INTERVAL, SETTLE_TRIES, Session};
use super::write::ends_connection;
use super::{Lost, REDIS};

/// How often some subjects are looked for.
const INTERVAL: Duration = Duration::from_millis(100);
/// Fewest and most at a time.
const SUBJECTS_MIN: usize = 8;
const SUBJECTS_MAX: usize = 4_096;
/// Keys asked for in one pipeline.
const KEYS_AT_ONCE: usize = 256;
/// What is missing is looked for again after this long: it may be on its way, or be forgotten
/// everywhere just now.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most subjects that wait for that.
const DOUBTS_MAX: usize = 65_536;

type Missing = Vec<(Subject, Vec<EventId>)>;

/// Subjects of which something was not found, to be looked for again.
#[derive(Debug, Default)]
struct Doubts {
    subjects: BTreeSet<Subject>,
    since: Option<Instant>,
}

impl Doubts {
    /// Notes subjects; without room they are found the next time round.
    fn add(&mut self, missing: Missing) {
        for (subject, _) in missing {
            if !self.is_full() {
                self.since.get_or_insert_with(Instant::now);
                self.subjects.insert(subject);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.subjects.len() >= DOUBTS_MAX
    }

    fn are_due(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    fn take(&mut self) -> BTreeSet<Subject> {
        self.since = None;
        std::mem::take(&mut self.subjects)
    }
}

impl Session<'_> {
    /// Looks, for as long as the connection lasts.
    pub(super) async fn sample(&self) -> Lost {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut after, mut doubts) = (None, Doubts::default());
        loop {
            ticks.tick().await;
            match self.sample_some(after.as_ref(), &mut doubts).await {
                Ok(last) => after = last,
                Err(lost) => return lost,
            }
            if doubts.are_due()
                && let Err(lost) = self.look_again(&mut doubts).await
            {
                return lost;
            }
        }
    }

    /// Looks for everything at once: another daemon has found that something is missing.
    /// The digest still counts what is missing, and counts it once more when it is written back: it is
    /// put right after that, since whoever has asked goes by it.
    pub(super) async fn sample_all(&self) -> Result<(), Lost> {
        let (mut after, mut doubts) = (None, Doubts::default());
        loop {
            after = self.sample_next(after.as_ref(), SUBJECTS_MAX, &mut doubts).await?;
            if doubts.is_full() || (after.is_none() && doubts.since.is_some()) {
                sleep(PATIENCE).await;
                self.look_again(&mut doubts).await?;
            }
            if after.is_none() {
                break;
            }
        }
        let mut tries = 0;
        while self.source.outbox.queue().is_busy() && tries < SETTLE_TRIES {
            tries += 1;
            sleep(SETTLE_INTERVAL).await;
        }
        self.read(Why::Differs, true).await
    }

    async fn sample_some(
        &self,
        after: Option<&Subject>,
        doubts: &mut Doubts,
    ) -> Result<Option<Subject>, Lost> {
        let subjects = self.hub.engine().subjects();
        let ticks = self.source.config.sample_interval.as_millis() / INTERVAL.as_millis().max(1);
        let ticks = usize::try_from(ticks).unwrap_or(usize::MAX).max(1);
        let count = subjects.div_ceil(ticks).clamp(SUBJECTS_MIN, SUBJECTS_MAX);
        self.sample_next(after, count, doubts).await
    }

    /// Looks for the next subjects, and answers the last of them; none at the end.
    async fn sample_next(
        &self,
        after: Option<&Subject>,
        count: usize,
        doubts: &mut Doubts,
    ) -> Result<Option<Subject>, Lost> {
        if !self.is_complete() {
            return Ok(None);
        }
        let ours = self.hub.engine().events_after(after, count);
        let last = ours.last().map(|(subject, _)| subject.clone());
        doubts.add(self.missing_of(ours).await?);
        Ok(last)
    }

    /// Looks for what was not found before, and writes back what is still missing.
    async fn look_again(&self, doubts: &mut Doubts) -> Result<(), Lost> {
        let again = doubts.take().into_iter().map(|subject| {
            let events = self.hub.engine().events_of(&subject);
            (subject, events)
        });
        let missing = self.missing_of(again.collect()).await?;
        let mut found = Found::default();
        for (subject, events) in &missing {
            self.write_back(&mut found, subject, events).await;
        }
        if found.written > 0 {
            let events = found.written;
            self.source.metrics.missing(events);
            error!(
                source = REDIS,
                events, "Redis lacked events that it had: they are written back"
            );
        }
        Ok(())
    }

    /// Which of these events are not in Redis, and not on their way there.
    async fn missing_of(&self, ours: Missing) -> Result<Missing, Lost> {
        let mut link = self.link.clone();
        let mut missing = Vec::new();
        for ours in ours.chunks(KEYS_AT_ONCE) {
            let mut ask = redis::pipe();
            ask.ignore_errors();
            for (subject, _) in ours {
                ask.hkeys(self.source.scripts.layout.state(subject));
            }
            let held: Vec<RedisResult<BTreeSet<Vec<u8>>>> = ask.query_async(&mut link).await?;
            for ((subject, events), held) in ours.iter().zip(held) {
                let held = match held {
                    Ok(held) => held,
                    Err(error) if ends_connection(&error) => return Err(error.into()),
                    Err(_) => BTreeSet::new(),
                };
                let lacks = |id: &&EventId| !held.contains(id.as_str().as_bytes());
                let lacking: Vec<_> = events.iter().filter(lacks).cloned().collect();
                if !lacking.is_empty() {
                    missing.push((subject.clone(), lacking));
                }
            }
        }
        if self.source.outbox.queue().is_busy() {
            // Some of it may be what is missing: the next time will tell.
            missing.clear();
        }
        Ok(missing)
    }
}
