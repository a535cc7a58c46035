//! Envoy's C ABI for dynamic modules: all calls into Envoy, and what is handed over either way. All that is unsafe is
//! here, and, about the pointers that Envoy calls with, in `hooks`.
//!
//! Hand-written, and only what is used, to the signatures of Envoy 1.38, which are those of 1.39 and 1.40 as well. What
//! exists only in newer ones is looked up when the module is loaded ([`Newer`]).
//!
//! What Envoy promises, and everything here relies on:
//! - A filter and its module's part live on one worker thread, from `filter_new` to `filter_destroy`, and outlive no
//!   configuration. Filters are called on that thread alone.
//! - Configurations are made and called about on the main thread. Their callouts and their scheduled events come there,
//!   too. Only [`Ticket::commit`] may be called on any thread. They end where the last reference to them is let go of:
//!   calls wait for each other by [`Live`](crate::live::Live).
//! - What Envoy hands over is there until the hook returns, or until what it belongs to is changed. So nothing here gives
//!   out a reference to it: it is read in a closure, or copied.
//! - What is handed to Envoy is copied by it before the call returns.

#![allow(unsafe_code, reason = "the place for it")]

mod config;
mod declared;
mod filter;
mod guarded;
mod system;
mod tickets;

pub(crate) use config::{Config, Newer, concurrency, is_validation, log};
pub(crate) use declared::{HeaderKind, Line, Text};
pub(crate) use filter::Filter;
pub(crate) use guarded::Guarded;
pub(crate) use system::{find, monotonic_nanos, random};
pub(crate) use tickets::{Ticket, Wake};
