//! What a source of events is to the daemon: one trait, which says all that a source may differ in while it runs.
//! How one is made from its section of the configuration, and which kinds there are, is in
//! [`crate::source`].

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::Inbox;
use engine::Now;
use model::name::EventId;
use model::subject::Subject;
use model::time::UnixMicros;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::fence::{Members, Tally};
use crate::intake::SourceKind;
use crate::overview::Report;
use crate::relay::Uncounted;

/// A source at work.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of events, ready to run.
///
/// It hears events and hands them to the [`Hub`] with an origin of its kind; it says there when it is alive
/// ([`Hub::source_alive`]), lost, or in trouble, and keeps its position with the store
/// ([`Hub::position`]), where it is written in one commit with the events that it covers.
/// It only moves bytes: what an event means and whether it may be taken in is decided elsewhere.
pub trait Source: fmt::Debug + Send + Sync {
    /// What kind it is: its name, who sends events through it, and what its loss means.
    fn kind(&self) -> &'static SourceKind;

    /// Hears events until `stop` is cancelled, and ends soon after. Losing what it hears from is no reason to end:
    /// it says so to the hub, and tries again.
    fn run(self: Arc<Self>, hub: Arc<Hub>, stop: CancellationToken) -> Running;

    /// Where events that came another way are to be written, for others to hear; nothing if that is not here. The hub
    /// writes to the first that there is.
    fn replica(&self) -> Option<Arc<dyn Replica>>;

    /// The daemons that are connected with this one here; nothing if none can be. The hub asks the first that
    /// there is.
    fn fleet(&self) -> Option<Arc<dyn Daemons>>;

    /// What keeps the fleet's buckets, if that is here. The hub asks the first that there is.
    fn ledger(&self) -> Option<Arc<dyn Ledger>>;

    /// The inboxes that events come out of here, each with what its publisher may do.
    fn inboxes(&self) -> &[Inbox];

    /// What it says of itself; `mono` is the daemon's steady clock. Nothing but the default if its kind does
    /// not report.
    fn report(&self, mono: Duration) -> Report;

    /// Brings gauges of its own up to date, before they are read.
    fn measure(&self, mono: Duration);
}

/// A place where events are written for other daemons, and whose clock all of them order events by.
pub trait Replica: fmt::Debug + Send + Sync {
    /// Hands over an event that first came at the instant, to be written, and told to everybody who listens. The
    /// answer comes once it is written; it never comes if there is no room.
    fn offer(
        &self,
        identity: (Subject, EventId),
        event: (Vec<u8>, UnixMicros),
        urgent: bool,
    ) -> oneshot::Receiver<()>;

    /// The time by its clock; by ours while nothing is known of that.
    fn time(&self, now: Now) -> UnixMicros;

    /// Whether there is a connection, so that it is worth while to wait for an answer.
    fn is_open(&self) -> bool;
}

/// The daemons that are connected with each other in one place, this one among them.
pub trait Daemons: fmt::Debug + Send + Sync {
    /// Asks who is registered. The answer never comes if that cannot be asked.
    fn members(&self) -> oneshot::Receiver<Members>;

    /// Asks all of them whether their Envoys enforce an event, which has been written there. `since` is the instant
    /// at which it was taken in, by the daemon's steady clock; `lasts`, how long somebody waits.
    fn fence(&self, event: (Subject, EventId), since: Duration, lasts: Duration) -> Asked;

    /// Whether there is a connection, so that it is worth while to wait for an answer.
    fn is_open(&self) -> bool;
}

/// What somebody waits for who has asked all daemons.
#[derive(Debug)]
pub struct Asked {
    /// What is known so far.
    pub tally: Arc<Mutex<Tally>>,
    /// Rings when more is.
    pub news: watch::Receiver<()>,
}

/// The fleet's buckets, kept in one place for all daemons.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Counts reports, each once however often it comes, and answers in their order. Either all are answered or none;
    /// without an answer there is no telling which of them were counted. Whoever does not wait for the answer drops it.
    fn count(&self, reports: Vec<fleet::wire::Report>) -> Counting<'_>;

    /// Whether there is a connection.
    fn is_open(&self) -> bool;
}

/// Reports that are being counted.
pub type Counting<'a> = Pin<Box<dyn Future<Output = Counted> + Send + 'a>>;

/// The answers to reports, in the order of these, or why there are none.
pub type Counted = Result<Vec<fleet::wire::Answer>, Uncounted>;
