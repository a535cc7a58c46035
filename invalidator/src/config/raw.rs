//! The configuration file as written, and the step from there to the checked [`Config`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit::{AuditPlace, RawAudit};
use deadletter::RawDeadLetters;
use model::push::HOLD_MAX;
use model::violation::Violation;
use secrecy::ExposeSecret;
use serde::Deserialize;
use store::RawStore;
use system::{Secret, Span};
use tracing::level_filters::LevelFilter;

use super::api::RawApi;
use super::events::RawEvents;
use super::fleet::RawFleet;
use super::spans::span;
use super::{Config, Limits, Log, LogFormat, Poll, SECRET_BYTES_MIN, listen};
use crate::source::RawSources;

/// How many states each Envoy is asked to check in a second: a million of them in an hour.
const SCRUB_DEFAULT: u32 = 256;
/// Most of them that may be configured.
const SCRUB_MAX: u32 = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    api: RawApi,
    poll: RawPoll,
    store: RawStore,
    #[serde(default)]
    audit: RawAudit,
    #[serde(default)]
    sources: RawSources,
    #[serde(default)]
    limits: RawLimits,
    keys: Option<RawKeys>,
    #[serde(default)]
    log: RawLog,
    #[serde(default)]
    events: RawEvents,
    #[serde(default)]
    dead_letters: RawDeadLetters,
    #[serde(default)]
    fleet: RawFleet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPoll {
    listen: String,
    socket_mode: Option<String>,
    secret: Secret,
    hold: Option<Span>,
    scrub: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    subjects_max: Option<usize>,
    log_entries_max: Option<usize>,
    event_ids_max: Option<usize>,
    nodes_max: Option<usize>,
    api_requests_max: Option<usize>,
    api_requests_per_caller_max: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    #[serde(default)]
    format: LogFormat,
    level: Option<String>,
    pseudonym_key: Option<Secret>,
}

impl RawConfig {
    pub(super) fn keys_file(self) -> Option<PathBuf> {
        self.keys.map(|keys| keys.file)
    }

    pub(super) fn audit_place(self) -> Result<AuditPlace, Violation> {
        self.audit.place(&self.store.check()?.directory)
    }

    /// Checks every section. What is wrong in one does not keep the others from being looked at.
    ///
    /// # Errors
    /// The first rule that is broken in each section, in the order of the sections.
    pub(super) fn check(self) -> Result<Config, Vec<Violation>> {
        let mut errors = Vec::new();
        let sources = self.sources.check(&mut errors);
        let store = kept(self.store.check(), &mut errors);
        // Without a directory of the store the audit log's other rules can be checked all the same.
        let beside = store.as_ref().map_or(Path::new("/"), |store| &store.directory);
        let audit = kept(self.audit.check(beside), &mut errors);
        let api = kept(self.api.check(), &mut errors);
        let poll = kept(self.poll.check(), &mut errors);
        let limits = kept(self.limits.check(), &mut errors);
        let log = kept(self.log.check(), &mut errors);
        let events = kept(self.events.check(), &mut errors);
        let dead_letters = kept(self.dead_letters.check(), &mut errors);
        let fleet = kept(self.fleet.check(), &mut errors);
        let keys_file = self.keys.map(|keys| keys.file);
        let all = || {
            let (called, fleet_key_file) = fleet?;
            Some(Config {
                api: api?,
                poll: poll?,
                sources: sources?,
                audit: audit?,
                store: store?,
                limits: limits?,
                log: log?,
                keys_file,
                events: events?,
                dead_letters: dead_letters?,
                called,
                fleet_key_file,
            })
        };
        // What is missing has left its error.
        if errors.is_empty() { all().ok_or(errors) } else { Err(errors) }
    }
}

/// What was checked, or nothing and its error among the others.
fn kept<T>(checked: Result<T, Violation>, errors: &mut Vec<Violation>) -> Option<T> {
    checked.map_err(|error| errors.push(error)).ok()
}

impl RawPoll {
    fn check(self) -> Result<Poll, Violation> {
        let secret = self.secret.resolve("poll.secret")?;
        let text = secret.expose_secret();
        if text.len() < SECRET_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let rule = format!(
                "must be at least {SECRET_BYTES_MIN} visible ASCII characters without spaces"
            );
            return Err(Violation::new("poll.secret", rule));
        }
        let scrub = self.scrub.unwrap_or(SCRUB_DEFAULT);
        if scrub > SCRUB_MAX {
            return Err(Violation::new("poll.scrub", format!("must be 0 to {SCRUB_MAX}")));
        }
        Ok(Poll {
            scrub,
            listen: listen::parse(&self.listen, self.socket_mode.as_deref())?,
            secret,
            hold: span(self.hold, "poll.hold", Duration::from_secs(1), HOLD_MAX)?,
        })
    }
}

impl RawLimits {
    fn check(self) -> Result<Limits, Violation> {
        let default = Limits::default();
        let bound = |name: &str, value: Option<usize>, default: usize, max: usize| {
            let value = value.unwrap_or(default);
            let rule = || Violation::new(format!("limits.{name}"), format!("must be 1 to {max}"));
            (1..=max).contains(&value).then_some(value).ok_or_else(rule)
        };
        let api_requests_max =
            bound("api_requests_max", self.api_requests_max, default.api_requests_max, 65_536)?;
        let api_requests_per_caller_max = bound(
            "api_requests_per_caller_max",
            self.api_requests_per_caller_max,
            api_requests_max.div_ceil(2),
            api_requests_max,
        )?;
        let engine = engine::Limits {
            subjects_max: bound(
                "subjects_max",
                self.subjects_max,
                default.engine.subjects_max,
                100_000_000,
            )?,
            log_entries_max: bound(
                "log_entries_max",
                self.log_entries_max,
                default.engine.log_entries_max,
                16_777_216,
            )?,
            event_ids_max: bound(
                "event_ids_max",
                self.event_ids_max,
                default.engine.event_ids_max,
                16_777_216,
            )?,
            nodes_max: bound("nodes_max", self.nodes_max, default.engine.nodes_max, 65_536)?,
        };
        Ok(Limits { engine, api_requests_max, api_requests_per_caller_max })
    }
}

impl RawLog {
    fn check(self) -> Result<Log, Violation> {
        let level = match self.level.as_deref() {
            None | Some("info") => LevelFilter::INFO,
            Some("error") => LevelFilter::ERROR,
            Some("warn") => LevelFilter::WARN,
            Some("debug") => LevelFilter::DEBUG,
            Some("trace") => LevelFilter::TRACE,
            Some(_) => {
                let rule = "must be error, warn, info, debug or trace";
                return Err(Violation::new("log.level", rule));
            }
        };
        let key = self.pseudonym_key.map(|key| key.resolve("log.pseudonym_key")).transpose()?;
        if key.as_ref().is_some_and(|key| key.expose_secret().len() < SECRET_BYTES_MIN) {
            let rule = format!("must be at least {SECRET_BYTES_MIN} bytes");
            return Err(Violation::new("log.pseudonym_key", rule));
        }
        Ok(Log { format: self.format, level, pseudonym_key: key })
    }
}
