//! `[api]`: where the API listens, who may use it, and its TLS.

use std::net::SocketAddr;
use std::time::Duration;

use policy::bucket::Rate;
use policy::name::Name;
use serde::Deserialize;

use super::raw::{ACK_TIMEOUT_MAX, span};
use super::value::{Span, TIME_RULE, Time};
use super::{Api, ConfigError};
use crate::access::{Access, Digest, Grant, RATE_DEFAULT, Role};

/// The interval of a rate that names none.
const FILL_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest and longest interval of a caller's rate.
const FILL_INTERVALS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    listen: Option<String>,
    ack_timeout: Option<Span>,
    #[serde(default)]
    metrics_public: bool,
    #[serde(default)]
    tokens: Vec<RawToken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: String,
    role: Role,
    hash: String,
    not_after: Option<Time>,
    rate: Option<RawRate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRate {
    max_tokens: u32,
    tokens_per_fill: u32,
    fill_interval: Option<Span>,
}

impl RawApi {
    pub(super) fn check(self) -> Result<Api, ConfigError> {
        let default = Duration::from_secs(2);
        let listen = loopback(self.listen.as_deref().unwrap_or("127.0.0.1:7700"))?;
        let mut access = Access::default();
        for (index, token) in self.tokens.into_iter().enumerate() {
            token.add_to(&mut access, &format!("api.tokens[{index}]"))?;
        }
        if access.is_empty() {
            let rule = "somebody has to be let in: \"portcullis token new --name NAME --role \
                        operator\" makes a token and prints the lines to put here";
            return Err(ConfigError::new("api.tokens", rule));
        }
        Ok(Api {
            listen,
            ack_timeout: span(self.ack_timeout, "api.ack_timeout", default, ACK_TIMEOUT_MAX)?,
            metrics_public: self.metrics_public,
            access,
        })
    }
}

impl RawToken {
    fn add_to(self, access: &mut Access, place: &str) -> Result<(), ConfigError> {
        let broken = |field: &str, rule: &str| ConfigError::new(format!("{place}.{field}"), rule);
        if Name::parse(&self.name).is_none() {
            return Err(broken("name", Name::RULE));
        }
        let digest = Digest::parse(&self.hash).ok_or_else(|| broken("hash", Digest::RULE))?;
        let not_after = self.not_after.map(|time| time.parse().ok_or(TIME_RULE));
        let not_after = not_after.transpose().map_err(|rule| broken("not_after", rule))?;
        let rate = rate(self.rate, place)?;
        let grant = Grant { name: self.name, role: self.role, rate };
        access
            .add_token(grant, digest, not_after)
            .map_err(|(field, rule)| ConfigError::new(format!("{place}.{field}"), rule))
    }
}

fn rate(raw: Option<RawRate>, place: &str) -> Result<Rate, ConfigError> {
    let (max_tokens, tokens_per_fill) = RATE_DEFAULT;
    let raw = raw.unwrap_or(RawRate { max_tokens, tokens_per_fill, fill_interval: None });
    let (shortest, longest) = FILL_INTERVALS;
    let field = format!("{place}.rate.fill_interval");
    let interval = raw.fill_interval.map(|span| span.within(&field, shortest, longest));
    let interval = interval.transpose()?.unwrap_or(FILL_INTERVAL);
    Rate::new(raw.max_tokens, raw.tokens_per_fill, interval)
        .map_err(|error| ConfigError::new(format!("{place}.rate.{}", error.field), error.rule))
}

/// Parses the address of the API, which has to be a loopback one.
fn loopback(text: &str) -> Result<SocketAddr, ConfigError> {
    let rule = "must be a loopback address such as \"127.0.0.1:7700\": without TLS, tokens would \
                cross the network for all to read";
    let address: Option<SocketAddr> = text.parse().ok();
    address
        .filter(|address| address.ip().is_loopback())
        .ok_or_else(|| ConfigError::new("api.listen", rule))
}
