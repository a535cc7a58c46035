//! Events of the last minutes that newer ones have overtaken: a daemon that starts learns of them from
//! the stream.
//!
//! What is in force is known from elsewhere, and what is overtaken is forgotten, here and in Redis. But
//! if such an event is published again, soon after, it must be recognized: heard anew, it would outrank
//! what has overtaken it. Later than [`CLOCK_ERROR_MAX`] after it occurred it does not.

use model::name::EventId;
use model::state::CLOCK_ERROR_MAX;
use redis::streams::StreamRangeReply;

use super::layout::StreamId;
use super::session::Session;
use super::{Lost, locked, names};
use crate::intake::{Origin, Path, Stored};

/// Most entries looked at: what a busy minute has.
const ENTRIES_MAX: usize = 20_000;
/// How many are read at once.
const ENTRIES_AT_ONCE: usize = 1_000;

impl Session<'_> {
    /// Remembers what lies in the stream and is not in force. To be called once everything that is
    /// in force is known here.
    pub(super) async fn remember_recent(&self) -> Result<(), Lost> {
        let since = self.hub.common_time().saturating_sub(CLOCK_ERROR_MAX * 2);
        let start = (since.0 / 1_000).to_string();
        let mut end = self.reached.borrow().to_string();
        let mut link = self.link.clone();
        for _ in 0..ENTRIES_MAX / ENTRIES_AT_ONCE {
            let mut range = redis::cmd("XREVRANGE");
            range.arg(&self.source.scripts.layout.stream).arg(&end).arg(&start);
            range.arg("COUNT").arg(ENTRIES_AT_ONCE);
            let entries: StreamRangeReply = range.query_async(&mut link).await?;
            for entry in &entries.ids {
                let (event, id) = (entry.get::<Vec<u8>>("event"), entry.get::<String>("id"));
                if let (Some(event), Some(at)) = (event, StreamId::parse(&entry.id)) {
                    self.remember(at, id.as_deref().and_then(EventId::parse), &event);
                }
            }
            match entries.ids.last() {
                Some(last) if entries.ids.len() == ENTRIES_AT_ONCE => end = format!("({}", last.id),
                _ => break,
            }
        }
        Ok(())
    }

    fn remember(&self, at: StreamId, stored_as: Option<EventId>, event: &[u8]) {
        let Some((subject, own)) = names(event) else { return };
        let event_id = stored_as.unwrap_or(own);
        // What was refused may be taken in when its cause has gone.
        if locked(&self.source.refused).contains((&subject, &event_id)) {
            return;
        }
        let origin = Origin::new(&super::KIND, Path::Written(at.heard_at()));
        let stored = Stored { event_id: Some(&event_id), vouch: None };
        self.hub.remember(origin, stored, event);
    }
}
