//! The stream: every event that was written, in order and without gaps, from where we were.

use policy::name::EventId;
use redis::streams::{StreamId as Entry, StreamReadReply};
use tokio::task::yield_now;

use super::connect::Link;
use super::decide::is_gap;
use super::layout::StreamId;
use super::refused::may_pass;
use super::session::Session;
use super::{Lost, REDIS, locked, names};
use crate::intake::{Origin, Path, Stored, hash};

/// Most entries read at once.
const ENTRIES_AT_ONCE: usize = 512;
/// How many entries are taken in before others get their turn.
const ENTRIES_PER_TURN: usize = 32;

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
        let config = &self.source.config;
        let block = config.ping_interval.min(config.dead_after / 2);
        u64::try_from(block.as_millis()).unwrap_or(u64::MAX)
    }

    fn take_in(&self, entry: &Entry) {
        let Some(id) = StreamId::parse(&entry.id) else { return };
        let field = |name: &str| match entry.map.get(name) {
            Some(redis::Value::BulkString(bytes)) => Some(bytes.as_slice()),
            _ => None,
        };
        let text = |name: &str| std::str::from_utf8(field(name)?).ok();
        // An older script does not say when the event was heard, nor what it is stored under.
        let heard = text("heard").and_then(StreamId::parse).unwrap_or(id);
        let stored_as = text("id").and_then(EventId::parse);
        if let Some(event) = field("event") {
            self.take_in_event(heard.min(id), stored_as, event);
        } else if let Some(event) = field("conflicting") {
            self.shared.refuse_conflict(Origin::live(REDIS), event);
        }
        self.reached.send_replace(id);
        self.save_position();
    }

    fn take_in_event(&self, heard: StreamId, stored_as: Option<EventId>, event: &[u8]) {
        // Most were heard before, by Pub/Sub, and checked then.
        let named = names(event).map(|(subject, own)| (subject, stored_as.clone().unwrap_or(own)));
        let bytes = hash(event);
        let known = named.as_ref().is_some_and(|(subject, event_id)| {
            self.shared.engine().knows(subject, event_id, bytes)
        });
        if let Some(named) = &named {
            locked(&self.source.unseen).seen(named);
        }
        if known {
            let Some((subject, event_id)) = &named else { return };
            let mut engine = self.shared.engine();
            engine.place(subject, event_id, heard.heard_at());
            if !engine.is_out_of_place(subject, event_id, Some(heard.heard_at())) {
                return;
            }
        }
        let origin = Origin::new(REDIS, Path::Written(heard.heard_at()));
        let stored = Stored { event_id: stored_as.as_ref(), vouch: None, in_order: true };
        // A refused one is counted and logged there, and changes nothing here.
        match self.shared.ingest_stored(origin, stored, event) {
            Ok(accepted) => {
                locked(&self.source.unseen).seen(&(accepted.subject, accepted.event_id));
            }
            Err(refusal) => {
                if let Some((subject, event_id)) = &named {
                    let now = self.shared.now().mono;
                    let passes = may_pass(&refusal);
                    locked(&self.source.refused).note((subject, event_id), passes, now);
                }
            }
        }
    }
}
