//! What this daemon's own audit log has about what somebody asks.

use std::sync::Arc;
use std::time::Instant;

use audit::search::Room;
use evidence::Log;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::Hub;
use crate::inquiry::{self, Place, Question};

/// Logs that are read at the same time: one is long, and is read twice.
const READS_MAX: usize = 1;

/// Whose turn it is to have the log read.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READS_MAX)))
    }
}

impl Hub {
    /// Reads and checks this daemon's log, until an instant at most. What cannot be read by then is said in it.
    pub async fn testimony(&self, question: &Question, room: Room, until: Instant) -> Log {
        let failed = |failure: &str| Log {
            daemon: self.called.name.clone(),
            region: self.called.region.clone(),
            failure: Some(failure.to_owned()),
            ..Log::default()
        };
        let turn = timeout_at(until.into(), Arc::clone(&self.turns.0).acquire_owned()).await;
        // It is never closed.
        let Ok(Ok(turn)) = turn else { return failed("others are having it read") };
        let (audit, called, question) = (self.audit.clone(), self.called.clone(), question.clone());
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let pseudonyms = question.subject().map(|subject| audit.pseudonyms(subject));
            let pseudonyms = pseudonyms.transpose()?.unwrap_or_default();
            let (directory, seal) = audit.place();
            let place = Place { directory, seal, called: &called };
            let goes_on = || Instant::now() < until && !audit.is_closed();
            Ok::<_, audit::NamesError>(inquiry::read(place, &question, pseudonyms, room, &goes_on))
        });
        match read.await {
            Ok(Ok(log)) => log,
            Ok(Err(cause)) => {
                tracing::error!(%cause, "the mapping of pseudonyms cannot be read");
                failed("the mapping of pseudonyms cannot be read")
            }
            Err(cause) => {
                tracing::error!(%cause, "the audit log could not be read");
                failed("it could not be read")
            }
        }
    }
}
