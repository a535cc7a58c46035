//! `[sources.redis]`: which Redis, how to reach it, and what is kept there.
//!
//! A URL may hold a password, and the library's messages may quote the URL: no error of this
//! section repeats either.

mod inboxes;

use std::path::PathBuf;
use std::time::Duration;

use access::Inbox;
use model::violation::Violation;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use system::{Secret, Span, read};

use inboxes::RawInbox;

/// Shortest interval that may be configured.
const SPAN_MIN: Duration = Duration::from_millis(10);

/// Longest interval and time to death of a connection.
const DEAD_AFTER_MAX: Duration = Duration::from_secs(60);
/// Longest time between two comparisons of what Redis holds with what is known here.
const DIGEST_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest time in which all that is known here is looked for in Redis.
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest name of a Pub/Sub channel, in bytes.
const CHANNEL_BYTES_MAX: usize = 256;
/// Longest prefix of the keys, in bytes.
const PREFIX_BYTES_MAX: usize = 64;
/// Most URLs of Sentinels or Cluster nodes.
const URLS_MAX: usize = 32;
/// Longest name of a Sentinel's master, user and password, in bytes.
const WORD_BYTES_MAX: usize = 1_024;
/// Fewest entries of the stream: what is published while a daemon reconnects has to fit.
const STREAM_ENTRIES_MIN: u64 = 1_000;
/// Most entries of the stream.
const STREAM_ENTRIES_MAX: u64 = 100_000_000;

/// `[sources.redis]`
#[derive(Debug)]
pub struct Config {
    /// What sort of installation it is.
    pub mode: RedisMode,
    /// `redis://` or `rediss://`, with credentials if any: one for a single server, the Sentinels,
    /// or some nodes of the Cluster. All with the same credentials and the same sort.
    pub urls: Vec<SecretString>,
    /// User of the Redis servers, instead of one in the URLs.
    pub user: Option<String>,
    /// Password of the Redis servers, instead of one in the URLs.
    pub password: Option<SecretString>,
    /// The Pub/Sub channel.
    pub channel: String,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// About how many events the stream keeps for daemons that were away.
    pub stream_entries_max: u64,
    /// Certificates.
    pub tls: RedisTls,
    /// How often the connection is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long after the last sign of life the connection is given up.
    pub dead_after: Duration,
    /// How often what Redis holds is compared with what is known here.
    pub digest_interval: Duration,
    /// Within what time all that is known here is looked for in Redis.
    pub sample_interval: Duration,
    /// Lists that publishers without other rights put their events into.
    pub inboxes: Vec<Inbox>,
}

/// What sort of installation of Redis it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Standalone,
    /// A master and replicas, watched over by Sentinels.
    Sentinel {
        /// What the Sentinels call the master.
        master_name: String,
    },
    /// Redis Cluster.
    Cluster,
}

/// Certificates for connections to Redis.
#[derive(Debug)]
pub struct RedisTls {
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The certificate to show, and its key, both PEM.
    pub client: Option<(Vec<u8>, SecretString)>,
}

