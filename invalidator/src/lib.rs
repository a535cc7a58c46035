//! The invalidator of Portcullis: the daemon beside Envoy that receives invalidations and pushes them to the
//! filter, and the command line that talks to it.
//!
//! **For**: moving bytes. Events come in by HTTP ([`server`]) or from Redis ([`source`]), are checked ([`intake`]), kept
//! on the disk ([`store`]), noted ([`audit`]), and pushed to the nodes that poll.
//!
//! **Not for**: what an event means and which of two is newer (`events` and `model`), and what becomes of a request (`gate`).
//! What to tell which node is decided in [`engine`], which is plain data without clock or sockets.
//!
//! **Begin with** [`daemon`], which starts and stops the parts, and [`engine`]. The code map in `ARCHITECTURE.md` says which file
//! to open for which change.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod fence;
pub mod hub;
pub mod intake;
pub mod log;
pub mod metrics;
pub mod overview;
pub mod relay;
pub mod restore;
pub mod server;
pub mod source;
pub mod throttles;
pub mod wire;
