//! The client of the daemon's API: one blocking request at a time, to loopback.

use std::time::Duration;

use access::Token;
use model::violation::Violation;
use serde::de::DeserializeOwned;
use serde_json::Value;
use system::read_bounded;
use thiserror::Error;
use ureq::RequestBuilder;
use ureq::http::Uri;
use ureq::tls::TlsConfig;

use super::client::Client;
use super::tls;
use crate::config::ACK_TIMEOUT_MAX;
use crate::server::host::is_loopback_name;
use crate::wire::Problem;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer: the daemon may wait for acknowledgements first.
const ANSWER_TIMEOUT: Duration = ACK_TIMEOUT_MAX.saturating_add(Duration::from_secs(5));
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The problem that the caller's role does not allow something.
const FORBIDDEN: &str = "forbidden";
/// Largest file of a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;
/// The environment variable of a token.
const TOKEN_VARIABLE: &str = "PORTCULLIS_TOKEN";

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error(
        "--api: must be an http:// or https:// address such as http://127.0.0.1:7700, not {0:?}"
    )]
    Address(String),
    #[error("cannot reach the daemon at {0}: {1}")]
    Unreachable(String, Box<ureq::Error>),
    #[error("{0} does not answer like a Portcullis daemon (status {1})")]
    Foreign(String, u16),
    #[error(transparent)]
    Usage(#[from] Violation),
    #[error("{0}")]
    Denied(String),
}

impl ApiError {
    /// Whether it is about how the command was given.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::Address(_) | Self::Usage(_))
    }
}

/// An answer of the daemon, good or bad.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) json: Value,
    /// Who has answered.
    base: String,
}

impl Reply {
    /// What it says, if that is what is expected of a daemon.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_str(&self.text)
            .map_err(|_| ApiError::Foreign(self.base.clone(), self.status))
    }

    /// Why something was not done. What a stranger answers is a problem without words.
    pub(super) fn problem(&self) -> Problem {
        Problem::read(&self.text)
    }
}

pub(super) struct Api {
    base: String,
    agent: ureq::Agent,
    token: Option<Token>,
}

impl Api {
    pub(super) fn new(client: &Client) -> Result<Self, ApiError> {
        let base = client.api.trim_end_matches('/').to_owned();
        let token = token(client)?;
        let uri: Option<Uri> = base.parse().ok();
        let secured = match uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?))) {
            Some(("https", _)) => true,
            Some(("http", host)) => {
                check_clear(client, is_loopback_name(host) || token.is_none())?;
                false
            }
            _ => return Err(ApiError::Address(base)),
        };
        let tls = if secured { tls::config(client)? } else { TlsConfig::default() };
        // No proxy from the environment: user ids are for the daemon alone.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        Ok(Self { base, agent: config.into(), token })
    }

    /// Publishes an event, and waits for the Envoys of this daemon or of the fleet.
    pub(super) fn publish(&self, event: &str, everywhere: bool) -> Result<Reply, ApiError> {
        let wait = if everywhere { "?wait=fleet" } else { "" };
        let url = format!("{}/v1/invalidations{wait}", self.base);
        let request = self.agent.post(url).content_type("application/json");
        self.reply(self.showing_token(request).send(event))
    }

    /// Posts JSON to a path of the API.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<Reply, ApiError> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(url).content_type("application/json");
        self.reply(self.showing_token(request).send(body))
    }

    pub(super) fn status(&self) -> Result<Reply, ApiError> {
        let request = self.agent.get(format!("{}/v1/status", self.base));
        self.reply(self.showing_token(request).call())
    }

    /// All daemons on the same Redis.
    pub(super) fn fleet(&self) -> Result<Reply, ApiError> {
        let request = self.agent.get(format!("{}/v1/fleet", self.base));
        self.reply(self.showing_token(request).call())
    }

    fn showing_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    /// Dead letters, by the parameters of the query.
    pub(super) fn dead_letters(&self, query: &[(&str, &str)]) -> Result<Reply, ApiError> {
        let url = format!("{}/v1/dead-letters", self.base);
        let request = self.agent.get(url).query_pairs(query.iter().copied());
        self.reply(self.showing_token(request).call())
    }

    /// One dead letter. An id that is none is that of no letter.
    pub(super) fn dead_letter(&self, id: &str) -> Result<Reply, ApiError> {
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        let request = self.agent.get(format!("{}/v1/dead-letters/{id}", self.base));
        self.reply(self.showing_token(request).call())
    }

    pub(super) fn replay(&self, order: &str) -> Result<Reply, ApiError> {
        let url = format!("{}/v1/dead-letters/replay", self.base);
        let request = self.agent.post(url).content_type("application/json");
        self.reply(self.showing_token(request).send(order))
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
        let reply = Reply { status, text, json, base: self.base.clone() };
        match status {
            401 => Err(ApiError::Denied(self.unknown(&reply.problem()))),
            // An event may be refused with 403 as well: that is about the event.
            403 if reply.problem().is(FORBIDDEN) => {
                Err(ApiError::Denied(format!("not allowed: {}", rule(&reply.problem()))))
            }
            _ => Ok(reply),
        }
    }

    /// What to do about a daemon that does not know the caller.
    fn unknown(&self, problem: &Problem) -> String {
        let help = match self.token {
            Some(_) => {
                "check the token given with --token-file, PORTCULLIS_TOKEN_FILE or \
                        PORTCULLIS_TOKEN"
            }
            None => {
                "give a token with --token-file FILE, or in PORTCULLIS_TOKEN; \
                     \"portcullis token new\" makes one"
            }
        };
        format!("the daemon does not know you: {}; {help}", rule(problem))
    }
}

/// The field at fault and its rule, as a problem says them.
fn rule(problem: &Problem) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    format!("{}: {}", text(&problem.field), text(&problem.rule))
}

/// What must not be done without TLS.
fn check_clear(client: &Client, nothing_to_hide: bool) -> Result<(), Violation> {
    if client.ca_file.is_some() || client.cert_file.is_some() {
        let rule = "must be https:// for --ca-file, --cert-file and --key-file to mean anything";
        return Err(Violation::new("--api", rule));
    }
    if !nothing_to_hide {
        let rule = "must be https://: the token would cross the network for all to read";
        return Err(Violation::new("--api", rule));
    }
    Ok(())
}

/// The token to show, if one is given: in a file, or in the environment.
fn token(client: &Client) -> Result<Option<Token>, Violation> {
    let (place, text) = match &client.token_file {
        Some(file) => {
            let bytes = read_bounded(file, TOKEN_FILE_BYTES_MAX);
            let bytes = bytes.map_err(|rule| Violation::new("--token-file", rule))?;
            ("--token-file", String::from_utf8(bytes).unwrap_or_default())
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(text) if !text.is_empty() => (TOKEN_VARIABLE, text),
            _ => return Ok(None),
        },
    };
    let token = Token::parse(text.trim_ascii());
    token.map(Some).ok_or_else(|| Violation::new(place, Token::RULE))
}
