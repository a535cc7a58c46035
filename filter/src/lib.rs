//! The Portcullis filter: the module that Envoy loads.
//!
//! **For**: translating between Envoy and the crate `gate`. `root` is one plugin in one VM, `plugin` what its
//! requests share, `stream` one request, `held` the requests that wait for their bodies, `host` every call
//! into the proxy, `metrics` the names of counters.
//!
//! **Not for**: decisions, which are `gate`'s. Every rule that can be tested without Envoy belongs there.
//!
//! **Begin with** `stream`, which follows one request. A panic here is a trap, and a trap is an outage, so nothing
//! on a request's path may panic.

mod held;
mod host;
mod metrics;
mod plugin;
mod root;
mod stream;
#[cfg(feature = "trap")]
mod trap;

// The macro makes a public function without a description.
#[allow(missing_docs)]
mod entry {
    use proxy_wasm::types::LogLevel;

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_root_context(|_| Box::new(crate::root::Root::default()));
    }}
}
