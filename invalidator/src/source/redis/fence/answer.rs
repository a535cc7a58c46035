//! Answers fences: says of each event how this daemon's Envoys stand to it, whenever that changes.

use std::collections::VecDeque;
use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;
use redis::{RedisError, RedisResult};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::super::session::Session;
use super::super::write::ends_connection;
use super::super::{Lost, REDIS};
use super::HEARD_MAX;
use crate::fence::{Answer, Ask, Fence, Reply, Said, SaidState, mac_text};

/// How long an answer lies in Redis that nobody takes.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Most answers that lie there for one who asks: more than daemons have to say to fences that are open together.
const KEPT_MAX: usize = 65_536;

/// A fence that is not answered for good.
struct Open {
    fence: Fence,
    until: Instant,
    /// Of each event, how many Envoys were settled when it was last said; nothing: not said yet, or said for good.
    said: Vec<Progress>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    /// So many Envoys were done with it.
    Some(usize),
    Settled,
}

impl Open {
    fn new(fence: Fence) -> Self {
        let (until, asks) = (Instant::now() + fence.lasts(), fence.asks.len());
        Self { fence, until, said: vec![Progress::Nothing; asks] }
    }

    fn is_answered(&self) -> bool {
        self.said.iter().all(|said| *said == Progress::Settled)
    }
}

impl Session<'_> {
    /// Answers what is asked, for as long as the connection lasts.
    pub(in super::super) async fn answer_fences(&self) -> Lost {
        let fences = &self.source.fences;
        let (mut acknowledged, mut changed) = (self.hub.acknowledgements(), self.hub.changes());
        let mut open: VecDeque<Open> = VecDeque::new();
        loop {
            open.extend(fences.take_heard().into_iter().map(Open::new));
            let too_many = open.len().saturating_sub(HEARD_MAX);
            open.drain(..too_many).for_each(|_| self.hub.metrics.fleet.fence("left_out"));
            acknowledged.mark_unchanged();
            changed.mark_unchanged();
            let replies: Vec<_> = open.iter_mut().filter_map(|open| self.look_at(open)).collect();
            let count = replies.len();
            match self.send(replies).await {
                Ok(()) => (0..count).for_each(|_| self.hub.metrics.fleet.fence("answered")),
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => warn!(source = REDIS, cause = %error, "Redis does not take answers"),
            }
            open.retain(|open| !open.is_answered());
            let Some(next) = open.iter().map(|open| open.until).min() else {
                fences.rung.notified().await;
                continue;
            };
            tokio::select! {
                () = fences.rung.notified() => {}
                // Both senders live in the hub, so this cannot fail.
                _ = acknowledged.changed() => {}
                _ = changed.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// What is new about the events of one fence, if anything is.
    fn look_at(&self, open: &mut Open) -> Option<(String, Reply)> {
        let is_last = Instant::now() >= open.until;
        let (called, run) = (self.hub.called(), self.hub.engine().epoch().to_owned());
        let (nonce, to) = (open.fence.nonce.clone(), open.fence.to.clone());
        let mut answers = Vec::new();
        for (at, (ask, before)) in open.fence.asks.iter().zip(&mut open.said).enumerate() {
            if *before == Progress::Settled {
                continue;
            }
            let Some((subject, event_id)) = ask.names() else {
                *before = Progress::Settled;
                continue;
            };
            let said = self.said((&subject, &event_id), is_last);
            let is_done = |state| !matches!(state, SaidState::Behind | SaidState::NeverSynced);
            let done = said.nodes.iter().filter(|node| is_done(node.state)).count();
            let now = if said.settled { Progress::Settled } else { Progress::Some(done) };
            if now == *before || now == Progress::Some(0) {
                continue;
            }
            *before = now;
            let said = serde_json::to_string(&said).unwrap_or_default();
            let mac = self.word((&subject, &event_id), (&nonce, &run), (ask, &said));
            answers.push(Answer { ask: at, said, mac });
        }
        let (daemon, region) = (called.name.clone(), called.region.clone());
        let reply = Reply { nonce, run, daemon, region, answers };
        (!reply.answers.is_empty()).then_some((to, reply))
    }

    fn said(&self, event: (&Subject, &EventId), is_last: bool) -> Said {
        let now = self.hub.now();
        let found = self.hub.engine().enforcement(event.0, event.1, now);
        // The fence stands in the stream after the event.
        Said::of(found, now.mono.as_secs(), self.is_complete(), is_last)
    }

    /// Proof that it was a daemon that has said this, if the event is signed.
    fn word(
        &self,
        (subject, event_id): (&Subject, &EventId),
        (nonce, run): (&str, &str),
        (ask, said): (&Ask, &str),
    ) -> Option<String> {
        let record = self.hub.keeper().event(subject, event_id)?;
        let text = mac_text((nonce, run, &self.hub.called().name), ask, said);
        self.hub.intake().word(&record, &text)
    }

    /// All of them in one go.
    async fn send(&self, replies: Vec<(String, Reply)>) -> RedisResult<()> {
        let layout = &self.source.scripts.layout;
        let sent = replies.into_iter().map(|(to, reply)| {
            let (key, mut link) = (layout.answers(&to), self.link.clone());
            async move {
                let json = serde_json::to_string(&reply).unwrap_or_default();
                let mut push = redis::pipe();
                push.cmd("RPUSH").arg(&key).arg(json);
                push.cmd("PEXPIRE").arg(&key).arg(KEPT_FOR.as_millis().to_string()).ignore();
                let (kept,): (usize,) = push.query_async(&mut link).await?;
                if kept <= KEPT_MAX {
                    return Ok(());
                }
                // Nobody takes them: the newest go.
                let mut trim = redis::cmd("LTRIM");
                trim.arg(&key).arg(0).arg(KEPT_MAX.saturating_sub(1)).query_async(&mut link).await
            }
        });
        let sent: Result<Vec<()>, RedisError> = futures_util::future::try_join_all(sent).await;
        sent.map(drop)
    }
}
