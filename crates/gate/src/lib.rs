//! The gate: what becomes of one request, by the plugin configuration and by what shared memory says
//! of its user.
//!
//! Plain computation on arguments: no clock, no I/O, no async, no host call. A host ([`request::Request`],
//! [`model::memory::SharedMemory`], [`model::time::Clock`]) brings those, so every decision can be tested natively and is
//! the same in every host. Begin with [`decide`].

pub mod claim;
pub mod config;
pub mod decide;
pub mod network;
pub mod node;
pub mod path;
pub mod request;
pub mod response;
pub mod slab;
#[cfg(test)]
mod testing;
