//! The daemon's configuration: read once, checked once, and valid by type from then on.
//!
//! Every error names the field and the rule it breaks. Nothing here opens a socket.

mod api;
mod events;
mod fleet;
mod listen;
mod raw;
mod spans;
mod written;

#[cfg(test)]
pub(crate) use events::RawEvents;
pub use spans::ACK_TIMEOUT_MAX;
pub use written::Written;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use access::Access;
use access::tls::Files;
use audit::AuditPlace;
use audit::line::{Hash, Seal};
use model::violation::Violation;
use secrecy::SecretString;
use system::{parse_toml, read_bounded};
use tracing::level_filters::LevelFilter;

use crate::fence::Called;
use crate::intake::Events;
use crate::source::Sources;
use raw::RawConfig;

/// Shortest secret that the poll endpoint accepts, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;
/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The API for publishers and operators.
    pub api: Api,
    /// The endpoint that Envoys poll.
    pub poll: Poll,
    /// Where events come from: at least one source.
    pub sources: Sources,
    /// Where what is known is kept.
    pub store: store::Settings,
    /// The audit log.
    pub audit: audit::Settings,
    /// Bounds of what is kept in memory.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
    /// The signing keys to push, if any.
    pub keys_file: Option<PathBuf>,
    /// What events must and must not have, and who may sign them.
    pub events: Events,
    /// How long events that cannot be applied are kept.
    pub dead_letters: deadletter::Bounds,
    /// How this daemon is called among others.
    pub called: Called,
    /// The file of the key that the whole fleet names subjects with, if it is not to be found in Redis.
    pub fleet_key_file: Option<PathBuf>,
}

/// `[api]`
#[derive(Debug)]
pub struct Api {
    /// Where it listens: a loopback address, or any with TLS.
    pub listen: SocketAddr,
    /// How long a publisher waits for every node's acknowledgement.
    pub ack_timeout: Duration,
    /// Whether anybody may scrape the metrics.
    pub metrics_public: bool,
    /// Who may call.
    pub access: Access,
    /// The files of its TLS, if any.
    pub tls: Option<Files>,
}

/// `[poll]`
#[derive(Debug)]
pub struct Poll {
    /// Where Envoys reach the daemon.
    pub listen: Listen,
    /// What every poll has to carry as its bearer token.
    pub secret: SecretString,
    /// How long a poll is held when there is nothing to say.
    pub hold: Duration,
    /// How many states each Envoy is asked to check in a second; 0 for none.
    pub scrub: u32,
}

/// Where the poll endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket and its permission bits.
    Unix {
        /// Absolute path of the socket.
        path: PathBuf,
        /// Permission bits of the socket file.
        mode: u32,
    },
    /// A TCP address.
    Tcp(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of what is kept in memory.
    pub engine: engine::Limits,
    /// API requests being answered at once.
    pub api_requests_max: usize,
    /// API requests of one caller being answered at once.
    pub api_requests_per_caller_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            engine: engine::Limits::default(),
            api_requests_max: 256,
            api_requests_per_caller_max: 128,
        }
    }
}

/// `[log]`
#[derive(Debug)]
pub struct Log {
    /// One JSON object per line, or text for people.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LevelFilter,
    /// Key of the pseudonyms of user ids; random for each run when absent.
    pub pseudonym_key: Option<SecretString>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Text for people.
    Text,
}

impl Config {
    /// Reads and checks the file, and the files and environment variables its secrets name.
    ///
    /// # Errors
    /// The first rule that is broken; a file that cannot be read is the field `config`.
    pub fn load(path: &Path) -> Result<Self, Violation> {
        first(Self::load_all(path).map(|(config, _)| config))
    }

    /// As [`Config::load`], with everything that is wrong rather than the first of it: of each
    /// section one rule. Also gives what is written in the file, to be compared with what it says
    /// at another time.
    ///
    /// # Errors
    /// The rules that are broken, at least one.
    pub fn load_all(path: &Path) -> Result<(Self, Written), Vec<Violation>> {
        let text = read_config(path).map_err(|error| vec![error])?;
        let config = Self::parse_all(&text)?;
        let written = Written::of(&text, &config).map_err(|error| vec![error])?;
        Ok((config, written))
    }

    /// Checks the text of a configuration file.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        first(Self::parse_all(text))
    }

    fn parse_all(text: &str) -> Result<Self, Vec<Violation>> {
        let raw: RawConfig = parse_toml(text, "config").map_err(|error| vec![error])?;
        raw.check()
    }

    /// The `keys.file` of a configuration of which the rest is not looked at: whoever rotates keys
    /// need not be able to read the daemon's other secrets.
    ///
    /// # Errors
    /// If the file cannot be read, or names none.
    pub fn keys_file_of(path: &Path) -> Result<PathBuf, Violation> {
        let raw: RawConfig = parse_toml(&read_config(path)?, "config")?;
        let rule = || Violation::new("keys.file", format!("is not set in {}", path.display()));
        raw.keys_file().ok_or_else(rule)
    }

    /// Where the audit log of a configuration is, and its key, without looking at the rest: whoever
    /// checks the log need not be able to read the daemon's other secrets.
    ///
    /// # Errors
    /// If the file cannot be read, or the key cannot.
    pub fn audit_of(path: &Path) -> Result<AuditPlace, Violation> {
        parse_toml::<RawConfig>(&read_config(path)?, "config")?.audit_place()
    }

    /// SHA-256 of everything that is configured, defaults included and secrets left out, so that two
    /// starts can be compared. Another version of the daemon may have another one.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let whole = format!("{self:?} {}", self.api.access.fingerprint());
        Seal::new(None).hash(whole.as_bytes())
    }
}

fn first(checked: Result<Config, Vec<Violation>>) -> Result<Config, Violation> {
    checked.map_err(|errors| {
        // There is one, or there would be a configuration.
        errors.into_iter().next().unwrap_or_else(|| Violation::new("config", "cannot be used"))
    })
}

fn read_config(path: &Path) -> Result<String, Violation> {
    let bytes =
        read_bounded(path, CONFIG_BYTES_MAX).map_err(|rule| Violation::new("config", rule))?;
    String::from_utf8(bytes).map_err(|_| Violation::new("config", "must be UTF-8 text"))
}

#[cfg(test)]
mod tests;