/// The section as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    #[serde(default)]
    mode: RawMode,
    url: Option<Secret>,
    urls: Option<Vec<Secret>>,
    user: Option<String>,
    password: Option<Secret>,
    sentinel: Option<RawSentinel>,
    channel: Option<String>,
    prefix: Option<String>,
    stream_entries_max: Option<u64>,
    tls_ca_file: Option<PathBuf>,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    ping_interval: Option<Span>,
    dead_after: Option<Span>,
    digest_interval: Option<Span>,
    sample_interval: Option<Span>,
    #[serde(default)]
    inboxes: Vec<RawInbox>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawMode {
    #[default]
    Standalone,
    Sentinel,
    Cluster,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSentinel {
    master_name: String,
}

/// A URL, and what the library reads in it.
type Url = (SecretString, ConnectionInfo);

fn broken(key: &str, rule: impl Into<String>) -> Violation {
    Violation::new(format!("sources.redis.{key}"), rule)
}

impl Config {
    /// The secrets of the section, and the files that it names.
    pub(super) fn secrets(&self, add: &mut dyn FnMut(&str, &[u8])) {
        let field = |name: &str| format!("sources.redis.{name}");
        if let Some(password) = &self.password {
            add(&field("password"), password.expose_secret().as_bytes());
        }
        let urls: Vec<_> = self.urls.iter().map(ExposeSecret::expose_secret).collect();
        let name = field(if urls.len() > 1 { "urls" } else { "url" });
        add(&name, SecretString::from(urls.join("\n")).expose_secret().as_bytes());
        if let Some(ca) = &self.tls.ca {
            add(&field("tls_ca_file"), ca);
        }
        if let Some((cert, key)) = &self.tls.client {
            add(&field("tls_cert_file"), cert);
            add(&field("tls_key_file"), key.expose_secret().as_bytes());
        }
    }
}

impl Section {
    /// It is there if it is written.
    pub(crate) fn check_all(section: Option<Self>) -> Result<Option<Config>, Violation> {
        section.map(Self::check).transpose()
    }

    fn check(mut self) -> Result<Config, Violation> {
        let (urls, field) = self.urls()?;
        let mode = self.mode(&urls, field)?;
        let tls = self.tls(urls.iter().all(|(_, info)| is_tls(info)))?;
        let (user, password) = self.credentials()?;
        let channel = self.channel.unwrap_or_else(|| "portcullis.invalidations".to_owned());
        if channel.is_empty() || channel.len() > CHANNEL_BYTES_MAX {
            return Err(broken("channel", format!("must be 1 to {CHANNEL_BYTES_MAX} bytes")));
        }
        let stream_entries_max = self.stream_entries_max.unwrap_or(100_000);
        if !(STREAM_ENTRIES_MIN..=STREAM_ENTRIES_MAX).contains(&stream_entries_max) {
            let rule = format!("must be {STREAM_ENTRIES_MIN} to {STREAM_ENTRIES_MAX}");
            return Err(broken("stream_entries_max", rule));
        }
        let second = Duration::from_secs(1);
        let ping_field = "sources.redis.ping_interval";
        let ping_interval = span(self.ping_interval, ping_field, second, DEAD_AFTER_MAX)?;
        let dead_field = "sources.redis.dead_after";
        let dead_default = Duration::from_millis(2500);
        let dead_after = span(self.dead_after, dead_field, dead_default, DEAD_AFTER_MAX)?;
        if dead_after <= ping_interval {
            return Err(Violation::new(dead_field, "must be longer than ping_interval"));
        }
        let field = "sources.redis.digest_interval";
        let half_minute = Duration::from_secs(30);
        Ok(Config {
            mode,
            urls: urls.into_iter().map(|(url, _)| url).collect(),
            user,
            password,
            channel,
            prefix: prefix(self.prefix)?,
            stream_entries_max,
            tls,
            ping_interval,
            dead_after,
            digest_interval: span(self.digest_interval, field, half_minute, DIGEST_INTERVAL_MAX)?,
            sample_interval: span(
                self.sample_interval,
                "sources.redis.sample_interval",
                Duration::from_secs(600),
                SAMPLE_INTERVAL_MAX,
            )?,
            inboxes: inboxes::check(self.inboxes)?,
        })
    }

    /// The URLs, each with what the library reads in it, and the field that they stand in.
    fn urls(&mut self) -> Result<(Vec<Url>, &'static str), Violation> {
        let list = self.mode != RawMode::Standalone;
        let (field, secrets) = match (list, self.url.take(), self.urls.take()) {
            (false, Some(url), None) => ("url", vec![url]),
            (true, None, Some(urls)) => ("urls", urls),
            (false, None, None) => return Err(broken("url", "must be given")),
            (true, None, None) => return Err(broken("urls", "must be given with this mode")),
            (false, _, Some(_)) => {
                return Err(broken("urls", "belongs to mode sentinel or cluster only"));
            }
            (true, Some(_), _) => return Err(broken("url", "belongs to mode standalone only")),
        };
        if !(1..=URLS_MAX).contains(&secrets.len()) {
            return Err(broken(field, format!("must be 1 to {URLS_MAX} URLs")));
        }
        let read = |secret: Secret| {
            let url = secret.resolve(&format!("sources.redis.{field}"))?;
            let info = parse(&url).ok_or_else(|| {
                broken(
                    field,
                    "must be redis://[user:password@]host[:port][/db], or rediss:// for TLS",
                )
            })?;
            Ok((url, info))
        };
        let urls = secrets.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if urls.iter().any(|(_, info)| is_tls(info)) && !urls.iter().all(|(_, info)| is_tls(info)) {
            return Err(broken(field, "must be rediss:// all, or none"));
        }
        Ok((urls, field))
    }

    fn mode(&self, urls: &[Url], field: &str) -> Result<RedisMode, Violation> {
        if self.sentinel.is_some() && self.mode != RawMode::Sentinel {
            return Err(broken("sentinel", "belongs to mode sentinel only"));
        }
        if self.mode != RawMode::Standalone {
            let login = |info: &ConnectionInfo| {
                let redis = info.redis_settings();
                (redis.username().map(str::to_owned), redis.password().map(str::to_owned))
            };
            let mut logins = urls.iter().map(|(_, info)| login(info));
            let first = logins.next();
            if logins.any(|login| Some(login) != first) {
                return Err(broken(field, "must have the same user and password all"));
            }
            if urls.iter().any(|(_, info)| info.redis_settings().db() != 0) {
                return Err(broken(field, "must not name a database"));
            }
        }
        match (self.mode, &self.sentinel) {
            (RawMode::Standalone, _) => Ok(RedisMode::Standalone),
            (RawMode::Cluster, _) => Ok(RedisMode::Cluster),
            (RawMode::Sentinel, Some(RawSentinel { master_name })) => {
                let master_name = word("sentinel.master_name", master_name)?;
                Ok(RedisMode::Sentinel { master_name })
            }
            (RawMode::Sentinel, None) => {
                Err(broken("sentinel.master_name", "must be given with this mode"))
            }
        }
    }

    fn credentials(&mut self) -> Result<(Option<String>, Option<SecretString>), Violation> {
        let user = self.user.take().map(|user| word("user", &user)).transpose()?;
        let password = self
            .password
            .take()
            .map(|secret| secret.resolve("sources.redis.password"))
            .transpose()?;
        if let Some(password) = &password {
            word("password", password.expose_secret())?;
        }
        if user.is_some() && password.is_none() {
            return Err(broken("user", "must have a password beside it"));
        }
        Ok((user, password))
    }

    fn tls(&mut self, tls: bool) -> Result<RedisTls, Violation> {
        let read = |key: &str, path: Option<PathBuf>| {
            if path.is_some() && !tls {
                return Err(broken(key, "belongs to a rediss:// url only"));
            }
            path.map(|path| read(&path, &format!("sources.redis.{key}"))).transpose()
        };
        let ca = read("tls_ca_file", self.tls_ca_file.take())?;
        let cert = read("tls_cert_file", self.tls_cert_file.take())?;
        let key = read("tls_key_file", self.tls_key_file.take())?;
        let client = match (cert, key) {
            (Some(cert), Some(key)) => {
                let key = String::from_utf8(key)
                    .map_err(|_| broken("tls_key_file", "must hold a key in PEM form"))?;
                Some((cert, key.into()))
            }
            (None, None) => None,
            (Some(_), None) => return Err(broken("tls_key_file", "belongs to tls_cert_file")),
            (None, Some(_)) => return Err(broken("tls_cert_file", "belongs to tls_key_file")),
        };
        Ok(RedisTls { ca, client })
    }
}

/// The span as configured, within the bounds; the default if absent.
fn span(
    raw: Option<Span>,
    field: &str,
    default: Duration,
    max: Duration,
) -> Result<Duration, Violation> {
    raw.map_or(Ok(default), |span| span.within(field, SPAN_MIN, max))
}

fn parse(url: &SecretString) -> Option<ConnectionInfo> {
    let text = url.expose_secret();
    let known = text.starts_with("redis://") || text.starts_with("rediss://");
    known.then(|| text.into_connection_info().ok()).flatten()
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn word(key: &str, text: &str) -> Result<String, Violation> {
    if (1..=WORD_BYTES_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(broken(key, format!("must be 1 to {WORD_BYTES_MAX} bytes")))
}

fn prefix(text: Option<String>) -> Result<String, Violation> {
    let prefix = text.unwrap_or_else(|| "portcullis".to_owned());
    let fits = (1..=PREFIX_BYTES_MAX).contains(&prefix.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if fits && prefix.bytes().all(plain) {
        return Ok(prefix);
    }
    let rule = format!(
        "must be 1 to {PREFIX_BYTES_MAX} characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'"
    );
    Err(broken("prefix", rule))
}

#[cfg(test)]
mod tests;
