//! The Portcullis filter: the module that Envoy loads.
//!
//! **For**: translating between Envoy's plugin ABI and the crate `edge`. `host` has every call into the proxy, `root`
//! and `stream` the calls out of it, and `vm` what they share.
//!
//! **Not for**: decisions, which are `gate`'s, and what comes of them, which is `edge`'s. Whatever can be tested
//! without Envoy belongs there.
//!
//! **Begin with** `stream`, which hands one request on. A panic here is a trap, and a trap is an outage, so nothing
//! on a request's path may panic.

mod host;
mod root;
mod stream;
#[cfg(feature = "trap")]
mod trap;
mod vm;

// The macro makes a public function without a description.
#[allow(missing_docs)]
mod entry {
    use proxy_wasm::types::LogLevel;

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(LogLevel::Info);
        proxy_wasm::set_root_context(|_| Box::new(crate::root::Root::default()));
    }}
}
