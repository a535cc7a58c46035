//! Opens the doors: first the one of the nodes, then the API, then the sources.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use access::Door;
use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::part::{Parts, Stage};
use super::prepare::Prepared;
use super::reload::{Reload, Signals};
use super::{DaemonError, files, sweep};
use crate::config::{Listen, Poll, Written};
use crate::hub::Hub;
use crate::log;
use crate::server::listen::{self, SocketFile};
use crate::server::slots::Places;
use crate::server::{Bounds, DRAIN_MAX, api, poll, serve};
use crate::source;

/// Connections beyond the requests and nodes that the limits allow: probes, scrapes, reconnects.
const CONNECTIONS_SPARE: usize = 64;
/// Connections for the reports of one node, beside its polls: one for each worker that has something to report.
const CONNECTIONS_FOR_REPORTS: usize = 8;

/// What can change while the daemon runs, and what asks for it.
pub(super) struct Changeable {
    pub(super) path: PathBuf,
    pub(super) written: Written,
    pub(super) level: log::Level,
    pub(super) signals: Signals,
}

/// Starts all parts.
pub(super) async fn start(
    prepared: Prepared,
    changeable: Changeable,
    parts: &mut Parts,
) -> Result<(), DaemonError> {
    let Prepared { hub, epoch, api, poll, limits, tls } = prepared;
    let twice = |number: usize| number.saturating_mul(2).saturating_add(CONNECTIONS_SPARE);
    let nodes = limits.engine.nodes_max;
    let of_nodes = twice(nodes).saturating_add(nodes.saturating_mul(CONNECTIONS_FOR_REPORTS));
    let (api_connections, poll_connections) =
        files::make_room(twice(limits.api_requests_max), of_nodes);
    // The polls' door opens first: readiness is asked for at the other one.
    start_polls(&hub, &poll, poll_connections, parts).await?;
    let listener = tcp("api.listen", api.listen)?;
    let (api_listen, ack_timeout) = (api.listen, api.ack_timeout);
    let door = Arc::new(Door::new(api.access));
    let places =
        Places { all: limits.api_requests_max, caller: limits.api_requests_per_caller_max };
    let options = api::Options {
        access: Arc::clone(&door),
        metrics_public: api.metrics_public,
        routes: source::routes().collect(),
        ack_timeout,
        tls: tls.is_some(),
        places,
    };
    let router = api::router(Arc::clone(&hub), options);
    let bounds = Bounds {
        connections_max: api_connections,
        drain_max: ack_timeout.saturating_add(DRAIN_MAX),
        metrics: hub.metrics.access.api_connections(),
    };
    // The API and the other sources are told at once, and ended one after the other.
    let publishers = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, bounds, tls, publishers.clone()));
    parts.told((Stage::Publishers, "api"), &publishers, task);
    for source in hub.sources() {
        let name = source.kind().name;
        let running = Arc::clone(source).run(Arc::clone(&hub), publishers.clone());
        parts.told((Stage::Publishers, name), &publishers, tokio::spawn(running));
    }
    let task = tokio::spawn(sweep::sweep(Arc::clone(&hub), ack_timeout));
    parts.aborted((Stage::Lookouts, "sweeper"), task);
    let Changeable { path, written, level, signals } = changeable;
    let reload = Arc::new(Reload { path, written: Mutex::new(written), door, level });
    let task = tokio::spawn(reload.follow(signals, hub));
    parts.aborted((Stage::Reload, "signals"), task);
    let poll_listen = poll.listen.to_string();
    info!(epoch, %api_listen, poll_listen, version = env!("CARGO_PKG_VERSION"), "daemon started");
    Ok(())
}

async fn start_polls(
    hub: &Arc<Hub>,
    poll: &Poll,
    connections_max: usize,
    parts: &mut Parts,
) -> Result<(), DaemonError> {
    let stop = CancellationToken::new();
    let router = poll::router(Arc::clone(hub), &poll.secret, poll.hold, stop.clone());
    let metrics = hub.metrics.access.poll_connections();
    let bounds = Bounds { connections_max, drain_max: DRAIN_MAX, metrics };
    let (task, socket_file) = serve_polls(&poll.listen, router, bounds, stop.clone()).await?;
    parts.told((Stage::Nodes, "polls"), &stop, task);
    if let Some(file) = socket_file {
        parts.held((Stage::Socket, "poll socket"), file);
    }
    Ok(())
}

async fn serve_polls(
    listen: &Listen,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) -> Result<(JoinHandle<()>, Option<SocketFile>), DaemonError> {
    match listen {
        Listen::Unix { path, mode } => {
            if mode & 0o007 != 0 {
                warn!(path = %path.display(), "the poll socket is open to every user of this host");
            }
            let (listener, file) = listen::unix(path, *mode).map_err(|cause| {
                DaemonError::Listen { field: "poll.listen", address: listen.to_string(), cause }
            })?;
            Ok((tokio::spawn(serve(listener, router, bounds, None, stop)), Some(file)))
        }
        Listen::Tcp(address) => {
            if !address.ip().is_loopback() {
                warn!(%address, "polls and their secret cross a network without encryption");
            }
            let listener = tcp("poll.listen", *address)?;
            Ok((tokio::spawn(serve(listener, router, bounds, None, stop)), None))
        }
    }
}

fn tcp(
    field: &'static str,
    address: SocketAddr,
) -> Result<impl axum::serve::Listener, DaemonError> {
    let listener = listen::tcp(address).map_err(|cause| DaemonError::Listen {
        field,
        address: address.to_string(),
        cause,
    })?;
    // Answers are small and wanted at once. A connection that is gone already says so by itself.
    Ok(listener.tap_io(|stream: &mut TcpStream| {
        let _ = stream.set_nodelay(true);
    }))
}
