//! The daemon from outside: the real binary, a real Redis, and a node that speaks the protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod access;
mod audit;
mod check;
mod cli;
mod connections;
mod documents;
mod fleet;
mod fleet_limits;
mod harness;
mod intake;
mod keys;
mod lifecycle;
mod node;
mod polls;
mod publish;
mod redis_access;
mod redis_durable;
mod redis_fleet;
mod redis_inbox;
mod redis_many;
mod redis_scripts;
mod redis_source;
mod reload;
mod salvage;
mod schema;
mod sign;
mod store;
mod tls;
