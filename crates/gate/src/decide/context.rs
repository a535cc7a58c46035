//! What a decision is made with, beside the request.

use super::WorkerMemo;

/// What a host lends to a decision: what is shared, what time it is, and what the worker has for itself.
#[derive(Debug)]
pub struct Context<'a, S, C> {
    /// The memory that all workers of one Envoy share.
    pub shared: &'a mut S,
    /// The clocks: one for buckets, one for expiries and signatures.
    pub clock: &'a C,
    /// What this worker remembers for itself.
    pub worker: &'a mut WorkerMemo,
}
