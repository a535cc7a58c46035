//! What the writer does by the clock: removes files and pseudonyms past their retention, and notices
//! when the clock itself is not to be believed.

use std::time::{Duration, Instant};

use model::time::UnixMicros;
use system::wall_clock;
use tracing::info;

use super::due::RETENTION_PAUSE;
use super::entry::{Entry, Fact};
use super::files::Ready;
use super::queue::Work;
use super::writer::{WriteError, Writer};

/// How often files past their retention are looked for.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How often pseudonyms past the retention are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// Least difference between the clocks that is a jump.
const CLOCK_JUMP_MIN: Duration = Duration::from_secs(2);

impl Writer {
    /// Removes what is past its retention, if it is time to look.
    pub(super) fn remove_what_is_over(&mut self) -> Result<(), WriteError> {
        let now = Instant::now();
        if now >= self.chores.retention_due {
            self.chores.retention_due = now.checked_add(RETENTION_INTERVAL).unwrap_or(now);
            self.remove_old_files()?;
        }
        if now >= self.chores.expiry_due {
            self.chores.expiry_due = now.checked_add(EXPIRY_INTERVAL).unwrap_or(now);
            let now = wall_clock();
            let before = now.saturating_sub(self.retention);
            let count = self.common.names.expire(before, now)?;
            info!(count, "pseudonyms past the audit log's retention are removed");
        }
        Ok(())
    }

    /// The line that says so is on disk before anything is gone.
    fn remove_old_files(&mut self) -> Result<(), WriteError> {
        let now = wall_clock();
        let Some(removed) = self.files.past_retention(now)? else { return Ok(()) };
        let (count, through) = (removed.count, removed.through);
        let line = Ready { at: now, about: None, fact: Fact::Removed(removed) };
        let bytes = self.files.append(&[line], now)?;
        self.common.metrics.written(1, bytes);
        self.sync()?;
        self.files.remove(through)?;
        info!(count, through, "audit files past their retention are removed");
        Ok(())
    }

    /// Notes a jump of the wall clock, and waits with what goes by it.
    pub(super) fn compare_clocks(&mut self) {
        let (mono_before, wall_before) = self.chores.clocks;
        let (mono, wall) = (Instant::now(), wall_clock());
        self.chores.clocks = (mono, wall);
        let micros = |at: UnixMicros| i64::try_from(at.0).unwrap_or(i64::MAX);
        let passed = i64::try_from(mono.saturating_duration_since(mono_before).as_micros());
        let jump = micros(wall)
            .saturating_sub(micros(wall_before))
            .saturating_sub(passed.unwrap_or(i64::MAX));
        if u128::from(jump.unsigned_abs()) < CLOCK_JUMP_MIN.as_micros() {
            return;
        }
        let jump_ms = jump / 1_000;
        self.chores.retention_due = mono.checked_add(RETENTION_PAUSE).unwrap_or(mono);
        self.chores.expiry_due = self.chores.retention_due.max(self.chores.expiry_due);
        let fact = Fact::Clock { jump_ms };
        self.common.queue.push(|at| Work::Note(Box::new(Entry { at, about: None, fact })));
    }
}
