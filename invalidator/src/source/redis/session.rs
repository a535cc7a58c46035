//! One life of the connections that carry commands: look, read everything if need be, follow the
//! stream, and from then on look and compare again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::Digest;
use system::wall_clock;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use super::agreement::{Compared, State};
use super::connect::Link;
use super::decide::{Seen, Why, before_following};
use super::layout::StreamId;
use super::refused::REFUSED;
use super::scripts::Look;
use super::{BACKOFF_MAX, KIND, Lost, REDIS, RedisSource, backoff, locked};
use crate::hub::Hub;

/// How often a comparison is tried while something is always on its way.
pub(super) const SETTLE_TRIES: u32 = 20;
/// How often a first comparison is tried once the stream has been followed to its end. Then
/// everything is read.
const FIRST_TRIES: u32 = 200;
/// The pause between two tries.
pub(super) const SETTLE_INTERVAL: Duration = Duration::from_millis(20);
/// How often a daemon that knows nothing by itself looks whether a hole is filled.
const HOLE_INTERVAL: Duration = Duration::from_millis(1_500);
/// What the status says while Redis has a hole.
const HOLE: &str = "Redis lacks events that its digest counts, and nobody here knows them: waiting \
                    for a daemon that does, or for the key digest to be deleted";
/// What the status says after a loss of data, until it is repaired.
const DATA_LOST: &str =
    "Redis has lost data; what is known here stays in force and is written back";

/// See the module's description.
pub(super) struct Session<'a> {
    pub(super) source: &'a RedisSource,
    pub(super) hub: &'a Hub,
    /// For commands that are answered at once. Clones share the connection.
    pub(super) link: Link,
    /// Up to where the stream has been followed.
    pub(super) reached: watch::Sender<StreamId>,
    /// Whether all that was written before that has been taken in, so that it may be noted.
    complete: AtomicBool,
}

impl RedisSource {
    /// One session after the other.
    pub(super) async fn serve_forever(&self, hub: &Hub) {
        let mut pauses = backoff();
        loop {
            let lost = self.serve(hub).await;
            if self.caught_up.swap(false, Ordering::Relaxed) {
                pauses = backoff();
            }
            self.outbox.set_open(false);
            self.fences.set_open(None);
            self.inquiries.set_open(false);
            hub.source_lost(&KIND);
            // What it holds cannot be said now.
            self.note_agreement(hub, None);
            let pause = pauses.next().unwrap_or(BACKOFF_MAX);
            let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            warn!(source = REDIS, part = "stream", cause = %lost, retry_ms, "source lost");
            sleep(pause).await;
        }
    }

    async fn serve(&self, hub: &Hub) -> Lost {
        // Listening comes first: what is published while we read is heard. If it cannot be had,
        // the stream alone is better than nothing.
        let mut listening = self.listening.subscribe();
        let _ = timeout(self.config.dead_after, listening.wait_for(|listening| *listening)).await;
        match self.connect(hub).await {
            Ok((session, stream, look, why)) => {
                self.outbox.set_open(true);
                self.fences.set_open(Some(&session.link));
                self.inquiries.set_open(true);
                tokio::select! {
                    lost = session.follow(stream) => lost,
                    lost = session.write() => lost,
                    lost = session.tidy() => lost,
                    lost = session.vouch() => lost,
                    lost = session.retry() => lost,
                    lost = session.sample() => lost,
                    lost = session.serve_inboxes() => lost,
                    lost = session.register() => lost,
                    lost = session.ask_fences() => lost,
                    lost = session.collect_answers() => lost,
                    lost = session.answer_fences() => lost,
                    lost = session.inquire() => lost,
                    lost = session.answer_inquiries() => lost,
                    lost = session.supervise(look, why) => lost,
                }
            }
            Err(lost) => lost,
        }
    }

    async fn connect<'a>(
        &'a self,
        hub: &'a Hub,
    ) -> Result<(Session<'a>, Link, Look, Option<Why>), Lost> {
        let mut link = self.servers.connect(self.config.dead_after).await?;
        // Of its own, since a command that waits for news holds up all others.
        let stream = self.servers.connect(self.config.dead_after).await?;
        let asked = hub.now().mono;
        let look = self.scripts.look(&mut link).await?;
        self.note_look(hub, asked, &look);
        self.note_policy(&mut link).await;
        let position = *locked(&self.position);
        let why = before_following(position, &look);
        let from = match (why, position) {
            (None, Some(position)) => position,
            _ => look.last,
        };
        let session = Session {
            source: self,
            hub,
            link,
            reached: watch::Sender::new(from),
            complete: AtomicBool::new(false),
        };
        Ok((session, stream, look, why))
    }
}

