//! Inboxes: lists to which a publisher may append events, and that he can neither read nor change.
//!
//! Daemons compete for what is in them. A script takes some events at a time, stamps them with when they
//! were taken, and lays them aside until they are done with: accepted and written for all daemons, or
//! refused for good. What a daemon took and did not finish with is taken again by whichever daemon is
//! first, with the stamp that it has, so that it keeps its place in the order of events.
//!
//! What to do with an event is decided in [`decide`]; that there are any is heard by [`bell`].

pub(super) mod bell;
mod decide;
pub(super) mod metrics;
mod scripts;

use std::collections::BTreeSet;
use std::time::Duration;

use access::Inbox;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use model::name::EventId;
use model::time::UnixMicros;
use redis::{RedisError, RedisResult};
use tokio::sync::{Notify, oneshot};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{error, info, warn};

use self::decide::{
    Backlog, Change, Fate, WRITTEN_WITHIN, after_refusal, counts_from, tried_again,
};
use self::scripts::{Batch, Outcome, TAKEN_MAX, Taken};
use super::layout::InboxKeys;
use super::session::Session;
use super::write::ends_connection;
use super::{BACKOFF_MAX, KIND, Lost, REDIS, backoff};
use crate::intake::{self, Origin, Path};
pub(super) use bell::Bell;
pub(super) use scripts::Scripts;

/// How often an inbox is looked into that nobody has rung for: what others did not finish with is found
/// then, and what came while the bell was not heard.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while the bell cannot be heard.
const DEAF_INTERVAL: Duration = Duration::from_millis(50);
/// How long it is waited until what is refused for good is on the disk: less than a lease.
const LETTERS_WITHIN: Duration = Duration::from_secs(1);
/// How many events are taken in before others get their turn.
const EVENTS_PER_TURN: usize = 8;

/// One inbox, and what is remembered of it from one look to the next.
struct Served<'a> {
    inbox: &'a Inbox,
    keys: InboxKeys,
    backlog: Backlog,
    /// What was refused here for a cause that may pass, or not written, and waits.
    resting: BTreeSet<Vec<u8>>,
    /// The keys of publishers with which that was.
    keys_version: u64,
    failing: bool,
}

impl Served<'_> {
    fn note_outcome(&mut self, outcome: &Outcome) {
        for stamp in &outcome.done {
            self.resting.remove(stamp);
        }
        // What others have done with since is forgotten here as well, once there is too much.
        if self.resting.len() > TAKEN_MAX {
            self.resting.clear();
        }
        self.resting.extend(outcome.later.iter().map(|(stamp, _)| stamp.clone()));
    }
}

/// What is known of an event once it has been taken in.
enum Step {
    Known(Fate),
    /// Refused for good.
    Refused,
    /// Accepted; the answer comes once Redis has it.
    Writing(oneshot::Receiver<EventId>),
}

fn out_of(inbox: &Inbox, at: UnixMicros) -> Origin {
    Origin::new(&KIND, Path::Heard(at)).by(intake::inbox(&inbox.name))
}

