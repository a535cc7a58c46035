//! Portcullis's invalidator: the sidecar daemon that hears invalidations and pushes them to the
//! filter in Envoy, and the command line that talks to it.
//!
//! What an event means and which of two is newer is decided in `events` and `model`; what to tell which node
//! is decided in [`engine`], which is plain data without clock or sockets. The rest moves bytes.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod hub;
pub mod intake;
pub mod log;
pub mod metrics;
pub mod overview;
pub mod restore;
pub mod server;
pub mod source;
pub mod throttles;
pub mod wire;
