//! The audit log: what was received, what became of it, and who did what, as sealed lines that are
//! chained to each other. See docs/reference/audit-log.md.
//!
//! Noting something never waits for the disk, and never fails: what cannot be written is counted,
//! and a line says how much is missing. Nothing here decides what an event does.
//!
//! Who may read it is for `access` to say, and what a line is about for whoever notes it. Begin with [`Audit::note`], and with
//! [`entry`] for what a line can be; [`verify`] reads a log back.

mod chores;
mod config;
mod current;
mod directory;
mod due;
pub mod entry;
mod event_text;
mod fence;
mod files;
mod finding;
mod fold;
mod gone;
pub mod line;
mod look;
mod metrics;
mod ordered;
mod pseudonyms;
mod queue;
mod recover;
mod rejection;
mod repeats;
pub mod search;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::subject::Subject;
use serde::Serialize;
use thiserror::Error;
use throttle::Folds;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

pub use config::{AuditPlace, Fsync, RawAudit, Settings};
pub use directory::{BESIDE, Lines, LogFile, Next, list};
use entry::{About, Entry, Fact};
use files::{Files, Keeping};
use line::Seal;
pub use look::look;
pub use metrics::AuditMetrics;
pub use pseudonyms::FILE as PSEUDONYMS_FILE;
pub use pseudonyms::{Names, NamesError, SharedKeys, UNKNOWN};
use queue::{Erasure, Queue, Telling, Work};
pub use queue::{QUEUE_ENTRIES_MAX, Ticket};
pub use recover::OpenError;
use writer::{Common, Standing, Writer};

/// Longest wait of an answer for its lines to be on disk. After that it is given without: the
/// audit log holds nothing up.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Longest wait for a subject to be erased.
const ERASE_MAX: Duration = Duration::from_secs(20);

/// Why there is no audit log.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The files.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The mapping of pseudonyms.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// No thread.
    #[error("audit: cannot start the writer: {0}")]
    Thread(std::io::Error),
}

impl AuditError {
    /// Whether the configuration is at fault.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Open(OpenError::OtherKey { .. }))
    }
}

/// Why somebody could not be erased.
#[derive(Debug, Error)]
pub enum EraseError {
    /// The writer is busy, or cannot write.
    #[error("the audit log cannot be written in time")]
    Late,
    /// The mapping cannot be changed.
    #[error("{0}")]
    Names(String),
}

/// What `/v1/status` says of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct AuditStatus {
    /// The last line, as `SEQ:HASH`: keep it elsewhere, and `portcullis audit verify --expect-head`
    /// finds out whether lines before it are gone.
    pub head: String,
    /// Entries that wait to be written.
    pub queue: usize,
    /// Why nothing can be written, if that is so.
    pub failing: Option<String>,
}

/// The handle of the audit log: copies write to the same one.
#[derive(Clone, Debug)]
pub struct Audit {
    common: Arc<Common>,
    fsync: Fsync,
    /// Where the files are, and what seals them.
    place: Arc<(PathBuf, Seal)>,
}

/// The writer, to wait for at the end.
#[derive(Debug)]
pub struct AuditWriter {
    audit: Audit,
    thread: JoinHandle<()>,
}

impl Audit {
    /// Opens the log and starts its writer. `store` is the directory of the pseudonyms' mapping.
    ///
    /// # Errors
    /// If the log or the mapping cannot be used: what is wrong, and with which file.
    pub fn start(
        config: &Settings,
        store: &Path,
        metrics: AuditMetrics,
    ) -> Result<(Self, AuditWriter), AuditError> {
        Self::start_with(config, store, metrics, QUEUE_ENTRIES_MAX)
    }

    fn start_with(
        config: &Settings,
        store: &Path,
        metrics: AuditMetrics,
        queue_entries_max: usize,
    ) -> Result<(Self, AuditWriter), AuditError> {
        let keeping = Keeping {
            directory: config.directory.clone(),
            rotate_bytes: config.rotate_bytes,
            rotate_age: config.rotate_age,
            retention: config.retention,
            durable: config.fsync != Fsync::Never,
        };
        let seal = Seal::new(config.key.as_ref());
        let place = Arc::new((config.directory.clone(), seal.clone()));
        let (files, notes) = Files::open(keeping, seal)?;
        let names = Names::open(store, config.pseudonyms_max)?;
        let common = Arc::new(Common {
            queue: Queue::new(queue_entries_max),
            names,
            standing: Mutex::new(Standing { last: files.last(), failing: None }),
            done: watch::Sender::new(Ticket::default()),
            metrics,
            folds: Folds::new(config.pace),
            started: Instant::now(),
        });
        let audit = Self { common: Arc::clone(&common), fsync: config.fsync, place };
        for fact in notes {
            if let Fact::Damaged { cause } = &fact {
                tracing::error!(cause, "the audit log is not what was written");
            } else {
                warn!(?fact, "the audit log did not end in order");
            }
            audit.note(None, fact);
        }
        let mut writer = Writer::new(common, files, config.fsync, config.retention);
        writer.fold_interval = config.fold_interval;
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(|| writer.run()).map_err(AuditError::Thread)?;
        Ok((audit.clone(), AuditWriter { audit, thread }))
    }

