//! One request: asks the gate, and does what it says.

use std::rc::Rc;

use policy::bucket::Quota;
use policy::config::RateLimitHeaders;
use policy::gate::{Denial, Verdict};
use policy::response;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::{self, CurrentRequest, HostClock, SharedData};
use crate::plugin::Plugin;

/// One request and its response.
pub(crate) struct Stream {
    plugin: Rc<Plugin>,
    /// What is left in the buckets, to be told in the response.
    quotas: Vec<(usize, Quota)>,
}

impl Stream {
    pub(crate) fn new(plugin: Rc<Plugin>) -> Self {
        Self { plugin, quotas: Vec::new() }
    }

    fn reject(&self, denial: &Denial) -> Action {
        host::respond(&response::rejection(self.plugin.gate.config(), denial));
        Action::Pause
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let plugin = &self.plugin;
        let config = plugin.gate.config();
        let freshness = plugin.freshness();
        let decision =
            plugin.gate.decide(&CurrentRequest::default(), &mut SharedData, &HostClock, freshness);
        plugin.metrics.count_decision(&decision);
        if let Some(line) = decision.log_line(config) {
            host::set_log_line(&line);
        }
        match decision.verdict {
            Verdict::Deny(denial) => self.reject(&denial),
            Verdict::Allow => {
                if config.responses.ratelimit_headers == RateLimitHeaders::Always {
                    self.quotas = decision.quotas;
                }
                Action::Continue
            }
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for (name, value) in response::rate_limit(self.plugin.gate.config(), &self.quotas) {
            host::add_response_header(name, &value);
        }
        Action::Continue
    }
}

/// A request to a plugin that was never configured: Envoy does not send any, and if it does, nothing
/// is let through.
pub(crate) struct Unconfigured;

impl Context for Unconfigured {}

impl HttpContext for Unconfigured {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        host::respond(&response::unavailable());
        Action::Pause
    }
}
