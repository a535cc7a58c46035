//! Asks all daemons who enforces an event, and takes their answers in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use redis::RedisResult;
use tracing::warn;
use uuid::Uuid;

use super::super::connect::Link;
use super::super::session::Session;
use super::super::write::ends_connection;
use super::super::{KIND, Lost, REDIS, locked};
use super::Question;
use crate::fence::{Answer, Fence, Heard, Members, Reply, mac_text};

/// Most answers that are taken out of the list at once.
const REPLIES_AT_ONCE: usize = 512;
/// The part of the time that somebody waits after which daemons answer in any case, so that it comes in time.
const ANSWERED_WITHIN: (u32, u32) = (3, 4);

impl Session<'_> {
    /// Asks what is to be asked, for as long as the connection lasts.
    pub(in super::super) async fn ask_fences(&self) -> Lost {
        let fences = &self.source.fences;
        loop {
            let (questions, who) = fences.take();
            if questions.is_empty() && who.is_empty() {
                fences.asked.notified().await;
                continue;
            }
            // What is asked meanwhile is asked together, as soon as this one is written.
            match self.ask(questions).await {
                Ok(members) => who.into_iter().for_each(|who| {
                    // Whoever has given up needs no answer.
                    let _ = who.send(members.clone());
                }),
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    warn!(source = REDIS, cause = %error, "Redis does not let daemons be asked");
                }
            }
        }
    }

    async fn ask(&self, mut questions: Vec<Question>) -> RedisResult<Members> {
        if questions.is_empty() {
            return self.read_members().await;
        }
        for question in &mut questions {
            question.record = self.hub.keeper().event(&question.subject, &question.event_id);
        }
        let (now, nonce) = (self.hub.now().mono, Uuid::new_v4().simple().to_string());
        let left = |one: &Question| one.since.saturating_add(one.lasts).saturating_sub(now);
        let longest = questions.iter().map(left).max().unwrap_or_default();
        let (part, of) = ANSWERED_WITHIN;
        let within = longest.saturating_mul(part).checked_div(of).unwrap_or_default();
        let fence = Fence {
            nonce: nonce.clone(),
            to: self.hub.engine().epoch().to_owned(),
            for_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            asks: questions.iter().map(|question| question.ask.clone()).collect(),
        };
        let since = |one: &Question| now.saturating_sub(one.since);
        let tallies: Vec<_> =
            questions.iter().map(|one| (one.tally.clone(), one.news.clone(), since(one))).collect();
        // Before it is asked: answers may be there at once.
        self.source.fences.await_answers(nonce, questions);
        let (written, members) = join(self.write_fence(&fence), self.read_members()).await;
        written?;
        self.hub.metrics.fleet.fence("asked");
        let mut members = members?;
        // Whoever asks knows of itself, also if somebody has removed its registration.
        members.include(self.hub.engine().epoch(), self.hub.called());
        let shared = Arc::new(members.clone());
        for (tally, news, asked) in tallies {
            locked(&tally).expect(Arc::clone(&shared), asked);
            news.send_replace(());
        }
        Ok(members)
    }

    async fn write_fence(&self, fence: &Fence) -> RedisResult<()> {
        let json = serde_json::to_string(fence).unwrap_or_default();
        let scripts = &self.source.scripts;
        let mut add = redis::cmd("XADD");
        add.arg(&scripts.layout.stream).arg("MAXLEN").arg("~").arg(scripts.stream_entries_max());
        add.arg("*").arg("fence").arg(json);
        add.query_async(&mut self.link.clone()).await
    }

    /// Takes in what daemons answer, for as long as the connection lasts. It needs a connection of its own only
    /// once somebody has asked.
    pub(in super::super) async fn collect_answers(&self) -> Lost {
        let fences = &self.source.fences;
        let mut link: Option<Link> = None;
        loop {
            if !fences.is_awaiting(self.hub.now().mono) {
                fences.awaited.notified().await;
                continue;
            }
            let collected = match &mut link {
                Some(link) => self.collect(link).await,
                None => match self.source.servers.connect(self.source.config.dead_after).await {
                    Ok(new) => {
                        link = Some(new);
                        continue;
                    }
                    Err(lost) => return lost,
                },
            };
            match collected {
                Ok(()) => {}
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    warn!(source = REDIS, cause = %error, "Redis does not hand over answers");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn collect(&self, link: &mut Link) -> RedisResult<()> {
        let key = self.source.scripts.layout.answers(self.hub.engine().epoch());
        let mut wait = redis::cmd("BLPOP");
        wait.arg(&key).arg(self.block_s());
        let Some((_, first)): Option<(String, Vec<u8>)> = wait.query_async(link).await? else {
            return Ok(());
        };
        self.take_reply(&first);
        let mut rest = redis::cmd("LPOP");
        rest.arg(&key).arg(REPLIES_AT_ONCE);
        let rest: Option<Vec<Vec<u8>>> = rest.query_async(link).await?;
        rest.unwrap_or_default().iter().for_each(|reply| self.take_reply(reply));
        Ok(())
    }

    /// Whoever can write to Redis can write this: what does not fit is left alone.
    fn take_reply(&self, bytes: &[u8]) {
        let metrics = &self.hub.metrics.fleet;
        let Some(reply) = Reply::read(bytes) else { return metrics.reply("malformed") };
        let now = self.hub.now().mono;
        let asking = locked(&self.source.fences.asking);
        let open: &HashMap<_, _> = &asking.open;
        let Some(questions) = open.get(&reply.nonce) else { return metrics.reply("unasked") };
        metrics.reply("taken");
        for answer in &reply.answers {
            let Some(question) = questions.get(answer.ask) else { continue };
            let Ok(said) = serde_json::from_str(&answer.said) else { continue };
            let heard = Heard {
                run: reply.run.clone(),
                daemon: reply.daemon.clone(),
                region: reply.region.clone(),
                said,
                is_vouched: self.is_vouched(question, &reply, answer),
            };
            if !heard.is_vouched {
                metrics.reply("not_vouched");
            }
            locked(&question.tally).hear(heard, now.saturating_sub(question.since));
            question.news.send_replace(());
        }
    }

    /// Whether an answer may be believed: where signatures are required, only whoever has the key of the event can
    /// give one.
    fn is_vouched(&self, question: &Question, reply: &Reply, answer: &Answer) -> bool {
        let intake = self.hub.intake();
        if !intake.requires_signatures(&KIND) {
            return true;
        }
        let text = mac_text((&reply.nonce, &reply.run, &reply.daemon), &question.ask, &answer.said);
        let proof = question.record.as_ref().zip(answer.mac.as_ref());
        proof.is_some_and(|(record, mac)| intake.is_word(record, &text, mac))
    }
}
