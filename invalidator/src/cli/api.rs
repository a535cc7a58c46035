//! The client of the daemon's API: one blocking request at a time, to loopback.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::config::ACK_TIMEOUT_MAX;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer: the daemon may wait for acknowledgements first.
const ANSWER_TIMEOUT: Duration = ACK_TIMEOUT_MAX.saturating_add(Duration::from_secs(5));
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error("--api: must be an http:// address such as http://127.0.0.1:7700, not {0:?}")]
    Address(String),
    #[error("cannot reach the daemon at {0}: {1}")]
    Unreachable(String, Box<ureq::Error>),
    #[error("{0} does not answer like a Portcullis daemon (status {1})")]
    Foreign(String, u16),
}

/// An answer of the daemon, good or bad.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Reply {
    /// Whether the event came after a newer one, and so changes nothing.
    pub(super) fn is_stale(&self) -> bool {
        self.json.get("result").is_some_and(|result| result == "stale")
    }
}

pub(super) struct Api {
    base: String,
    agent: ureq::Agent,
}

impl Api {
    pub(super) fn new(base: &str) -> Result<Self, ApiError> {
        let host = base.strip_prefix("http://").filter(|host| !host.is_empty());
        if host.is_none() {
            return Err(ApiError::Address(base.to_owned()));
        }
        // No proxy from the environment: user ids are for the daemon alone.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        Ok(Self { base: base.trim_end_matches('/').to_owned(), agent: config.into() })
    }

    pub(super) fn publish(&self, event: &str) -> Result<Reply, ApiError> {
        let url = format!("{}/v1/invalidations", self.base);
        let sent = self.agent.post(url).content_type("application/json").send(event);
        self.reply(sent)
    }

    pub(super) fn status(&self) -> Result<Reply, ApiError> {
        self.reply(self.agent.get(format!("{}/v1/status", self.base)).call())
    }

    /// Dead letters, by the parameters of the query.
    pub(super) fn dead_letters(&self, query: &[(&str, &str)]) -> Result<Reply, ApiError> {
        let url = format!("{}/v1/dead-letters", self.base);
        self.reply(self.agent.get(url).query_pairs(query.iter().copied()).call())
    }

    /// One dead letter. An id that is none is that of no letter.
    pub(super) fn dead_letter(&self, id: &str) -> Result<Reply, ApiError> {
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        self.reply(self.agent.get(format!("{}/v1/dead-letters/{id}", self.base)).call())
    }

    pub(super) fn replay(&self, order: &str) -> Result<Reply, ApiError> {
        let url = format!("{}/v1/dead-letters/replay", self.base);
        let sent = self.agent.post(url).content_type("application/json").send(order);
        self.reply(sent)
    }

    fn reply(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Reply, ApiError> {
        let unreachable = |error| ApiError::Unreachable(self.base.clone(), Box::new(error));
        let mut response = sent.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(unreachable)?;
        let json = serde_json::from_str(&text)
            .map_err(|_| ApiError::Foreign(self.base.clone(), status))?;
        Ok(Reply { status, text, json })
    }
}
