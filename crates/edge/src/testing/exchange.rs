//! Requests: those that clients send, and those of the gate's own.

use std::collections::HashMap;
use std::time::Duration;

use gate::claim::Claim;
use gate::response::Response;
use model::push::{Message as _, Poll};

/// An HTTP request that a [`Proxy`] was asked to send.
#[derive(Clone)]
pub struct Sent {
    /// Where to.
    pub cluster: String,
    /// With which header lines.
    pub headers: Vec<(String, String)>,
    /// With which body.
    pub body: Vec<u8>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl Sent {
    /// What it says, if it is a poll.
    #[must_use]
    pub fn poll(&self) -> Poll {
        Poll::decode(self.body.as_slice()).unwrap()
    }
}

/// A request as a client has sent it, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The lines of the request's headers; the gate removes some and sets others.
    pub headers: Vec<(String, String)>,
    /// The part of its body that has come.
    pub body: Vec<u8>,
    /// How many bytes of the request have come; more than the body's before the plugin gets them.
    pub received: u64,
    /// Header lines after the body.
    pub trailers: Vec<(String, String)>,
    /// Where it is from.
    pub address: Option<String>,
    /// What the verified token says.
    pub claims: HashMap<String, Claim>,
    /// The mark that a gate has left.
    pub mark: Option<u32>,
    /// The answers that the gate has given instead of the upstream: never more than one.
    pub answers: Vec<(Response, String)>,
    /// What the gate has added to the upstream's response.
    pub response_headers: Vec<(String, String)>,
    /// What the gate has left for the access log.
    pub log_line: Option<String>,
    /// Whether the gate has let it go on after it was held.
    pub is_resumed: bool,
    /// With which details the gate has broken it off: never more than once.
    pub broken_off: Vec<String>,
}

impl Exchange {
    /// A GET request for this path.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::default().with(":method", "GET").with(":path", path)
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// From this address.
    #[must_use]
    pub fn from(mut self, address: &str) -> Self {
        self.address = Some(address.into());
        self
    }

    /// The value of a header of the request as the upstream gets it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Status and details of the answer that the gate has given.
    #[must_use]
    pub fn answer(&self) -> Option<(u32, &str)> {
        assert!(self.answers.len() <= 1, "answered twice");
        self.answers.first().map(|(response, details)| (response.status, details.as_str()))
    }
}
