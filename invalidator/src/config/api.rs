//! `[api]`: where the API listens, who may use it, and its TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use access::tls::Files;
use access::{Access, Authority, Digest, Grant, RATE_DEFAULT, RawAuthority, Role};
use model::bucket::Rate;
use model::name::Name;
use model::violation::Violation;
use serde::Deserialize;
use system::{Span, TIME_RULE, Time};

use super::Api;
use super::spans::{ACK_TIMEOUT_MAX, span};

/// Longest name of a client certificate, in bytes.
const CLIENT_NAME_BYTES_MAX: usize = 256;
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
    #[serde(default)]
    clients: Vec<RawClient>,
    tls: Option<RawTls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    name: String,
    role: Role,
    hash: String,
    not_after: Option<Time>,
    rate: Option<RawRate>,
    allow: Option<RawAuthority>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRate {
    max_tokens: u32,
    tokens_per_fill: u32,
    fill_interval: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClient {
    name: String,
    role: Role,
    rate: Option<RawRate>,
    allow: Option<RawAuthority>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    cert_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: Option<PathBuf>,
    client_certificates: Option<ClientCertificates>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientCertificates {
    Optional,
    Required,
}

impl RawApi {
    pub(super) fn check(self) -> Result<Api, Violation> {
        let default = Duration::from_secs(2);
        let tls = self.tls.map(RawTls::check).transpose()?;
        let listen = listen(self.listen.as_deref().unwrap_or("127.0.0.1:7700"), tls.is_some())?;
        let mut access = Access::default();
        for (index, token) in self.tokens.into_iter().enumerate() {
            token.add_to(&mut access, &format!("api.tokens[{index}]"))?;
        }
        let asked_for = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !self.clients.is_empty() && !asked_for {
            let rule = "belong to client certificates: api.tls.client_ca_file has to name who \
                        issues them";
            return Err(Violation::new("api.clients", rule));
        }
        for (index, client) in self.clients.into_iter().enumerate() {
            client.add_to(&mut access, &format!("api.clients[{index}]"))?;
        }
        if access.is_empty() {
            let rule = "somebody has to be let in: \"portcullis token new --name NAME --role \
                        operator\" makes a token and prints the lines to put here";
            return Err(Violation::new("api.tokens", rule));
        }
        Ok(Api {
            listen,
            ack_timeout: span(self.ack_timeout, "api.ack_timeout", default, ACK_TIMEOUT_MAX)?,
            metrics_public: self.metrics_public,
            access,
            tls,
        })
    }
}

impl RawTls {
    fn check(self) -> Result<Files, Violation> {
        if self.client_certificates.is_some() && self.client_ca_file.is_none() {
            let rule = "needs client_ca_file, which names who issues them";
            return Err(Violation::new("api.tls.client_certificates", rule));
        }
        Ok(Files {
            cert: self.cert_file,
            key: self.key_file,
            client_ca: self.client_ca_file,
            required: self.client_certificates == Some(ClientCertificates::Required),
        })
    }
}

impl RawClient {
    fn add_to(self, access: &mut Access, place: &str) -> Result<(), Violation> {
        let fits = (1..=CLIENT_NAME_BYTES_MAX).contains(&self.name.len());
        if !fits || !self.name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            let rule = format!("must be 1 to {CLIENT_NAME_BYTES_MAX} visible ASCII characters");
            return Err(Violation::new(format!("{place}.name"), rule));
        }
        let (name, role) = (self.name, self.role);
        let authority = authority(self.allow, place)?;
        let grant = Grant { rate: rate(self.rate, place)?, name, role, authority };
        access
            .add_client(grant)
            .map_err(|(field, rule)| Violation::new(format!("{place}.{field}"), rule))
    }
}

impl RawToken {
    fn add_to(self, access: &mut Access, place: &str) -> Result<(), Violation> {
        let broken = |field: &str, rule: &str| Violation::new(format!("{place}.{field}"), rule);
        if Name::parse(&self.name).is_none() {
            return Err(broken("name", Name::RULE));
        }
        let digest = Digest::parse(&self.hash).ok_or_else(|| broken("hash", Digest::RULE))?;
        let not_after = self.not_after.map(|time| time.parse().ok_or(TIME_RULE));
        let not_after = not_after.transpose().map_err(|rule| broken("not_after", rule))?;
        let rate = rate(self.rate, place)?;
        let authority = authority(self.allow, place)?;
        let grant = Grant { name: self.name, role: self.role, rate, authority };
        access
            .add_token(grant, digest, not_after)
            .map_err(|(field, rule)| Violation::new(format!("{place}.{field}"), rule))
    }
}

fn authority(raw: Option<RawAuthority>, place: &str) -> Result<Authority, Violation> {
    let broken = |(field, rule)| Violation::new(format!("{place}.{field}"), rule);
    raw.unwrap_or_default().check().map_err(broken)
}

fn rate(raw: Option<RawRate>, place: &str) -> Result<Rate, Violation> {
    let (max_tokens, tokens_per_fill) = RATE_DEFAULT;
    let raw = raw.unwrap_or(RawRate { max_tokens, tokens_per_fill, fill_interval: None });
    let (shortest, longest) = FILL_INTERVALS;
    let field = format!("{place}.rate.fill_interval");
    let interval = raw.fill_interval.map(|span| span.within(&field, shortest, longest));
    let interval = interval.transpose()?.unwrap_or(FILL_INTERVAL);
    Rate::new(raw.max_tokens, raw.tokens_per_fill, interval)
        .map_err(|error| Violation::new(format!("{place}.rate.{}", error.field), error.rule))
}

/// Parses the address of the API: any with TLS, else a loopback one.
fn listen(text: &str, tls: bool) -> Result<SocketAddr, Violation> {
    let rule = if tls {
        "must be an address and a port, such as \"0.0.0.0:7700\""
    } else {
        "must be a loopback address such as \"127.0.0.1:7700\", or api.tls must be set: tokens \
         would cross the network for all to read"
    };
    let address: Option<SocketAddr> = text.parse().ok();
    address
        .filter(|address| tls || address.ip().is_loopback())
        .ok_or_else(|| Violation::new("api.listen", rule))
}
