//! What Portcullis decides, and nothing else.
//!
//! Limits, blocks, the order of events, the layout of shared memory, the wire messages: all of it
//! is plain computation on arguments. No clock, no I/O, no async, no host call; the filter in
//! Envoy and the invalidator beside it bring those. So every decision can be tested natively, and
//! runs the same in both.

pub mod bucket;
pub mod claim;
pub mod config;
pub mod event;
pub mod gate;
pub mod hash;
pub mod headers;
pub mod id;
pub mod memory;
pub mod name;
pub mod network;
pub mod node;
pub mod path;
pub mod push;
pub mod record;
pub mod request;
pub mod response;
pub mod sign;
pub mod slab;
pub mod state;
pub mod subject;
#[cfg(test)]
mod testing;
pub mod time;
