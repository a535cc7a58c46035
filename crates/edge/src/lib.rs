//! What every host of the gate does beside host calls: sets a plugin up, follows each stream from its headers to
//! its response, holds requests for their bodies, counts, renews the lease, polls the invalidator, and logs.
//!
//! The crate reaches the proxy through one trait, [`Host`], and only through it: it has no clock, no I/O and no
//! host call of its own, so all of it is tested natively, with a proxy in the memory of a test. Calls of the
//! trait are resolved when a host is compiled; no request pays for the second host.
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
//!
//! The crate does not decide on requests (`gate` does), and does not know how a proxy is called. Begin with
//! [`host`], then [`stream`].

mod ask;
mod call;
mod counting;
pub mod follower;
mod held;
pub mod host;
mod metrics;
mod plugin;
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
