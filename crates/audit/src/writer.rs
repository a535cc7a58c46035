//! The thread that writes: takes what waits, gives pseudonyms, appends, puts on disk, and looks
//! after the files. When the disk is full it keeps what it has and tries again; nobody waits for it
//! who does not want to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use system::wall_clock;
use throttle::Folds;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::due::Chores;
use super::entry::{About, Entry, EraseFact, Fact};
use super::files::{Files, Ready};
use super::line::Point;
use super::metrics::AuditMetrics;
use super::pseudonyms::{Names, NamesError};
use super::queue::{Erasure, Queue, Ticket, Work};
use super::repeats::{Sample, Sort};
use crate::Fsync;

/// Most entries that are written at once.
const BATCH_ENTRIES_MAX: usize = 1_024;
/// How often what does not depend on entries is looked at, and a failed attempt is repeated.
const TICK: Duration = Duration::from_secs(1);
/// How often the head is logged.
const HEAD_LOG_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Most attempts to write what is left when the daemon ends.
const LAST_ATTEMPTS_MAX: usize = 3;

/// What the writer lets others see.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The last line that is written.
    pub(super) last: Point,
    /// Why nothing can be written, if that is so.
    pub(super) failing: Option<String>,
}

/// What the writer shares with the rest of the daemon.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) queue: Queue,
    pub(super) names: Names,
    pub(super) standing: Mutex<Standing>,
    /// Everything up to this ticket is on disk.
    pub(super) done: watch::Sender<Ticket>,
    pub(super) metrics: AuditMetrics,
    /// What has no lines of its own.
    pub(super) folds: Folds<Sort, Sample>,
    pub(super) started: Instant,
}

impl Common {
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stands(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The writer's own.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) common: Arc<Common>,
    pub(super) files: Files,
    fsync: Fsync,
    pub(super) retention: Duration,
    /// Taken from the queue, and not written yet.
    pending: Vec<Work>,
    /// How much was taken from the queue and is written.
    written: Ticket,
    synced_at: Instant,
    head: Point,
    head_at: Option<Instant>,
    head_logged_at: Option<Instant>,
    pub(super) chores: Chores,
    pub(super) fold_interval: Duration,
    unfolded_at: Instant,
}

/// Why the writer could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Files(#[from] std::io::Error),
    #[error("{0}")]
    Names(#[from] NamesError),
}

impl Writer {
    pub(super) fn new(
        common: Arc<Common>,
        files: Files,
        fsync: Fsync,
        retention: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            common,
            files,
            fsync,
            retention,
            pending: Vec::new(),
            written: Ticket::default(),
            synced_at: now,
            head: Point::START,
            head_at: None,
            head_logged_at: None,
            chores: Chores::new(now),
            fold_interval: TICK,
            unfolded_at: now,
        }
    }

    /// Writes until the queue is closed and everything in it is written.
    pub(super) fn run(mut self) {
        let mut last_attempts = 0;
        loop {
            if self.pending.is_empty() {
                let work = self.common.queue.take(BATCH_ENTRIES_MAX, self.patience());
                self.pending = entries_first(work);
            }
            let written = self.write_pending().and_then(|()| self.look_after());
            self.report(written.as_ref().err());
            if written.is_ok() {
                last_attempts = 0;
                if self.common.queue.is_done() && self.pending.is_empty() {
                    // Nothing more is noted, so this ends.
                    self.unfold();
                    if self.common.queue.is_done() {
                        break;
                    }
                }
            } else if self.common.queue.is_closed() {
                // However much waits: a broken disk must not keep the daemon from ending.
                last_attempts += 1;
                if last_attempts >= LAST_ATTEMPTS_MAX {
                    break;
                }
            }
            if written.is_err() {
                std::thread::sleep(TICK);
            }
        }
        let ended = self.sync().and_then(|()| Ok(self.write_head()?));
        self.report(ended.as_ref().err());
        let is_entry = |work: &&Work| !matches!(work, Work::Tell(_));
        let pending = self.pending.iter().filter(is_entry).count();
        let left = pending.saturating_add(self.common.queue.length().0);
        if left > 0 {
            error!(left, "entries of the audit log are lost: they could not be written in the end");
        }
        let Point { seq, hash } = self.files.last();
        info!(seq, %hash, "audit log ends");
    }