impl Session<'_> {
    /// Notes how far the stream has been followed, if nothing before it is missing.
    pub(super) fn save_position(&self) {
        if self.complete.load(Ordering::Relaxed) {
            let reached = *self.reached.borrow();
            *locked(&self.source.position) = Some(reached);
            self.hub.set_position(&KIND, &reached.to_string());
        }
    }

    /// Whether all that Redis held has been taken in since the connection was made.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    async fn supervise(&self, look: Look, why: Option<Why>) -> Lost {
        match self.catch_up(look, why).await {
            Ok(()) => self.compare_forever().await,
            Err(lost) => lost,
        }
    }

    /// Until everything is known here that Redis holds.
    async fn catch_up(&self, look: Look, why: Option<Why>) -> Result<(), Lost> {
        if let Some(why) = why {
            self.read(why, false).await?;
            self.wait_for_what_is_missing().await?;
        }
        self.complete.store(true, Ordering::Relaxed);
        self.save_position();
        let mut reached = self.reached.subscribe();
        // The sender is ours, so this cannot fail.
        let _ = reached.wait_for(|reached| *reached >= look.last).await;
        let mut doubt = if why.is_none() { self.first_comparison(1).await? } else { None };
        if doubt.is_some_and(|why| why != Why::Unsettled) {
            self.read(Why::Differs, false).await?;
            doubt = None;
        }
        self.remember_recent().await?;
        self.source.caught_up.store(true, Ordering::Relaxed);
        self.source.note_alive(self.hub);
        info!(source = REDIS, position = %*self.reached.borrow(), "source connected: caught up");
        if doubt.is_some()
            && let Some(why) = self.first_comparison(FIRST_TRIES).await?
        {
            self.read(if why == Why::Lost { Why::Differs } else { why }, true).await?;
        }
        Ok(())
    }

    /// A daemon that knows nothing by itself is not in step while Redis has a hole: less than its own
    /// digest counts. Whoever knows more is asked to write it back.
    async fn wait_for_what_is_missing(&self) -> Result<(), Lost> {
        let mut ticks = interval(HOLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        while locked(&self.source.hole).is_some() {
            if !std::mem::replace(&mut told, true) {
                self.hub.source_trouble(&KIND, Some(HOLE));
                error!(source = REDIS, "{HOLE}");
            }
            self.source.scripts.doubt(&mut self.link.clone()).await?;
            ticks.tick().await;
            ticks.tick().await;
            self.read(Why::Differs, false).await?;
        }
        if told {
            self.hub.source_trouble(&KIND, None);
        }
        Ok(())
    }

    /// Whether Redis holds what is known here: why not, if not.
    async fn first_comparison(&self, tries: u32) -> Result<Option<Why>, Lost> {
        let (look, before) = self.settled_look(tries).await?;
        let (lost, same) = {
            let seen = self.weigh(&look, before);
            let mut watch = locked(&self.source.watch);
            (watch.is_lost(&seen), watch.is_same(&seen))
        };
        if lost {
            self.alarm();
            return Ok(Some(Why::Lost));
        }
        Ok(match same {
            Some(true) => None,
            Some(false) => Some(Why::Differs),
            None => Some(Why::Unsettled),
        })
    }

    /// A look at a moment at which nothing is on its way, if there is one among so many.
    async fn settled_look(&self, tries: u32) -> Result<(Look, (Digest, bool)), Lost> {
        let mut tried = 0;
        loop {
            self.forget_now().await?;
            let before = self.known();
            let look = self.look().await?;
            tried += 1;
            let seen = self.seen(&look, before);
            if tried >= tries || locked(&self.source.watch).is_same(&seen).is_some() {
                return Ok((look, before));
            }
            self.source.note_alive(self.hub);
            sleep(SETTLE_INTERVAL).await;
        }
    }

    /// The regular look: a thorough one when it is time to compare.
    async fn next_look(&self) -> Result<(Look, (Digest, bool)), Lost> {
        let now = self.hub.now().mono;
        let due = locked(&self.source.watch).is_due(now);
        if due {
            return self.settled_look(SETTLE_TRIES).await;
        }
        let before = self.known();
        Ok((self.look().await?, before))
    }

    async fn compare_forever(&self) -> Lost {
        let mut ticks = interval(self.source.config.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (look, before) = match self.next_look().await {
                Ok(looked) => looked,
                Err(lost) => return lost,
            };
            self.source.note_alive(self.hub);
            let (same, why) = {
                let seen = self.weigh(&look, before);
                let mut watch = locked(&self.source.watch);
                (watch.is_same(&seen), watch.judge(&seen))
            };
            if same == Some(true) {
                let passing = locked(&self.source.refused).passing() > 0;
                self.hub.source_trouble(&KIND, passing.then_some(REFUSED));
            }
            if locked(&self.source.watch).is_doubted(&look)
                && let Err(lost) = self.sample_all().await
            {
                return lost;
            }
            if let Some(why) = why
                && let Err(lost) = self.read(why, true).await
            {
                return lost;
            }
        }
    }

    pub(super) async fn look(&self) -> Result<Look, Lost> {
        let config = &self.source.config;
        let patience = config.dead_after.saturating_sub(config.ping_interval);
        let mut link = self.link.clone();
        let asked = self.hub.now().mono;
        let look = timeout(patience, self.source.scripts.look(&mut link)).await;
        let look = look.map_err(|_| Lost::Silent)??;
        self.source.note_look(self.hub, asked, &look);
        Ok(look)
    }

    /// Notes how both stand to each other, and gives what there is to be decided on.
    fn weigh<'b>(&self, look: &'b Look, before: (Digest, bool)) -> Seen<'b> {
        let seen = self.seen(look, before);
        let foreign = {
            let mut watch = locked(&self.source.watch);
            watch.see(&seen);
            watch.foreign
        };
        let settled = !seen.busy && seen.position >= look.last;
        let compared = Compared {
            here: seen.ours,
            there: Some(look.digest.unwrap_or_default()),
            foreign,
            settled,
        };
        let mut follower = locked(&self.source.follower);
        let before = follower.agreement(seen.now).map(|agreement| agreement.state);
        let state = follower.look(compared, seen.now, wall_clock());
        let agreement = follower.agreement(seen.now);
        drop(follower);
        if state == State::Differs && before != Some(state) {
            let (here, there) = (seen.ours.count, look.digest.unwrap_or_default().count);
            error!(source = REDIS, here, there, "Redis differs, and nothing is under way");
        }
        self.source.note_agreement(self.hub, agreement);
        seen
    }

    /// From now on both differ for a while, and why is known.
    fn unsettle(&self) {
        let (here, now) = (self.hub.engine().digest(), self.hub.now().mono);
        let mut follower = locked(&self.source.follower);
        follower.unsettle(here, now, wall_clock());
        self.source.note_agreement(self.hub, follower.agreement(now));
    }

    /// The events known here, and whether something is on its way to Redis.
    fn known(&self) -> (Digest, bool) {
        let source = self.source;
        let ours = self.hub.engine().digest();
        let busy = source.outbox.queue().is_busy()
            || !locked(&source.unseen).is_empty()
            || !locked(&source.chores).is_idle();
        (ours, busy)
    }

    /// What was on its way while we looked can be compared with nothing: hence `before`.
    fn seen<'a>(&self, look: &'a Look, before: (Digest, bool)) -> Seen<'a> {
        let (ours, busy) = self.known();
        let busy = busy || before != (ours, false);
        let (position, now) = (*self.reached.borrow(), self.hub.now().mono);
        Seen { look, ours, position, busy, now }
    }

    /// Reads everything, sounding the alarm first if data was lost.
    pub(super) async fn read(&self, why: Why, paced: bool) -> Result<(), Lost> {
        if why == Why::Lost {
            self.alarm();
        }
        self.unsettle();
        self.source.metrics.read(why.as_str());
        info!(source = REDIS, why = why.as_str(), "reading everything");
        let before = self.look().await?;
        let found = self.read_everything(paced).await?;
        let (taken, written) = (found.taken, found.written);
        *locked(&self.source.hole) = Some(found.hole).filter(|hole| *hole > 0);
        if why != Why::NoPosition {
            self.source.metrics.repaired_here(taken);
        }
        // What was lost while it was read is seen at the next look.
        let now = self.hub.now().mono;
        locked(&self.source.watch).has_read(found.foreign, &before.since, now);
        let foreign = found.foreign.count;
        info!(source = REDIS, taken, written, foreign, "everything has been read");
        Ok(())
    }

    fn alarm(&self) {
        self.source.metrics.data_lost();
        self.hub.source_trouble(&KIND, Some(DATA_LOST));
        error!(source = REDIS, "{DATA_LOST}");
    }
}
