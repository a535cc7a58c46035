//! Wires the daemon together, and takes it apart in the right order: everything is made and read back first
//! (`prepare`), then its parts are started (`start`), and stopped in the order of their stages (`part`).

mod check;
mod files;
mod keys_file;
pub(crate) mod part;
pub(crate) mod prepare;
mod reload;
mod start;
mod sweep;

use std::io;
use std::path::{Path, PathBuf};

use audit::AuditError;
use disk::StoreError;
use model::violation::Violation;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::config::{Config, Written};
use crate::log;
pub use check::check;
use part::Parts;
use prepare::Prepared;
use reload::Signals;
use start::{Changeable, start};

/// The signal of a file that would become larger than is allowed, on Linux.
const SIGXFSZ: i32 = 25;

/// Why the daemon cannot run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// A rule that is only checked when the source is made.
    #[error(transparent)]
    Config(#[from] Violation),
    /// What is known cannot be read back, or not kept.
    #[error("store.directory: {0}")]
    Store(#[from] StoreError),
    /// The audit log cannot be gone on with.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An address that cannot be listened on.
    #[error("{field}: cannot listen on {address}: {cause}")]
    Listen {
        /// The field of the configuration.
        field: &'static str,
        /// The address in it.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Something that the system has to provide.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl DaemonError {
    /// Whether something that was kept may be lost: how to go on is for the operator to say.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_loss())
    }

    /// Whether the configuration is at fault.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Audit(error) => error.is_configuration(),
            _ => false,
        }
    }
}

/// Runs until SIGTERM or SIGINT. With `rebuild_store`, a damaged store is moved aside and made anew
/// from what can be read of it. `path` is where the configuration is, to be read again at a SIGHUP,
/// and `written` what stands there.
///
/// # Errors
/// If it cannot start.
pub fn run(
    config: Config,
    (path, written): (&Path, Written),
    rebuild_store: bool,
) -> Result<(), DaemonError> {
    let level = log::init(&config.log);
    // Whatever directory it is started in, a signal finds the same file.
    let path = std::path::absolute(path)?;
    // The second of two calls fails, and both choose the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Runtime::new()?.block_on(run_async(config, (path, written), level, rebuild_store))
}

async fn run_async(
    config: Config,
    (path, written): (PathBuf, Written),
    level: log::Level,
    rebuild_store: bool,
) -> Result<(), DaemonError> {
    let signals = Signals::listen()?;
    // A limit of a file's size is then an error of writing, and not the end of the daemon.
    let _file_size = signal(SignalKind::from_raw(SIGXFSZ))?;
    let mut parts = Parts::default();
    let prepared = Prepared::new(config, rebuild_store, &mut parts)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    start(prepared, Changeable { path, written, level, signals }, &mut parts).await?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    info!("daemon stops: no new events");
    parts.stop().await;
    info!("daemon stopped");
    Ok(())
}
