//! Answers inquiries: says what this daemon's audit log has.

use std::time::Duration;

use redis::RedisResult;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::session::Session;
use super::super::write::ends_connection;
use super::super::{Lost, REDIS};
use super::ask::list_of;
use crate::inquiry::{Inquiry, ROOM_SENT, Testimony};

/// How long an answer lies in Redis that nobody takes.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Most answers that lie there for one who asks.
const KEPT_MAX: usize = 4_096;
/// The part of the time that somebody waits within which the log is read, so that the answer comes in time.
const READ_WITHIN: (u32, u32) = (3, 4);

impl Session<'_> {
    /// Answers what is asked, for as long as the connection lasts.
    pub(in super::super) async fn answer_inquiries(&self) -> Lost {
        loop {
            let (inquiry, until) = self.source.inquiries.next_heard().await;
            if inquiry.run == self.hub.engine().epoch() {
                // Whoever asks reads its own log.
                continue;
            }
            match self.testify(&inquiry, until).await {
                Ok(()) => {}
                Err(error) if ends_connection(&error) => return error.into(),
                Err(error) => warn!(source = REDIS, cause = %error, "Redis does not take evidence"),
            }
        }
    }

    async fn testify(&self, inquiry: &Inquiry, until: Instant) -> RedisResult<()> {
        let Some(question) = inquiry.question() else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        let (part, of) = READ_WITHIN;
        let within = left.saturating_mul(part).checked_div(of).unwrap_or_default();
        let read_until = std::time::Instant::now() + within;
        let log = self.hub.testimony(&question, ROOM_SENT, read_until).await;
        let run = self.hub.engine().epoch().to_owned();
        let (keys, now) = (self.hub.audit.shared(), self.hub.now().wall);
        let Some(testimony) = Testimony::of(&inquiry.nonce, &run, &log, &keys, now) else {
            return Ok(());
        };
        let json = serde_json::to_string(&testimony).unwrap_or_default();
        let key = list_of(self, &inquiry.run);
        let mut push = redis::pipe();
        push.cmd("RPUSH").arg(&key).arg(json).ignore();
        push.cmd("LTRIM").arg(&key).arg(0).arg(KEPT_MAX).ignore();
        push.cmd("PEXPIRE").arg(&key).arg(KEPT_FOR.as_millis().to_string()).ignore();
        push.query_async::<()>(&mut self.link.clone()).await?;
        info!(source = REDIS, asked_by = inquiry.run, lines = log.lines.len(), "evidence given");
        Ok(())
    }
}
