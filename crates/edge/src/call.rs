//! One callback of the proxy: what it is about.

use gate::config::Config;

use crate::host::Host;
use crate::plugin::Plugin;
use crate::worker::Worker;

/// One callback of the proxy: the plugin, the worker that it comes to, and the proxy.
pub struct Call<'a, H: Host> {
    /// What all workers share.
    pub plugin: &'a Plugin,
    /// What this worker has for itself.
    pub worker: &'a Worker<H>,
    /// The proxy.
    pub host: H,
}

impl<H: Host> Clone for Call<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Host> Copy for Call<'_, H> {}

impl<'a, H: Host> Call<'a, H> {
    pub(crate) fn config(self) -> &'a Config {
        self.plugin.gate.config()
    }
}
