//! The embedded source: the daemon's own API, to which publishers send their events. It needs nothing besides the
//! daemon, so it cannot be lost; what it takes in is kept by the store alone, and it has no position.

mod everywhere;
mod form;
mod publish;
mod written;

use std::sync::Arc;
use std::time::Duration;

use access::{Inbox, Permission};
use axum::routing::post;
use model::violation::Violation;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Configured, Daemons, Ledger, Replica, Report, Running, Source};
use crate::hub::Hub;
use crate::intake::{Senders, SourceKind};
use crate::metrics::SourceMeters;
use crate::server::api::Route;
use publish::publish;

/// The API as a source.
pub static KIND: SourceKind =
    SourceKind { name: "embedded", senders: Senders::Callers, built_in: true, reports: false };

/// What is asked of it.
pub static ROUTES: [Route; 1] =
    [Route::post("/v1/invalidations", Permission::Publish, || post(publish))];

/// `[sources.embedded]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    enabled: bool,
}

impl Section {
    /// It is there unless it is turned off.
    pub(crate) fn check_all(section: Option<Self>) -> Result<Option<Config>, Violation> {
        let enabled = section.is_none_or(|section| section.enabled);
        Ok(enabled.then_some(Config))
    }
}

/// There is nothing to configure of it.
#[derive(Debug)]
pub struct Config;

impl Configured for Config {
    fn add_secrets(&self, _: &mut dyn FnMut(&str, &[u8])) {}

    fn build(self, _: &mut SourceMeters<'_>) -> Result<Arc<dyn Source>, Violation> {
        Ok(Arc::new(Embedded))
    }

    fn register_idle(_: &mut SourceMeters<'_>) {}
}

/// See the module's description.
#[derive(Debug)]
struct Embedded;

impl Source for Embedded {
    fn kind(&self) -> &'static SourceKind {
        &KIND
    }

    /// The API's own listener serves it.
    fn run(self: Arc<Self>, _: Arc<Hub>, stop: CancellationToken) -> Running {
        Box::pin(async move { stop.cancelled().await })
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
