//! One callback of the proxy: what it is about.

use std::time::Duration;

use gate::config::Config;
use model::push::{CONTENT_TYPE, Message};

use crate::host::{Host, HttpCall};
use crate::plugin::Plugin;
use crate::worker::Worker;

/// One callback of the proxy: the plugin, the worker that it comes to, and the proxy.
pub struct Call<'a, H: Host> {
    /// What all workers share.
    pub plugin: &'a Plugin,
    /// What this worker has for itself.
    pub worker: &'a Worker<H::StreamId>,
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

    /// Sends a message to the invalidator; the number comes back with its answer. None if it could not be sent.
    pub(crate) fn post(self, path: &str, message: &impl Message, timeout: Duration) -> Option<u32> {
        let invalidator = self.config().invalidator.as_ref()?;
        let authorization = format!("Bearer {}", invalidator.secret);
        self.host.dispatch(&HttpCall {
            cluster: &invalidator.cluster,
            headers: &[
                (":method", "POST"),
                (":path", path),
                (":authority", "portcullis"),
                ("content-type", CONTENT_TYPE),
                ("authorization", &authorization),
            ],
            body: &message.encode_to_vec(),
            timeout,
        })
    }
}
