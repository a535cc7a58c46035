//! Which poll came last over a connection. A process that ends closes its connections, also when none of its polls is
//! held at that moment: its node has hung up then, unless it polls over another connection.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Ticket;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// See the module's description. Clones are about the same connection.
#[derive(Clone, Default)]
pub(super) struct LastPoll(Arc<Mutex<Option<Noted>>>);

struct Noted {
    hub: Arc<Hub>,
    ticket: Ticket,
    stop: CancellationToken,
}

impl LastPoll {
    /// Notes a poll that is answered.
    pub(super) fn note(&self, hub: Arc<Hub>, ticket: Ticket, stop: CancellationToken) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Noted { hub, ticket, stop });
    }

    /// The connection has ended, with this error if there was one. Only the other side's closing counts: a connection that is
    /// broken, or that the daemon closes, says nothing about the node, which may serve on.
    pub(super) fn ended(&self, error: Option<&hyper::Error>) {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let closed = error.is_none_or(is_closed_by_peer);
        if let Some(Noted { hub, ticket, .. }) =
            noted.filter(|one| closed && !one.stop.is_cancelled())
        {
            hub.engine().hung_up(&ticket);
        }
    }
}

fn is_closed_by_peer(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let closed =
        [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof];
    error.is_incomplete_message() || cause.is_some_and(|cause| closed.contains(&cause.kind()))
}