    /// Notes something. Never blocks; what there is no room for is counted.
    pub fn note(&self, about: Option<About>, fact: Fact) -> Ticket {
        let pushed = self.common.queue.push(|at| Work::Note(Box::new(Entry { at, about, fact })));
        pushed.unwrap_or_else(|| {
            self.common.metrics.lost();
            Ticket::default()
        })
    }

    /// Has something said with a subject's pseudonym, the one that stands in the lines of the log:
    /// at once if it is at hand, else when the lines before are written. Never blocks. While nothing
    /// can be written, or there is no room, it is said with [`UNKNOWN`].
    pub fn tell(&self, subject: &Subject, say: impl FnOnce(&str) + Send + 'static) {
        if let Some(name) = self.common.names.recent(subject) {
            say(&name);
        } else if self.common.standing().failing.is_some() {
            say(UNKNOWN);
        } else {
            self.common.queue.tell(Telling::new(subject.clone(), say));
        }
    }

    /// Waits until a noted line is on disk, if the configuration asks for that (`fsync =
    /// "always"`): not while nothing can be written, and not for longer than [`SETTLE_MAX`].
    pub async fn settled(&self, ticket: Ticket) {
        if self.fsync != Fsync::Always {
            return;
        }
        let mut done = self.common.done.subscribe();
        let settled =
            done.wait_for(|done| *done >= ticket || self.common.standing().failing.is_some());
        // The sender lives in `common`. Who is late is answered all the same.
        let _ = timeout(SETTLE_MAX, settled).await;
    }

    /// Takes a subject's pseudonym away, in order with what was noted before, and gives it.
    ///
    /// # Errors
    /// If that was not possible in time.
    pub async fn erase(
        &self,
        subject: Subject,
        caller: Option<String>,
        dead_letters: u64,
    ) -> Result<Option<String>, EraseError> {
        let (done, erased) = oneshot::channel();
        let work = |at| Work::Erase(Erasure { at, subject, caller, dead_letters, done });
        self.common.queue.push(work).ok_or(EraseError::Late)?;
        match timeout(ERASE_MAX, erased).await {
            Ok(Ok(erased)) => erased.map_err(EraseError::Names),
            Ok(Err(_)) | Err(_) => Err(EraseError::Late),
        }
    }

    /// A subject's pseudonym, if it has one. Reads a file: not for async code.
    ///
    /// # Errors
    /// If the mapping cannot be read.
    pub fn pseudonym(&self, subject: &Subject) -> Result<Option<String>, NamesError> {
        self.common.names.find(subject)
    }

    /// Every pseudonym under which lines can be about a subject. Reads a file: not for async code.
    ///
    /// # Errors
    /// If the mapping cannot be read.
    pub fn pseudonyms(&self, subject: &Subject) -> Result<Vec<String>, NamesError> {
        self.common.names.find_all(subject, system::wall_clock())
    }

    /// Puts keys in force that all daemons share: see [`SharedKeys`].
    pub fn share(&self, keys: SharedKeys) {
        self.common.names.share(keys);
    }

    /// The keys that all daemons share; none if there are none.
    #[must_use]
    pub fn shared(&self) -> Arc<SharedKeys> {
        self.common.names.shared()
    }

    /// Whether nothing more is noted: the daemon ends.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.common.queue.is_closed()
    }

    /// Where the files are, and what seals them: for whoever reads them.
    #[must_use]
    pub fn place(&self) -> (&Path, &Seal) {
        (&self.place.0, &self.place.1)
    }

    /// How the log stands.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        let Standing { last, failing } = self.common.standing();
        let (queue, _) = self.common.queue.length();
        AuditStatus { head: last.to_string(), queue, failing }
    }
}

impl AuditWriter {
    /// Writes what is left, and ends. Blocks: not for async code.
    pub fn finish(self) {
        self.audit.common.queue.close();
        // It has reported by itself whatever went wrong.
        let _ = self.thread.join();
    }
}
