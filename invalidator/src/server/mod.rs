//! The daemon's two doors: the API for publishers and operators, and the polls of Envoys. They
//! have listeners of their own, so that reaching one says nothing about the other.

pub mod api;
pub(crate) mod audit;
pub(crate) mod body;
mod dead_letters;
mod disk;
mod erase;
mod evidence;
mod guard;
pub(crate) mod host;
mod last_poll;
pub mod listen;
mod patient;
pub mod poll;
pub(crate) mod problem;
mod reports;
mod seats;
mod secret;
pub mod slots;
pub(crate) mod state;
mod view;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use access::tls::{Secured, Tls};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::ConnectionMetrics;
use last_poll::LastPoll;
use patient::{Patient, WRITE_TIMEOUT};
use seats::{Place, Seats};

/// Longest time for TLS to be agreed on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a new connection's first request to arrive, up to its headers' end: who only
/// connects must not keep others out for long.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time between requests of one connection, up to the next one's headers' end.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that may still be ending while others have taken their places.
const ENDING_MAX: usize = 64;
/// Most bytes of a request's headers that are buffered.
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Longest wait, once the shutdown has begun, for what a request needs besides its own waiting:
/// its body, and the writing of its answer.
pub const DRAIN_MAX: Duration = body::BODY_TIMEOUT.saturating_add(Duration::from_secs(1));

/// Bounds of one listener.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections open at once; for a further one another one ends.
    pub connections_max: usize,
    /// Longest wait for the requests under way after the shutdown has begun. It is only waited
    /// out when a client does not finish its request.
    pub drain_max: Duration,
    /// Counts the connections that had to end for others.
    pub metrics: ConnectionMetrics,
}

/// Serves HTTP/1.1, over TLS if given, until the shutdown; then lets the requests under way end.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    bounds: Bounds,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX);
    let seats = Seats::new(bounds.connections_max);
    let slots = Arc::new(Semaphore::new(bounds.connections_max.saturating_add(ENDING_MAX)));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            // Who has to leave is gone at once: this waits only if that takes longer than it
            // should. The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await;
            let (io, _) = listener.accept().await;
            (io, seats.take().await, slot)
        };
        let (io, (seat, of_stranger), slot) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        let (http, router, tls) = (http.clone(), router.clone(), tls.clone());
        if let Some(of_stranger) = of_stranger {
            bounds.metrics.ended(of_stranger);
        }
        let (watcher, place) = (graceful.watcher(), seat.place());
        let connection = Connection { http, router, watcher, place };
        let io = Patient::new(io, WRITE_TIMEOUT);
        tokio::spawn(async move {
            tokio::select! {
                () = connection.run(io, tls) => {}
                () = seat.is_taken_away() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    if timeout(bounds.drain_max, graceful.shutdown()).await.is_err() {
        tracing::warn!("some clients did not finish their requests in time");
    }
}

/// One connection, from its first byte to its last.
struct Connection {
    http: http1::Builder,
    router: Router,
    watcher: Watcher,
    place: Place,
}

impl Connection {
    async fn run<Io>(self, io: Io, tls: Option<Arc<Tls>>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match tls {
            None => self.serve(io, None).await,
            Some(tls) => self.secure(io, tls).await,
        }
    }

    async fn secure<Io>(self, io: Io, tls: Arc<Tls>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(io)).await {
            Ok(Ok((stream, secured))) => self.serve(stream, Some((tls, secured))).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS with the client"),
            Err(_) => tls.timed_out(),
        }
    }

    async fn serve<Io>(self, io: Io, secured: Option<(Arc<Tls>, Secured)>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router);
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        let place = self.place;
        let last_poll = LastPoll::default();
        let polls = last_poll.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            begins.store(true, Ordering::Relaxed);
            place.is_busy(true);
            request.extensions_mut().insert(place.clone());
            request.extensions_mut().insert(polls.clone());
            let place = place.clone();
            let secured = secured.clone();
            if let Some(peer) = secured.as_ref().and_then(|(_, secured)| secured.peer.clone()) {
                request.extensions_mut().insert(peer);
            }
            let answered = router.call(request);
            async move {
                let mut response = answered.await?;
                place.is_busy(false);
                if secured.is_some_and(|(tls, secured)| tls.is_outdated(&secured)) {
                    // The client comes back under the certificates as they are now.
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = self.http.serve_connection(TokioIo::new(io), service);
        let mut connection = pin!(self.watcher.watch(connection));
        let ended = match timeout(FIRST_REQUEST_TIMEOUT, connection.as_mut()).await {
            Err(_) if begun.load(Ordering::Relaxed) => connection.await,
            Err(_) => Ok(()),
            Ok(ended) => ended,
        };
        if let Err(error) = &ended {
            tracing::debug!(%error, "connection ended");
        }
        last_poll.ended(ended.as_ref().err());
    }
}
