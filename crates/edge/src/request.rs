//! The request that the proxy is calling about: what the gate may ask of it, and what is removed from it
//! because only the gate may say it.

use std::cell::OnceCell;

use gate::claim::Claim;
use gate::config::Config;
use gate::request::{Request, is_forged_trailer};
use signing::headers::Headers;
use signing::is_reserved;

use crate::host::Host;

/// The request of the stream that the proxy is calling about. Its headers are fetched once, all
/// together: asking for single ones would hide those that stand twice.
pub(crate) struct Current<H: Host> {
    host: H,
    headers: OnceCell<Headers>,
}

impl<H: Host> Current<H> {
    pub(crate) fn new(host: H) -> Self {
        Self { host, headers: OnceCell::new() }
    }

    /// Removes the headers that only the gate may set.
    pub(crate) fn scrub(&self) {
        let names = self.headers().lines().map(|(name, _)| name);
        for name in names.filter(|name| is_reserved(name)) {
            if let Ok(name) = std::str::from_utf8(name) {
                self.host.remove_request_header(name);
            }
        }
    }
}

impl<H: Host> Drop for Current<H> {
    fn drop(&mut self) {
        self.headers.take().into_iter().for_each(|headers| self.host.give_back(headers));
    }
}

/// Removes what some servers would take for a header once the body is there.
pub(crate) fn scrub_trailers(host: impl Host, config: &Config) {
    let trailers = host.request_trailers();
    let names = trailers.lines().map(|(name, _)| name);
    for name in names.filter(|name| is_forged_trailer(name, config)) {
        if let Ok(name) = std::str::from_utf8(name) {
            host.remove_request_trailer(name);
        }
    }
}

impl<H: Host> Request for Current<H> {
    fn headers(&self) -> &Headers {
        self.headers.get_or_init(|| self.host.request_headers())
    }

    fn jwt_claim(&self, payload: &str, name: &str) -> Claim {
        self.host.jwt_claim(payload, name)
    }

    fn client_address(&self) -> Option<Vec<u8>> {
        self.host.client_address()
    }
}
