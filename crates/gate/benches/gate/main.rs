//! What the decisions cost by themselves, without Envoy: `cargo bench -p gate`.
//!
//! Time stands still and memory is a map, so that nothing is measured but this crate and what it
//! asks of memory. What a request costs inside Envoy is another question, for load tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod decision;
mod fixture;
mod signature;
mod wire;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decision::all(&mut criterion);
    signature::all(&mut criterion);
    wire::all(&mut criterion);
    criterion.final_summary();
}
