//! Portcullis as a dynamic module: a shared object that Envoy loads into itself.
//!
//! **For**: translating between Envoy's C ABI for dynamic modules and the crate `edge`, as `filter` does for
//! proxy-wasm. `abi` has every call into Envoy and `hooks` every call out of it, which is where all that is unsafe is;
//! `host` is the proxy as `edge` sees it.
//!
//! **Not for**: decisions, which are `gate`'s, and what comes of them, which is `edge`'s. Whatever can be tested
//! without Envoy belongs there.
//!
//! **Begin with** `stream`, which hands one request on, and `base`, which is one configuration of Envoy's.
//!
//! Nothing separates the module from Envoy: it is in the same process. So every call from Envoy is shielded (`shield`): a
//! panic answers one request 503, is counted and logged, and Envoy goes on.
//!
//! | thread | what runs there |
//! |---|---|
//! | each worker of Envoy's | its requests, and the bodies that they wait for |
//! | Envoy's main thread | configurations, polls, their answers, and ticks |
//! | `portcullis-ticks` | sleeps, and asks Envoy for the next tick on its main thread |

mod abi;
mod base;
mod clockwork;
#[cfg(test)]
mod fake;
mod home;
mod hooks;
mod host;
mod live;
mod memory;
mod metrics;
mod node;
mod outlet;
mod rounds;
mod route;
mod sent;
mod shield;
mod site;
mod spare;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "trap")]
mod trap;
