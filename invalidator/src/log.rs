//! Structured logs. No line holds a user's id: who is meant stands there under the same pseudonym as
//! in the audit log, see [`audit::Audit::tell`].

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat};

/// The least severe level that is written, to be changed while the daemon runs.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<LevelFilter, Registry>);

impl Level {
    /// Writes lines of this level and above from now on.
    pub fn set(&self, level: LevelFilter) {
        // It could only be gone with the whole log.
        let _ = self.0.modify(|current| *current = level);
    }
}

/// Sends this process's log lines to standard error, as configured.
pub fn init(config: &Log) -> Level {
    let (level, handle) = reload::Layer::new(config.level);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(std::io::stderr)
        // It would say so on standard error, and end the program if that fails too: a full disk
        // below the log must not end enforcement.
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(level);
    // Only a second call could fail, and the first one's choice would stand.
    let _ = match config.format {
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(false)).try_init()
        }
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
    };
    Level(handle)
}
