//! Envoy's C ABI for dynamic modules: all calls in either direction, and all that is unsafe.
//!
//! Hand-written, and only what is used, to the signatures of Envoy 1.38, which are those of 1.39 and 1.40 as well. What
//! exists only in newer ones is looked up when the module is loaded ([`Newer`]).
//!
//! What Envoy promises, and everything here relies on:
//! - A filter and its module's part live on one worker thread, from `filter_new` to `filter_destroy`, and outlive no
//!   configuration. Filters are called on that thread alone.
//! - Configurations are made, called about and destroyed on the main thread. Their callouts and their scheduled events
//!   come there, too. Only [`Ticket::commit`] may be called on any thread.
//! - What Envoy hands over is there until the hook returns, or until what it belongs to is changed. So nothing here gives
//!   out a reference to it: it is read in a closure, or copied.
//! - What is handed to Envoy is copied by it before the call returns.

#![allow(unsafe_code, reason = "the one place for it")]

mod calls;
mod guarded;
mod hooks;
mod system;

pub(crate) use calls::{
    Config, Filter, HeaderKind, Ticket, Wake, concurrency, is_validation, log,
};
pub(crate) use guarded::Guarded;
pub(crate) use system::{monotonic_nanos, random};