    /// How long to wait for entries: until something else is due.
    fn patience(&self) -> Duration {
        match self.fsync {
            Fsync::Every(interval) if self.files.is_dirty() => {
                interval.saturating_sub(self.synced_at.elapsed()).min(TICK)
            }
            _ => TICK,
        }
    }

    /// Writes what was taken, in order. What cannot be written stays.
    fn write_pending(&mut self) -> Result<(), WriteError> {
        while !self.pending.is_empty() {
            let is_note = |work: &&Work| matches!(work, Work::Note(_));
            let is_telling = |work: &&Work| matches!(work, Work::Tell(_));
            let count = self.pending.iter().take_while(is_note).count();
            let tellings = self.pending.iter().take_while(is_telling).count();
            if count > 0 {
                self.write_notes(count)?;
            } else if tellings > 0 {
                self.tell(tellings)?;
            } else if let Work::Erase(erasure) = self.pending.remove(0) {
                self.erase(erasure)?;
            }
        }
        Ok(())
    }

    fn write_notes(&mut self, count: usize) -> Result<(), WriteError> {
        self.check_files()?;
        let entries = || {
            self.pending.iter().take(count).filter_map(|work| match work {
                Work::Note(entry) => Some(entry),
                Work::Erase(_) | Work::Tell(_) => None,
            })
        };
        let now = wall_clock();
        let abouts: Vec<&About> = entries().filter_map(|entry| entry.about.as_ref()).collect();
        let resolved = self.common.names.resolve(&abouts, now)?;
        let mut names = resolved.names.into_iter();
        let facts = self.pending.iter_mut().take(count);
        let ready: Vec<Ready> = facts.filter_map(|work| ready(work, &mut names)).collect();
        let appended = self.files.append(&ready, now);
        // Taken back if they could not be written, for the next attempt.
        let taken = self.pending.iter_mut().take(count).zip(ready);
        if let Err(error) = appended {
            for (work, ready) in taken {
                put_back(work, ready.fact);
            }
            return Err(error.into());
        }
        let bytes = appended.unwrap_or_default();
        self.common.metrics.written(count, bytes);
        self.common.metrics.unkept(resolved.unkept);
        if resolved.unkept > 0 {
            let unkept = resolved.unkept;
            warn!(unkept, "audit.pseudonyms_max is reached: new subjects cannot be looked up");
        }
        self.pending.drain(..count);
        self.finished(count)
    }

    /// Says what waits for pseudonyms, which those who were named before have by now.
    fn tell(&mut self, count: usize) -> Result<(), WriteError> {
        let tellings = self.pending.iter().take(count);
        let abouts: Vec<&About> = tellings
            .filter_map(|work| match work {
                Work::Tell(telling) => Some(&telling.about),
                Work::Note(_) | Work::Erase(_) => None,
            })
            .collect();
        let names = self.common.names.resolve(&abouts, wall_clock())?.names;
        for (work, name) in self.pending.drain(..count).zip(names) {
            if let Work::Tell(telling) = work {
                telling.say(&name);
            }
        }
        Ok(())
    }

