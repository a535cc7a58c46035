//! The vocabulary of Portcullis: subjects, what is known of one, which of two events wins, and the messages in
//! which that travels between the daemon and the nodes.
//!
//! **For**: everything that all other crates have to agree on. Plain computation on arguments: there is no
//! clock, no I/O, no async and no host call, and the time is always an argument.
//!
//! **Not for**: how events are written (`events`), how requests are signed (`signing`), what becomes of
//! a request (`gate`), and what the daemon tells which node (`invalidator`).
//!
//! **Begin with** [`state`], which merges events into the state of one subject: merging is commutative,
//! associative and idempotent, and the rest of the system relies on that. Then [`memory`], the trait of the
//! memory that Envoy's workers share, [`push`], the messages, and [`bucket`], the token bucket.

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