impl Session<'_> {
    /// Takes events out of all inboxes, for as long as the connection lasts.
    pub(super) async fn serve_inboxes(&self) -> Lost {
        let inboxes = self.source.config.inboxes.iter().zip(self.source.bell.lines());
        let mut all: FuturesUnordered<_> =
            inboxes.map(|(inbox, line)| self.serve_inbox(inbox, line)).collect();
        match all.next().await {
            Some(lost) => lost,
            // There are none.
            None => std::future::pending().await,
        }
    }

    async fn serve_inbox(&self, inbox: &Inbox, line: &Notify) -> Lost {
        let mut served = Served {
            inbox,
            keys: self.source.scripts.layout.inbox(&inbox.name),
            backlog: Backlog::default(),
            resting: BTreeSet::new(),
            keys_version: self.hub.intake().keys_version(),
            failing: false,
        };
        let mut pauses = backoff();
        loop {
            match self.serve_once(&mut served).await {
                Ok(taken) => {
                    pauses = backoff();
                    self.note_working(&mut served);
                    if taken == 0 {
                        let hears = self.source.bell.hears();
                        let interval = if hears { LOOK_INTERVAL } else { DEAF_INTERVAL };
                        // Either has the inbox looked into.
                        let _ = timeout(interval, line.notified()).await;
                    }
                }
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    self.note_failing(&mut served, &error);
                    sleep(pauses.next().unwrap_or(BACKOFF_MAX)).await;
                }
            }
        }
    }

    /// Takes some events, and says how many.
    async fn serve_once(&self, served: &mut Served<'_>) -> RedisResult<usize> {
        self.wake_resting(served).await?;
        let scripts = &self.source.inbox_scripts;
        let mut link = self.link.clone();
        let batch = scripts.take(&mut link, &served.keys).await?;
        self.note_batch(served, &batch);
        if batch.events.is_empty() {
            return Ok(0);
        }
        let outcome = self.take_in_batch(served, &batch).await;
        served.note_outcome(&outcome);
        scripts.settle(&mut link, &served.keys, &outcome).await?;
        Ok(batch.events.len())
    }

    /// With other keys, what was refused may be accepted: it is looked at again at once.
    async fn wake_resting(&self, served: &mut Served<'_>) -> RedisResult<()> {
        let keys = self.hub.intake().keys_version();
        if std::mem::replace(&mut served.keys_version, keys) == keys || served.resting.is_empty() {
            return Ok(());
        }
        let later = served.resting.iter().map(|stamp| (stamp.clone(), Duration::ZERO)).collect();
        let outcome = Outcome { done: Vec::new(), later };
        let mut link = self.link.clone();
        self.source.inbox_scripts.settle(&mut link, &served.keys, &outcome).await
    }

    /// Takes them in one after the other, in the order in which they were put there, and waits until
    /// Redis has what was accepted.
    async fn take_in_batch(&self, served: &Served<'_>, batch: &Batch) -> Outcome {
        let mut steps = Vec::new();
        for turn in batch.events.chunks(EVENTS_PER_TURN) {
            steps.extend(turn.iter().map(|taken| self.take_in_taken(served, batch.held, taken)));
            yield_now().await;
        }
        if steps.iter().any(|step| matches!(step, Step::Refused)) {
            self.keep_letters().await;
        }
        let deadline = Instant::now() + WRITTEN_WITHIN;
        let mut outcome = Outcome::default();
        for (taken, step) in batch.events.iter().zip(steps) {
            let fate = match step {
                Step::Known(fate) => fate,
                Step::Refused => Fate::Done,
                Step::Writing(answered) => match timeout_at(deadline, answered).await {
                    Ok(Ok(_)) => Fate::Done,
                    // No room in the outbox, or Redis does not write.
                    _ => tried_again(self.age_of(taken)),
                },
            };
            match fate {
                Fate::Done => outcome.done.push(taken.stamp.clone()),
                Fate::Later(pause) => outcome.later.push((taken.stamp.clone(), pause)),
            }
        }
        outcome
    }

    /// Waits until the dead letters of what was refused are on the disk, since Redis is to forget it. A disk that
    /// takes nothing holds up nobody's events for long: it has an alarm of its own.
    async fn keep_letters(&self) {
        let letters = self.hub.dead_letters.clone();
        let _ = spawn_blocking(move || letters.settled(LETTERS_WITHIN)).await;
    }

    /// Since when an event has been taken out of its inbox, as far as that is believed.
    fn age_of(&self, taken: &Taken) -> Duration {
        let now = self.hub.common_time();
        now.since(counts_from(&taken.stamp, now))
    }

    fn take_in_taken(&self, served: &Served<'_>, held: usize, taken: &Taken) -> Step {
        let at = counts_from(&taken.stamp, self.hub.common_time());
        let age = self.age_of(taken);
        // Its refusal is noted already: once is enough.
        if served.resting.contains(&taken.stamp)
            && let again @ Fate::Later(_) = tried_again(age)
            && !self.hub.would_take(out_of(served.inbox, at), &taken.event)
        {
            return Step::Known(again);
        }
        let name = &served.inbox.name;
        let metrics = &self.source.inbox_metrics;
        match self.hub.ingest_from_inbox(out_of(served.inbox, at), served.inbox, &taken.event) {
            Ok(accepted) => {
                metrics.took(name, accepted.ingested.verdict.as_str());
                match self.hub.write_to_replica(&accepted) {
                    Some(answered) => Step::Writing(answered),
                    None => Step::Known(Fate::Done),
                }
            }
            Err(refusal) => {
                let fate = after_refusal(&refusal, age, held);
                let is_done = fate == Fate::Done;
                metrics.took(name, if is_done { "refused" } else { "again" });
                if is_done { Step::Refused } else { Step::Known(fate) }
            }
        }
    }

    fn note_batch(&self, served: &mut Served<'_>, batch: &Batch) {
        let name = &served.inbox.name;
        let metrics = &self.source.inbox_metrics;
        metrics.waiting(name, batch.waiting, batch.held);
        if batch.aside > 0 {
            self.source.metrics.put_aside(batch.aside);
            let keys = batch.aside;
            error!(source = REDIS, inbox = %name, keys, "keys of an inbox were damaged, and are put aside");
        }
        match served.backlog.look(batch.waiting) {
            Some(Change::Grown) => {
                let waiting = batch.waiting;
                error!(source = REDIS, inbox = %name, waiting, "more events come into an inbox than are taken");
            }
            Some(Change::Gone) => {
                info!(source = REDIS, inbox = %name, "an inbox is nearly empty again")
            }
            None => {}
        }
    }

    fn note_failing(&self, served: &mut Served<'_>, cause: &RedisError) {
        if !std::mem::replace(&mut served.failing, true) {
            let name = &served.inbox.name;
            self.source.inbox_metrics.failing(name, true);
            error!(source = REDIS, inbox = %name, %cause, "nothing can be taken out of an inbox");
        }
    }

    fn note_working(&self, served: &mut Served<'_>) {
        if std::mem::replace(&mut served.failing, false) {
            let name = &served.inbox.name;
            self.source.inbox_metrics.failing(name, false);
            warn!(source = REDIS, inbox = %name, "an inbox can be used again");
        }
    }
}
