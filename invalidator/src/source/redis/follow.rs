//! The stream: every event that was written, in order and without gaps, from where we were.

use std::time::Duration;

use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use redis::streams::{StreamId as Entry, StreamReadReply};
use tokio::task::yield_now;

use super::connect::Link;
use super::decide::is_gap;
use super::layout::StreamId;
use super::outbox::{Entry as ToWrite, Purpose};
use super::refused::may_pass;
use super::session::Session;
use super::{KIND, Lost, locked, names};
use crate::fence::{Fence, LASTS_MAX};
use crate::inquiry::Inquiry;
use crate::intake::{Origin, Path, Stored};

/// Most entries read at once.
const ENTRIES_AT_ONCE: usize = 512;
/// How many entries are taken in before others get their turn.
const ENTRIES_PER_TURN: usize = 32;
/// Daemons that are in order hear an event within so long of each other.
const HEARD_TOGETHER: Duration = Duration::from_millis(5);

impl Session<'_> {
    /// Takes in what is written, for as long as the connection lasts.
    pub(super) async fn follow(&self, mut link: Link) -> Lost {
        loop {
            if let Err(lost) = self.follow_once(&mut link).await {
                return lost;
            }
        }
    }

    async fn follow_once(&self, link: &mut Link) -> Result<(), Lost> {
        let from = *self.reached.borrow();
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES_AT_ONCE).arg("BLOCK").arg(self.block_ms());
        read.arg("STREAMS").arg(&self.source.scripts.layout.stream).arg(from.to_string());
        let reply: Option<StreamReadReply> = read.query_async(link).await?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        let entries: Vec<Entry> = keys.into_iter().flat_map(|key| key.ids).collect();
        if entries.is_empty() {
            return Ok(());
        }
        // What we have read is worth nothing if something before it had been cut off by then.
        if is_gap(from, &self.look().await?) {
            return Err(Lost::Gap);
        }
        for turn in entries.chunks(ENTRIES_PER_TURN) {
            for entry in turn {
                self.take_in(entry);
            }
            yield_now().await;
        }
        Ok(())
    }

    /// How long Redis waits for news before it says that there are none: a sign of life, too.
    fn block_ms(&self) -> u64 {
        u64::try_from(self.block().as_millis()).unwrap_or(u64::MAX)
    }

    /// The same in seconds.
    pub(super) fn block_s(&self) -> f64 {
        self.block().as_secs_f64()
    }

    fn block(&self) -> Duration {
        let config = &self.source.config;
        config.ping_interval.min(config.dead_after / 2)
    }

    fn take_in(&self, entry: &Entry) {
        let Some(id) = StreamId::parse(&entry.id) else { return };
        let field = |name: &str| match entry.map.get(name) {
            Some(redis::Value::BulkString(bytes)) => Some(bytes.as_slice()),
            _ => None,
        };
        let text = |name: &str| std::str::from_utf8(field(name)?).ok();
        // An older script does not say when the event was heard, nor what it is stored under. No script
        // says a time to come.
        let heard =
            text("heard").and_then(StreamId::parse).map_or(id, |heard| heard.min(id.latest()));
        let stored_as = text("id").and_then(EventId::parse);
        if let Some(event) = field("event") {
            self.take_in_event(heard, stored_as, event);
        } else if let Some(event) = field("conflicting") {
            self.hub.refuse_conflict(Origin::live(&KIND), event);
        } else if let Some(fence) = field("fence") {
            self.hear_fence(id, fence);
        } else if let Some(inquiry) = field("inquiry") {
            self.hear_inquiry(id, inquiry);
        }
        self.reached.send_replace(id);
        self.save_position();
    }

    /// Somebody asks who enforces an event. Nobody waits any more for what was asked long ago.
    fn hear_fence(&self, id: StreamId, fence: &[u8]) {
        let age = self.hub.common_time().since(id.heard_at());
        let metrics = &self.hub.metrics.fleet;
        match Fence::read(fence) {
            Some(fence) if age <= LASTS_MAX => {
                if !self.source.fences.hear(fence) {
                    metrics.fence("left_out");
                }
            }
            Some(_) => metrics.fence("too_old"),
            None => metrics.fence("malformed"),
        }
    }

    /// Somebody asks what our audit log has.
    fn hear_inquiry(&self, id: StreamId, inquiry: &[u8]) {
        let now = self.hub.common_time();
        let age = now.since(id.heard_at());
        let inquiry = Inquiry::read(inquiry, &self.hub.audit.shared(), now);
        if let Some(inquiry) = inquiry.filter(|inquiry| age <= inquiry.lasts()) {
            self.source.inquiries.hear(inquiry);
        }
    }

    /// Whoever has written an event may have heard it long after us: it counts from the earlier instant.
    pub(super) fn say_if_earlier(
        &self,
        named: (&Subject, &EventId),
        written: StreamId,
        event: &[u8],
    ) {
        let ours = self.hub.engine().heard_first(named.0, named.1);
        let earlier = |ours: &UnixMicros| written.heard_at().since(*ours) > HEARD_TOGETHER;
        let Some(heard) = ours.filter(earlier) else { return };
        let (subject, event_id) = (named.0.clone(), named.1.clone());
        let (event, purpose) = (event.to_vec(), Purpose::Bare);
        let (urgent, answer) = (false, None);
        self.source.outbox.push(ToWrite {
            subject,
            event_id,
            event,
            heard,
            urgent,
            purpose,
            answer,
        });
    }

    fn take_in_event(&self, heard: StreamId, stored_as: Option<EventId>, event: &[u8]) {
        // Most were heard before, by Pub/Sub, and checked then.
        let named = names(event).map(|(subject, own)| (subject, stored_as.clone().unwrap_or(own)));
        if let Some(named) = &named {
            locked(&self.source.unseen).seen(named);
            self.say_if_earlier((&named.0, &named.1), heard, event);
            if self.hub.place(&KIND, (&named.0, &named.1), heard.heard_at(), event) {
                return;
            }
        }
        let origin = Origin::new(&KIND, Path::Written(heard.heard_at()));
        let stored = Stored { event_id: stored_as.as_ref(), vouch: None };
        // A refused one is counted and logged there, and changes nothing here.
        match self.hub.ingest_stored(origin, stored, event) {
            Ok(accepted) => {
                locked(&self.source.unseen).seen(&(accepted.subject, accepted.event_id));
            }
            Err(refusal) => {
                if let Some((subject, event_id)) = &named {
                    let now = self.hub.now().mono;
                    let passes = may_pass(&refusal);
                    locked(&self.source.refused).note((subject, event_id), passes, now);
                }
            }
        }
    }
}
