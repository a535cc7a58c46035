//! What everything else is about: subjects, what is known of one, which event wins, and the messages in
//! which that travels.
//!
//! Plain computation on arguments: no clock, no I/O, no async, no host call. This crate does not know
//! how events are written ([`events`](../events/index.html)), how requests are signed, or what becomes
//! of one. Begin with [`state`].

pub mod bucket;
pub mod hash;
pub mod id;
pub mod memory;
pub mod name;
pub mod push;
pub mod state;
pub mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod violation;
