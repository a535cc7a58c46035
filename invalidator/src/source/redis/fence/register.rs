//! This daemon's registration, renewed in one call about once a second; and its last word, when it is stopped on purpose.

use std::collections::VecDeque;
use std::time::Duration;

use redis::{RedisResult, Script};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::super::connect::Link;
use super::super::layout::StreamId;
use super::super::session::Session;
use super::super::write::ends_connection;
use super::super::{Lost, REDIS, RedisSource, locked};
use crate::fence::{
    DAEMONS_MAX, Members, RENEWED_EVERY, last_word, registration, remembered, renewed_every,
};
use crate::hub::Hub;
use crate::wire::Registration;

/// The pause after Redis has refused it.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// How often all registrations are read while they are renewed every second, to find equal names and to forget what is
/// gone for long.
const CENSUS_EVERY: Duration = Duration::from_secs(60);
/// How soon the first time: whoever was there before under the same name counts as gone by then.
const CENSUS_FIRST: Duration = Duration::from_secs(5);
/// Longest wait for the last word to be taken.
const LAST_WORD_PATIENCE: Duration = Duration::from_secs(1);
/// What the log says if the last word was not taken.
const UNSAID: &str = "the fleet does not know that this daemon is stopped: it will count as gone";
/// Most marks: for how many renewals an Envoy may be behind, and its position is known.
const MARKS_MAX: usize = 64;

/// Which change stood for which place in the stream.
#[derive(Debug, Default)]
struct Marks(VecDeque<(u64, StreamId)>);

impl Marks {
    /// Notes that whoever has applied this sequence has applied all of the stream up to there.
    fn note(&mut self, sequence: u64, reached: StreamId) {
        self.0.retain(|(known, _)| *known < sequence);
        if self.0.len() >= MARKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((sequence, reached));
    }

    /// Up to where in the stream somebody has applied everything who has applied this sequence.
    fn of(&self, applied: u64) -> Option<StreamId> {
        self.0.iter().rev().find(|(sequence, _)| *sequence <= applied).map(|(_, reached)| *reached)
    }
}

/// What Redis says to a registration.
struct Registered {
    had_room: bool,
    /// When registrations began.
    since: u64,
    /// How many daemons are registered.
    daemons: usize,
}

impl Session<'_> {
    /// Renews the registration, for as long as the connection lasts.
    pub(in super::super) async fn register(&self) -> Lost {
        let mut marks = Marks::default();
        let (mut every, mut census) = (RENEWED_EVERY, Instant::now() + CENSUS_FIRST);
        loop {
            let next = Instant::now() + every;
            let lost = locked(&self.source.fences.registry).take_lost(self.hub.now().mono);
            let is_census = Instant::now() >= census;
            let done = async {
                let registered = self.renew(&mut marks, every).await?;
                if let Some((seen, passed)) = lost {
                    let written = self.write_registrations_back(seen, passed).await?;
                    warn!(
                        source = REDIS,
                        written, "registrations that Redis has lost are written back"
                    );
                }
                if is_census || !registered.had_room {
                    self.census().await?;
                }
                RedisResult::Ok(registered)
            };
            let done = done.await;
            self.hub.metrics.fleet.registered(done.as_ref().is_ok_and(|done| done.had_room));
            if is_census {
                // The more there are to be read, the less often.
                census = Instant::now() + CENSUS_EVERY.mul_f64(every.as_secs_f64());
            }
            match done {
                Ok(Registered { daemons, .. }) => every = renewed_every(daemons),
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    let what = "Redis does not register this daemon: the fleet does not know it";
                    warn!(source = REDIS, cause = %error, "{what}");
                    sleep(REFUSED_PAUSE).await;
                }
            }
            sleep_until(next).await;
        }
    }

    async fn renew(&self, marks: &mut Marks, every: Duration) -> RedisResult<Registered> {
        // In this order: whatever was written before this place is among the changes of that sequence.
        let reached = *self.reached.borrow();
        let now = self.hub.now();
        let (status, age, applied) = {
            let engine = self.hub.engine();
            (engine.status(now), engine.sources_age(now), engine.applied_by_all(now))
        };
        marks.note(status.sequence, reached);
        let applied = applied.and_then(|applied| marks.of(applied)).map(|id| id.to_string());
        let read = self.is_complete().then(|| reached.to_string());
        let said = registration(self.hub.called(), &status, age, (read, applied), every);
        let to = (&self.source.fences.scripts.register, &*self.source.scripts.layout.daemons);
        let registered = say(to, &mut self.link.clone(), &status.epoch, &said).await?;
        locked(&self.source.fences.registry).began(registered.since);
        if !registered.had_room {
            error!(source = REDIS, most = DAEMONS_MAX, "no room to register another daemon");
        }
        Ok(registered)
    }

    /// Who is registered.
    pub(in super::super) async fn read_members(&self) -> RedisResult<Members> {
        let (now_ms, raw) = self.read_registrations().await?;
        Ok(Members::read(&raw, now_ms))
    }

    async fn read_registrations(&self) -> RedisResult<(u64, Vec<(String, Vec<u8>)>)> {
        let mut call = self.source.fences.scripts.members.prepare_invoke();
        call.key(&self.source.scripts.layout.daemons);
        call.invoke_async(&mut self.link.clone()).await
    }

    /// Says which names more than one daemon has, remembers who is there, and removes the registrations that are over.
    async fn census(&self) -> RedisResult<()> {
        let (now_ms, raw) = self.read_registrations().await?;
        let members = Members::read(&raw, now_ms);
        let seen = remembered(&raw, now_ms, self.hub.engine().epoch());
        locked(&self.source.fences.registry).saw(seen, self.hub.now().mono);
        self.hub.metrics.fleet.members(&members);
        for name in members.equal_names() {
            let what = "two live daemons have the same fleet.name: give each its own";
            error!(source = REDIS, name, "{what}");
        }
        if !members.forgotten.is_empty() {
            let mut forget = redis::cmd("HDEL");
            forget.arg(&self.source.scripts.layout.daemons).arg(&members.forgotten);
            forget.query_async::<()>(&mut self.link.clone()).await?;
        }
        Ok(())
    }
}

