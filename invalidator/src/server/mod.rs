//! The daemon's two doors: the API for publishers and operators, and the polls of Envoys. They
//! have listeners of their own, so that reaching one says nothing about the other.

pub mod api;
mod audit;
mod body;
mod dead_letters;
mod erase;
mod form;
mod guard;
pub(crate) mod host;
pub mod listen;
pub mod poll;
mod problem;
mod view;
mod written;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::access::tls::{Secured, Tls};

/// Longest time for TLS to be agreed on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a new connection's first request to arrive, up to its headers' end: who only
/// connects must not keep others out for long.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time between requests of one connection, up to the next one's headers' end.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a request's headers that are buffered.
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Longest wait, once the shutdown has begun, for what a request needs besides its own waiting:
/// its body, and the writing of its answer.
pub const DRAIN_MAX: Duration = body::BODY_TIMEOUT.saturating_add(Duration::from_secs(1));

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections open at once; further ones wait.
    pub connections_max: usize,
    /// Longest wait for the requests under way after the shutdown has begun. It is only waited
    /// out when a client does not finish its request.
    pub drain_max: Duration,
}

/// Tells tasks to end; once requested it stays so.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A shutdown that begins when `true` is sent, or the sender is dropped.
    #[must_use]
    pub fn new(requested: watch::Receiver<bool>) -> Self {
        Self(requested)
    }

    /// Waits for it.
    pub async fn requested(&mut self) {
        // An error means that whoever could request it is gone.
        let _ = self.0.wait_for(|requested| *requested).await;
    }
}

/// Serves HTTP/1.1, over TLS if given, until the shutdown; then lets the requests under way end.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    bounds: Bounds,
    tls: Option<Arc<Tls>>,
    mut shutdown: Shutdown,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX);
    let slots = Arc::new(Semaphore::new(bounds.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            // Further connections wait in the listener's backlog. The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let ((io, _), slot) = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.requested() => break,
        };
        let (http, router, tls) = (http.clone(), router.clone(), tls.clone());
        let connection = Connection { http, router, watcher: graceful.watcher() };
        tokio::spawn(async move {
            match tls {
                None => connection.serve(io, None).await,
                Some(tls) => connection.secure(io, tls).await,
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
}

impl Connection {
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
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            begins.store(true, Ordering::Relaxed);
            let secured = secured.clone();
            if let Some(peer) = secured.as_ref().and_then(|(_, secured)| secured.peer.clone()) {
                request.extensions_mut().insert(peer);
            }
            let answered = router.call(request);
            async move {
                let mut response = answered.await?;
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
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}
