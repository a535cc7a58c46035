//! A source that reads events out of a file, a line each: the shortest one there can be. It is part of the tests
//! alone, and shows all that a new source has to say.

mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::Inbox;
use model::violation::Violation;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Configured, Daemons, Ledger, Replica, Report, Running, Source};
use crate::hub::Hub;
use crate::intake::{Origin, Senders, SourceKind};
use crate::metrics::SourceMeters;
use crate::server::api::Route;

/// A file as a source.
pub static KIND: SourceKind =
    SourceKind { name: "listed", senders: Senders::Writers, built_in: false, reports: false };

/// Nobody calls it.
pub static ROUTES: [Route; 0] = [];

/// `[sources.listed]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    file: PathBuf,
}

impl Section {
    /// It is there if it is written.
    pub(crate) fn check_all(section: Option<Self>) -> Result<Option<Config>, Violation> {
        let check = |Self { file }| match file.is_absolute() {
            true => Ok(Config { file }),
            false => Err(Violation::new("sources.listed.file", "must be an absolute path")),
        };
        section.map(check).transpose()
    }
}

/// `[sources.listed]`
#[derive(Debug)]
pub struct Config {
    /// The file.
    file: PathBuf,
}

impl Configured for Config {
    fn add_secrets(&self, _: &mut dyn FnMut(&str, &[u8])) {}

    fn build(self, _: &mut SourceMeters<'_>) -> Result<Arc<dyn Source>, Violation> {
        Ok(Arc::new(Listed(self)))
    }

    fn register_idle(_: &mut SourceMeters<'_>) {}
}

#[derive(Debug)]
struct Listed(Config);

impl Listed {
    /// Takes in the lines that were not taken in before, also in an earlier run.
    fn take_in(&self, hub: &Hub) {
        let taken = hub.position(&KIND).and_then(|position| position.parse().ok()).unwrap_or(0);
        let Ok(text) = std::fs::read_to_string(&self.0.file) else {
            return hub.source_lost(&KIND);
        };
        for (line, event) in (1usize..).zip(text.lines()).skip(taken) {
            // A refused one is counted, logged and kept among the dead letters by the hub.
            let _ = hub.ingest(Origin::live(&KIND), event.as_bytes());
            hub.set_position(&KIND, &line.to_string());
        }
        hub.source_alive(&KIND);
    }
}

impl Source for Listed {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    fn run(self: Arc<Self>, hub: Arc<Hub>, stop: CancellationToken) -> Running {
        Box::pin(async move {
            self.take_in(&hub);
            stop.cancelled().await;
        })
    }

    fn replica(&self) -> Option<Arc<dyn Replica>> {
        None
    }

    fn fleet(&self) -> Option<Arc<dyn Daemons>> {
        None
    }

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        None
    }

    fn inboxes(&self) -> &[Inbox] {
        &[]
    }

    fn report(&self, _: Duration) -> Report {
        Report::default()
    }

    fn measure(&self, _: Duration) {}
}
