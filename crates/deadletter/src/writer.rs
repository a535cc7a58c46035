//! The one thread that writes letters: what waits, in one transaction. While the disk does not take
//! it, it tries again; what finds no room to wait meanwhile is dropped and counted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use redb::Database;
use system::wall_clock;

use super::inner::{Inner, Unavailable};
use super::letter::Fresh;
use super::table;

/// Most letters in one transaction.
const BATCH_MAX: usize = 256;
/// How often letters that are old enough are looked for when none come.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked for what was counted together, and whether the file is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the thread is asked.
pub(super) enum Task {
    /// Keep a letter.
    Keep(Fresh),
    /// Say when everything before this is kept.
    Flush(SyncSender<()>),
}

/// Writes until nobody can ask any more.
pub(super) fn run(inner: &Inner, tasks: &Receiver<Task>) {
    // Also when none come: whether the file can be used, and how many there are.
    write(inner, &[]);
    let (mut swept_at, mut unfolded_at) = (Instant::now(), Instant::now());
    loop {
        let first = match tasks.recv_timeout(LOOK_INTERVAL) {
            Ok(task) => Some(task),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let is_idle = first.is_none();
        let more = std::iter::from_fn(|| tasks.try_recv().ok());
        let (mut letters, mut flushed) = (Vec::new(), Vec::new());
        for task in first.into_iter().chain(more).take(BATCH_MAX) {
            match task {
                Task::Keep(letter) => {
                    inner.leaves_place(letter.class);
                    letters.push(letter);
                }
                Task::Flush(done) => flushed.push(done),
            }
        }
        let handed = letters.len();
        if is_idle || !flushed.is_empty() || unfolded_at.elapsed() >= LOOK_INTERVAL {
            unfolded_at = Instant::now();
            let folded = inner.folds.take().into_iter();
            letters.extend(folded.map(|(_, folded)| Fresh::standing_for(folded)));
        }
        if !letters.is_empty() || swept_at.elapsed() >= SWEEP_INTERVAL {
            swept_at = Instant::now();
            write(inner, &letters);
        } else if is_idle {
            // Why it cannot be used has been logged.
            let _ = inner.with(|_| Ok(()));
        }
        inner.note_written(handed);
        for done in flushed {
            // Who asked may have stopped waiting.
            let _ = done.try_send(());
        }
    }
}

/// Tries until it is written. Letters are kept apart from what enforces blocks: nothing waits for
/// this but other letters.
fn write(inner: &Inner, letters: &[Fresh]) {
    loop {
        let put = |database: &Database| table::put(database, letters, inner.bounds, wall_clock());
        match inner.with(put) {
            Ok(written) => {
                inner.written(&written);
                return;
            }
            Err(Unavailable) if letters.is_empty() => return,
            Err(Unavailable) => std::thread::sleep(RETRY_AFTER),
        }
    }
}

/// Hands the tasks on to a thread of their own.
pub(super) fn spawn(inner: Arc<Inner>, tasks: Receiver<Task>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("dead-letters".to_owned());
    thread.spawn(move || run(&inner, &tasks)).map(drop)
}