impl RedisSource {
    /// Says that this daemon is stopped on purpose, and which Envoys it leaves behind. Nothing renews the registration
    /// any more. Without a connection it counts as gone, as if it had crashed.
    pub(in super::super) async fn deregister(&self, hub: &Hub) {
        let Some(mut link) = locked(&self.fences.link).take() else { return };
        let now = hub.now();
        let (status, age) = {
            let engine = hub.engine();
            (engine.status(now), engine.sources_age(now))
        };
        let said = last_word(hub.called(), &status, age);
        let to = (&self.fences.scripts.register, &*self.scripts.layout.daemons);
        let said = timeout(LAST_WORD_PATIENCE, say(to, &mut link, &status.epoch, &said)).await;
        match said {
            Ok(Ok(_)) => info!(source = REDIS, "the fleet knows that this daemon is stopped"),
            Ok(Err(cause)) => warn!(source = REDIS, %cause, "{UNSAID}"),
            Err(_) => warn!(source = REDIS, cause = "no answer in time", "{UNSAID}"),
        }
    }
}

/// Registers what a daemon says.
async fn say(
    (script, key): (&Script, &str),
    link: &mut Link,
    run: &str,
    said: &Registration,
) -> RedisResult<Registered> {
    let json = serde_json::to_string(said).unwrap_or_default();
    let mut call = script.prepare_invoke();
    call.key(key).arg(run).arg(json).arg(DAEMONS_MAX);
    let (had_room, since, daemons) = call.invoke_async(link).await?;
    Ok(Registered { had_room, since, daemons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_that_of_the_last_mark_that_is_applied() {
        let id = |ms| StreamId { ms, sequence: 0 };
        let mut marks = Marks::default();
        assert_eq!(marks.of(9), None);
        marks.note(3, id(10));
        marks.note(7, id(20));
        assert_eq!(
            [marks.of(2), marks.of(3), marks.of(6), marks.of(7)],
            [None, Some(id(10)), Some(id(10)), Some(id(20))]
        );
        marks.note(7, id(30));
        assert_eq!(
            (marks.of(7), marks.of(6)),
            (Some(id(30)), Some(id(10))),
            "what brings no change is applied"
        );
        for sequence in 8..200 {
            marks.note(sequence, id(sequence * 10));
        }
        assert_eq!(marks.0.len(), MARKS_MAX);
        assert_eq!(marks.of(100), None, "behind for longer than is remembered");
    }
}