    /// Puts on disk what has to be before anybody is told that it is written.
    fn finished(&mut self, count: usize) -> Result<(), WriteError> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.written = Ticket(self.written.0.saturating_add(count));
        let last = self.files.last();
        self.common.stands(|standing| standing.last = last);
        if self.fsync == Fsync::Always {
            self.sync()?;
        }
        Ok(())
    }

    /// The mapping first: a line about somebody who was not erased would be a lie.
    fn erase(&mut self, erasure: Erasure) -> Result<(), WriteError> {
        let Erasure { at, subject, caller, dead_letters, done } = erasure;
        let (result, written) = match self.common.names.erase(&subject, at) {
            Ok(names) => {
                let pseudonym = names.first().cloned();
                let result = Ok(pseudonym.clone());
                let pseudonyms = if names.len() > 1 { names } else { Vec::new() };
                let fact = Fact::Erase(EraseFact { caller, pseudonym, pseudonyms, dead_letters });
                // The next to be written, also if that does not work at once.
                self.pending.insert(0, Work::Note(Box::new(Entry { at, about: None, fact })));
                (result, self.write_notes(1).and_then(|()| self.sync()))
            }
            Err(error) => (Err(error.to_string()), self.finished(1)),
        };
        // Who has gone away does not wait for it.
        let _ = done.send(result);
        written
    }

    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        if self.files.is_dirty() {
            let start = Instant::now();
            self.check_files()?;
            self.files.sync()?;
            self.common.metrics.synced(start.elapsed());
        }
        self.synced_at = Instant::now();
        self.common.done.send_replace(self.written);
        Ok(())
    }

    /// Lines in a file that has lost its name are lines that nobody will read.
    fn check_files(&mut self) -> Result<(), WriteError> {
        if let Some(cause) = self.files.check()? {
            error!(cause, "the audit log was removed while it is written");
            self.common.metrics.rewritten();
            let fact = Fact::Damaged { cause };
            self.common.queue.push(|at| Work::Note(Box::new(Entry { at, about: None, fact })));
        }
        Ok(())
    }

    fn write_head(&mut self) -> std::io::Result<()> {
        self.head = self.files.write_head(wall_clock())?;
        self.head_at = Some(Instant::now());
        Ok(())
    }

    /// What is due besides entries.
    fn look_after(&mut self) -> Result<(), WriteError> {
        self.check_files()?;
        let sync_due = match self.fsync {
            Fsync::Always => true,
            Fsync::Every(interval) => self.synced_at.elapsed() >= interval,
            Fsync::Never => self.synced_at.elapsed() >= TICK,
        };
        if sync_due {
            self.sync()?;
        }
        let head_is_old = self.head_at.is_none_or(|at| at.elapsed() >= TICK);
        if head_is_old && !self.files.is_dirty() && self.head != self.files.last() {
            self.write_head()?;
        }
        self.common.names.check()?;
        if self.unfolded_at.elapsed() >= self.fold_interval {
            self.unfolded_at = Instant::now();
            self.unfold();
        }
        self.compare_clocks();
        if self.head_logged_at.is_none_or(|at| at.elapsed() >= HEAD_LOG_INTERVAL) {
            self.head_logged_at = Some(Instant::now());
            let Point { seq, hash } = self.files.last();
            info!(seq, %hash, "audit head");
        }
        self.remove_what_is_over()
    }

    /// Says once that nothing can be written, and once that it can again.
    fn report(&self, error: Option<&WriteError>) {
        self.common.metrics.queued(self.common.queue.length().0);
        let failing = self.common.standing().failing;
        match error {
            Some(cause) => {
                self.common.metrics.failed();
                if failing.is_none() {
                    error!(%cause, "the audit log cannot be written: entries wait, then are lost");
                }
                self.common.stands(|standing| standing.failing = Some(cause.to_string()));
            }
            None if failing.is_some() => {
                self.common.metrics.works();
                info!("the audit log is written again");
                self.common.stands(|standing| standing.failing = None);
            }
            None => {}
        }
        // Whoever waits looks again, and goes on if nothing can be written.
        self.common.done.send_modify(|_| {});
    }
}

/// The same work, with entries together as far as their order and that of erasures stays: each group
/// of them is written at once.
fn entries_first(work: Vec<Work>) -> Vec<Work> {
    let mut sorted = Vec::with_capacity(work.len());
    let mut tellings = Vec::new();
    for work in work {
        match work {
            Work::Tell(_) => tellings.push(work),
            Work::Note(_) => sorted.push(work),
            Work::Erase(_) => {
                sorted.append(&mut tellings);
                sorted.push(work);
            }
        }
    }
    sorted.append(&mut tellings);
    sorted
}

/// The entry as it will be written; its fact is taken out of the work.
fn ready(work: &mut Work, names: &mut impl Iterator<Item = String>) -> Option<Ready> {
    let Work::Note(entry) = work else { return None };
    let about = entry.about.as_ref();
    let about = about.and_then(|about| Some((about.subject().kind_name(), names.next()?)));
    let fact = std::mem::replace(&mut entry.fact, Fact::Stop {});
    Some(Ready { at: entry.at, about, fact })
}

fn put_back(work: &mut Work, fact: Fact) {
    if let Work::Note(entry) = work {
        entry.fact = fact;
    }
}
