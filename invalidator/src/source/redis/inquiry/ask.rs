//! Asks all daemons about their audit logs, and takes their answers in.

use std::collections::BTreeMap;

use evidence::{Log, Silent};
use redis::RedisResult;
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use uuid::Uuid;

use super::super::connect::Link;
use super::super::session::Session;
use super::super::write::ends_connection;
use super::super::{Lost, REDIS};
use super::Asking;
use crate::fence::Members;
use crate::hub::Gathered;
use crate::inquiry::{Inquiry, Testimony};
use crate::wire::{DaemonState, FleetDaemon};

/// Most bytes of all answers together: what comes beyond is left out, and named.
const GATHERED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where the answers go to the one who has this run.
pub(super) fn list_of(session: &Session<'_>, run: &str) -> String {
    session.source.scripts.layout.answers(&format!("{run}-evidence"))
}

/// What is heard of the daemons that are waited for, by their runs.
#[derive(Default)]
struct Heard {
    logs: BTreeMap<String, Log>,
    reasons: BTreeMap<String, &'static str>,
    bytes: usize,
}

impl Session<'_> {
    /// Asks what is to be asked, for as long as the connection lasts.
    pub(in super::super) async fn inquire(&self) -> Lost {
        loop {
            let asking = self.source.inquiries.next_asking().await;
            match self.ask_all(&asking).await {
                Ok(gathered) => {
                    // Whoever has given up needs no answer.
                    let _ = asking.answer.send(gathered);
                }
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    warn!(source = REDIS, cause = %error, "Redis does not let daemons be asked");
                }
            }
        }
    }

    async fn ask_all(&self, asking: &Asking) -> RedisResult<Gathered> {
        let members = self.read_members().await?;
        let own = self.hub.engine().epoch().to_owned();
        let mut heard = Heard::default();
        let live: Vec<&str> = expected(&members, &own).map(|one| one.run.as_str()).collect();
        let left = asking.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            heard.reasons = live.iter().map(|run| ((*run).to_owned(), BUSY)).collect();
            return Ok(gathered(&members, &own, heard));
        }
        let (keys, now) = (self.hub.audit.shared(), self.hub.common_time());
        let nonce = Uuid::new_v4().simple().to_string();
        let names = (nonce.clone(), own.clone());
        let inquiry = Inquiry::of(&asking.question, names, left, &keys, now);
        if let Some(inquiry) = inquiry.filter(|_| !live.is_empty()) {
            let mut link = self.source.servers.connect(self.source.config.dead_after).await;
            self.write_inquiry(&inquiry).await?;
            // Without a connection of its own nothing is heard, and each is named as silent.
            if let Ok(link) = &mut link {
                let until = asking.until;
                let all = self.hear_all(link, (&own, &nonce), &live, &mut heard);
                // Also if the time is over: what was heard is heard.
                timeout_at(until, all).await.unwrap_or(Ok(()))?;
            }
        }
        Ok(gathered(&members, &own, heard))
    }

    async fn write_inquiry(&self, inquiry: &Inquiry) -> RedisResult<()> {
        let json = serde_json::to_string(inquiry).unwrap_or_default();
        let scripts = &self.source.scripts;
        let mut add = redis::cmd("XADD");
        add.arg(&scripts.layout.stream).arg("MAXLEN").arg("~").arg(scripts.stream_entries_max());
        add.arg("*").arg("inquiry").arg(json);
        add.query_async(&mut self.link.clone()).await
    }

    /// Hears answers until all that are waited for are there.
    async fn hear_all(
        &self,
        link: &mut Link,
        (own, nonce): (&str, &str),
        live: &[&str],
        heard: &mut Heard,
    ) -> RedisResult<()> {
        let key = list_of(self, own);
        while !live.iter().all(|run| heard.is_of(run)) {
            let mut wait = redis::cmd("BLPOP");
            wait.arg(&key).arg(self.block_s());
            let answer: Option<(String, Vec<u8>)> = wait.query_async(link).await?;
            if let Some((_, bytes)) = answer {
                self.hear_one(&bytes, nonce, live, heard);
            }
        }
        Ok(())
    }

    /// Whoever can write to Redis can write this: what does not fit is left alone.
    fn hear_one(&self, bytes: &[u8], nonce: &str, live: &[&str], heard: &mut Heard) {
        let testimony = Testimony::read(bytes).filter(|one| one.nonce == nonce);
        let Some(testimony) = testimony.filter(|one| live.contains(&one.run.as_str())) else {
            return;
        };
        match testimony.believed(&self.hub.audit.shared()) {
            // Whoever forges one takes nothing away from the genuine one.
            None => {
                heard
                    .reasons
                    .insert(testimony.run, "what it has answered is not signed as required");
            }
            Some(_) if heard.bytes.saturating_add(bytes.len()) > GATHERED_BYTES_MAX => {
                heard.reasons.insert(testimony.run, "there was no room for its answer");
            }
            Some(log) => {
                heard.bytes = heard.bytes.saturating_add(bytes.len());
                heard.logs.insert(testimony.run, log);
            }
        }
    }
}

impl Heard {
    fn is_of(&self, run: &str) -> bool {
        self.logs.contains_key(run)
    }
}

/// The daemons that are there and are to answer.
fn expected<'a>(members: &'a Members, own: &'a str) -> impl Iterator<Item = &'a FleetDaemon> {
    let others = members.daemons.iter().filter(move |one| one.run != own);
    others.filter(|one| one.state != DaemonState::Gone)
}

/// What was heard, and who has said nothing.
fn gathered(members: &Members, own: &str, mut heard: Heard) -> Gathered {
    let mut gathered = Gathered::default();
    for one in members.daemons.iter().filter(|one| one.run != own) {
        if let Some(log) = heard.logs.remove(&one.run) {
            gathered.logs.push(named(log, one));
            continue;
        }
        let reason = match (one.state, &one.gone_since, heard.reasons.get(&one.run)) {
            (DaemonState::Gone, Some(since), _) => format!("it is gone since {since}"),
            (DaemonState::Gone, None, _) => "it is gone".to_owned(),
            (_, _, Some(reason)) => (*reason).to_owned(),
            _ => NO_ANSWER.to_owned(),
        };
        let mut envoys: Vec<_> = one.said.envoys.iter().map(|envoy| envoy.node.clone()).collect();
        envoys.sort();
        envoys.dedup();
        let (daemon, region) = (one.said.name.clone(), one.said.region.clone());
        gathered.silent.push(Silent { daemon, region, envoys, reason });
    }
    if !members.settled {
        gathered.silent.push(Silent {
            daemon: "(all)".to_owned(),
            region: None,
            envoys: Vec::new(),
            reason: "the registrations began only now, and a daemon may be there that has not registered yet"
                .to_owned(),
        });
    }
    gathered
}

/// One inquiry is asked after the other.
const BUSY: &str =
    "it was not asked: the daemon at hand was asking for others until the time was over";

/// Also of a daemon that has other keys than this one, or none: it does not even know that it is asked.
const NO_ANSWER: &str = "it did not answer in time; it may be of an older version, or have other keys in fleet.pseudonym_key_file";

/// A log is called as its daemon has registered: what it says of itself is the same, unless two daemons have one name.
fn named(log: Log, one: &FleetDaemon) -> Log {
    let daemon = one.said.name.clone();
    Log { daemon, region: one.said.region.clone(), ..log }
}
