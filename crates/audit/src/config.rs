//! `[audit]`: where the audit log is, what seals it, and how long it is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::time::parse_duration;
use model::violation::Violation;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use system::{Secret, Span};
use throttle::Pace;

/// Shortest key that lines may be sealed with, in bytes.
const SECRET_BYTES_MIN: usize = 16;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Bounds of the time between two times that lines are put on disk.
const FSYNC: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
/// Bounds of a file's age.
const ROTATE_AGE: (Duration, Duration) = (Duration::from_secs(60), DAY.saturating_mul(31));
/// Bounds of a file's size, in bytes.
const ROTATE_BYTES: (u64, u64) = (64 * 1024, 4 * 1024 * 1024 * 1024);
/// Bounds of the retention.
const RETENTION: (Duration, Duration) = (DAY, DAY.saturating_mul(3_660));
/// Bounds of the time for which events of the same result are counted together.
const FOLD_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Most pseudonyms that may be configured.
const PSEUDONYMS_MAX: usize = 50_000_000;

/// `[audit]`
#[derive(Debug)]
pub struct Settings {
    /// Where the files are.
    pub directory: PathBuf,
    /// What the lines are sealed with; nothing for a plain hash.
    pub key: Option<SecretString>,
    /// When lines are put on disk.
    pub fsync: Fsync,
    /// Size from which on a new file is begun, in bytes.
    pub rotate_bytes: u64,
    /// Age from which on a new file is begun.
    pub rotate_age: Duration,
    /// How long files are kept after their last line.
    pub retention: Duration,
    /// Users and sessions with a pseudonym that can be looked up.
    pub pseudonyms_max: usize,
    /// How many events with the same result, which change nothing, have lines of their own.
    pub pace: Pace,
    /// How often there is a line about the others.
    pub fold_interval: Duration,
}

/// When lines are put on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before the API answers.
    Always,
    /// So often.
    Every(Duration),
    /// When the system likes.
    Never,
}

/// What is needed to check an audit log.
#[derive(Debug)]
pub struct AuditPlace {
    /// Where the files are.
    pub directory: PathBuf,
    /// What the lines are sealed with; nothing for a plain hash.
    pub key: Option<SecretString>,
}

/// `[audit]` as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAudit {
    directory: Option<PathBuf>,
    key: Option<Secret>,
    fsync: Option<String>,
    rotate_bytes: Option<u64>,
    rotate_age: Option<Span>,
    retention: Option<Span>,
    pseudonyms_max: Option<usize>,
    fold_burst: Option<u32>,
    fold_per_minute: Option<u32>,
    fold_interval: Option<Span>,
}

impl RawAudit {
    /// Where the log is and what seals it; `store` is the directory of the store, which it is in by default.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn place(self, store: &Path) -> Result<AuditPlace, Violation> {
        let directory = self.directory.unwrap_or_else(|| store.join("audit"));
        if !directory.is_absolute() {
            return Err(Violation::new("audit.directory", "must be an absolute path"));
        }
        Ok(AuditPlace { directory, key: self.key.map(key).transpose()? })
    }

    /// Checks it all.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(self, store: &Path) -> Result<Settings, Violation> {
        let span = |raw: Option<Span>, field, default, (min, max)| {
            raw.map_or(Ok(default), |span| span.within(field, min, max))
        };
        let (bytes_min, bytes_max) = ROTATE_BYTES;
        let rotate_bytes = self.rotate_bytes.unwrap_or(64 * 1024 * 1024);
        if !(bytes_min..=bytes_max).contains(&rotate_bytes) {
            let rule = format!("must be {bytes_min} to {bytes_max}");
            return Err(Violation::new("audit.rotate_bytes", rule));
        }
        let pseudonyms_max = self.pseudonyms_max.unwrap_or(2_000_000);
        if !(1..=PSEUDONYMS_MAX).contains(&pseudonyms_max) {
            let rule = format!("must be 1 to {PSEUDONYMS_MAX}");
            return Err(Violation::new("audit.pseudonyms_max", rule));
        }
        let fsync = fsync(self.fsync.as_deref().unwrap_or("1s"))?;
        let rotate_age = span(self.rotate_age, "audit.rotate_age", DAY, ROTATE_AGE)?;
        let retention_default = DAY.saturating_mul(400);
        let retention = span(self.retention, "audit.retention", retention_default, RETENTION)?;
        let pace = Pace::check("audit", self.fold_burst, self.fold_per_minute)?;
        let fold_default = Duration::from_secs(10);
        let fold_interval =
            span(self.fold_interval, "audit.fold_interval", fold_default, FOLD_INTERVAL)?;
        let place = RawAudit { directory: self.directory, key: self.key, ..Self::default() };
        let AuditPlace { directory, key } = place.place(store)?;
        Ok(Settings {
            directory,
            key,
            fsync,
            rotate_bytes,
            rotate_age,
            retention,
            pseudonyms_max,
            pace,
            fold_interval,
        })
    }
}

fn key(key: Secret) -> Result<SecretString, Violation> {
    let key = key.resolve("audit.key")?;
    if key.expose_secret().len() < SECRET_BYTES_MIN {
        let rule = format!("must be at least {SECRET_BYTES_MIN} bytes");
        return Err(Violation::new("audit.key", rule));
    }
    Ok(key)
}

fn fsync(text: &str) -> Result<Fsync, Violation> {
    let (min, max) = FSYNC;
    match text {
        "always" => Ok(Fsync::Always),
        "never" => Ok(Fsync::Never),
        text => parse_duration(text)
            .filter(|interval| (min..=max).contains(interval))
            .map(Fsync::Every)
            .ok_or_else(|| {
                let rule = format!("must be \"always\", \"never\", or {min:?} to {max:?}");
                Violation::new("audit.fsync", rule)
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, Violation> {
        toml::from_str::<RawAudit>(text).unwrap().check(Path::new("/var/lib/portcullis"))
    }

    #[test]
    fn everything_has_a_default_but_the_key() {
        let audit = parse("").unwrap();
        assert_eq!(audit.directory, Path::new("/var/lib/portcullis/audit"));
        assert_eq!(audit.fsync, Fsync::Every(Duration::from_secs(1)));
        assert_eq!(audit.retention, DAY * 400);
        assert!(audit.key.is_none());
        assert_eq!((audit.pace, audit.fold_interval), (Pace::default(), Duration::from_secs(10)));
        assert_eq!(parse("fsync = \"always\"").unwrap().fsync, Fsync::Always);
        assert_eq!(parse("fsync = \"never\"").unwrap().fsync, Fsync::Never);
        let directory = parse("directory = \"/audit\"").unwrap().directory;
        assert_eq!(directory, Path::new("/audit"));
    }

    #[test]
    fn mistakes_name_the_field_and_the_rule() {
        let cases = [
            ("key = \"short\"", "audit.key: must be at least 16 bytes"),
            ("fsync = \"often\"", "audit.fsync: must be \"always\""),
            ("fsync = \"1ms\"", "audit.fsync: must be \"always\""),
            ("rotate_bytes = 1", "audit.rotate_bytes: must be 65536 to 4294967296"),
            ("rotate_age = \"1s\"", "audit.rotate_age: must be between"),
            ("retention = \"1h\"", "audit.retention: must be between"),
            ("fold_burst = 0", "audit.fold_burst: must be 1 to 10000"),
            ("fold_per_minute = 0", "audit.fold_per_minute: must be 1 to 600000"),
            ("fold_interval = \"61s\"", "audit.fold_interval: must be between"),
            ("pseudonyms_max = 0", "audit.pseudonyms_max: must be 1 to"),
        ];
        for (text, message) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
