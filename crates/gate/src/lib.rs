//! The gate: what becomes of one request, by the plugin configuration and by what shared memory says
//! of its user.
//!
//! **For**: reading the plugin configuration ([`config`]), deciding on a request ([`decide`]), what a rejection looks like
//! ([`response`]), and keeping the node up to date ([`node`]). Plain computation on arguments: there is no clock, no
//! I/O, no async and no host call. A host brings those by the traits [`request::Request`], [`model::memory::SharedMemory`] and
//! [`model::time::Clock`], so every decision can be tested natively and is the same in every host.
//!
//! **Not for**: calls into a proxy, counters and logs, which belong to the host, and the signatures
//! themselves, which are in `signing`.
//!
//! **Begin with** [`decide`], which lists the checks in their order, then [`slab`], the form of subjects in shared
//! memory.

pub mod claim;
pub mod config;
pub mod decide;
pub mod fleet;
pub mod network;
pub mod node;
pub mod path;
pub mod request;
pub mod response;
pub mod slab;
#[cfg(test)]
mod testing;
