//! What every host of the gate does beside host calls.
//!
//! **For**: setting a plugin up, following each stream from its headers to its response, holding requests for their
//! bodies, counting, renewing the lease, polling the invalidator, and saying what happens in the log. The crate reaches
//! the proxy through one trait, [`Host`], and only through it, so all of this is tested natively, with a proxy in
//! the memory of a test. Calls of the trait are resolved when a host is compiled: no request pays for a second host.
//!
//! **Not for**: decisions on requests, which are in `gate`, and how a proxy is called, which is each host's own. There
//! is no clock, no I/O and no host call in it.
//!
//! **Begin with** [`host`], what a proxy has to offer, then [`stream`], which follows one request.
//!
//! State is apart by who owns it:
//!
//! | type | one for each | shared |
//! |---|---|---|
//! | [`Plugin`] | plugin configuration | by all workers: it is `Sync`, and nothing of it changes |
//! | [`Worker`] | worker (VM or thread) | never |
//! | [`Follower`] | worker that may poll the invalidator | never |
//! | [`Stream`] | request | never |
//!
//! [`Call`] puts them together for one callback of the proxy. What all workers have to agree on is in shared memory
//! ([`Host::memory`]), and is written only by compare-and-swap.

mod ask;
mod call;
mod counting;
mod ending;
mod first;
pub mod follower;
mod held;
pub mod host;
mod metrics;
mod open;
mod plugin;
mod reports;
mod request;
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tick;
mod worker;

pub use call::Call;
pub use follower::Follower;
pub use host::Host;
pub use plugin::{Plugin, SetUpError};
pub use stream::Stream;
pub use worker::Worker;
