//! This daemon's registration, renewed in one call about once a second.

use std::collections::VecDeque;
use std::time::Duration;

use redis::RedisResult;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, warn};

use super::super::layout::StreamId;
use super::super::session::Session;
use super::super::write::ends_connection;
use super::super::{Lost, REDIS};
use crate::fence::{DAEMONS_MAX, Members, registration};

/// How often it is renewed.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause after Redis has refused it.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// After so many renewals all registrations are read, to find equal names and to forget what is gone for long.
const CENSUS_EVERY: u32 = 60;
/// The first time already after so many: whoever was there before under the same name counts as gone by then.
const CENSUS_FIRST: u32 = 5;
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

impl Session<'_> {
    /// Renews the registration, for as long as the connection lasts.
    pub(in super::super) async fn register(&self) -> Lost {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut marks, mut renewals) = (Marks::default(), 0u32);
        loop {
            ticks.tick().await;
            renewals = renewals.saturating_add(1);
            let is_census = renewals == CENSUS_FIRST || renewals >= CENSUS_EVERY;
            let done = match self.renew(&mut marks).await {
                Ok(()) if is_census => self.census().await,
                done => done,
            };
            match done {
                Ok(()) => {}
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => {
                    let what = "Redis does not register this daemon: the fleet does not know it";
                    warn!(source = REDIS, cause = %error, "{what}");
                    sleep(REFUSED_PAUSE).await;
                }
            }
            if renewals >= CENSUS_EVERY {
                renewals = CENSUS_FIRST;
            }
        }
    }

    async fn renew(&self, marks: &mut Marks) -> RedisResult<()> {
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
        let said = registration(self.hub.called(), &status, age, (read, applied));
        let json = serde_json::to_string(&said).unwrap_or_default();
        let mut call = self.source.fences.register.prepare_invoke();
        call.key(&self.source.scripts.layout.daemons).arg(&status.epoch).arg(json).arg(DAEMONS_MAX);
        let had_room: bool = call.invoke_async(&mut self.link.clone()).await?;
        if !had_room {
            error!(source = REDIS, most = DAEMONS_MAX, "no room to register another daemon");
            self.census().await?;
        }
        Ok(())
    }

    /// Who is registered.
    pub(super) async fn read_members(&self) -> RedisResult<Members> {
        let daemons = &self.source.scripts.layout.daemons;
        self.source.fences.read_members(daemons, &mut self.link.clone()).await
    }

    /// Says which names more than one daemon has, and removes the registrations that are over.
    async fn census(&self) -> RedisResult<()> {
        let members = self.read_members().await?;
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
