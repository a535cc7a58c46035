//! When ticks come: one thread sleeps until the next is due, and then asks Envoy for a call on its main thread, where all
//! the work is done (`rounds`). Envoy has no timer for filters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::abi::{self, Config, Ticket, Wake};

/// The longest that the main thread is left alone: so often homes follow the invalidator.
const PERIOD_NANOS: u64 = 50_000_000;

/// A tick that is due so soon comes along with another, so that places keep step.
const SLACK_NANOS: u64 = 500_000;

/// How long the thread waits for the main thread before it asks again: what it has asked may be gone.
const PATIENCE_NANOS: u64 = 1_000_000_000;

/// What the thread is told.
struct Clockwork {
    /// By which to ask, oldest first.
    tickets: Vec<(Config, Arc<Ticket>)>,
    /// When the next tick is due.
    next: u64,
    /// When it has asked for a tick that has not come yet.
    asked_at: Option<u64>,
    runs: bool,
}

static CLOCKWORK: Mutex<Clockwork> =
    Mutex::new(Clockwork { tickets: Vec::new(), next: 0, asked_at: None, runs: false });

static CHANGED: Condvar = Condvar::new();

/// Streams that wait for their bodies, and until when.
static HELD: Mutex<Held> = Mutex::new(Held { next: 0, wakes: BTreeMap::new() });

struct Held {
    next: u64,
    /// By their numbers: when it is time, and by what to ask.
    wakes: BTreeMap<u64, (u64, Wake)>,
}

fn clockwork() -> MutexGuard<'static, Clockwork> {
    CLOCKWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ticks come as long as there is a configuration. Main thread.
pub(crate) fn begin(config: Config) {
    let Some(ticket) = config.ticket() else { return };
    let mut clockwork = clockwork();
    clockwork.tickets.push((config, Arc::new(ticket)));
    if !clockwork.runs {
        let thread = thread::Builder::new().name("portcullis-ticks".to_owned());
        clockwork.runs = thread.spawn(run).is_ok();
    }
    CHANGED.notify_one();
}

/// A configuration is gone.
pub(crate) fn end(config: Config) {
    let mut clockwork = clockwork();
    clockwork.tickets.retain(|(known, _)| *known != config);
    clockwork.asked_at = None;
    CHANGED.notify_one();
}

/// A tick is to come by this time.
pub(crate) fn wake_by(at: u64) {
    let mut clockwork = clockwork();
    if at < clockwork.next {
        clockwork.next = at;
        CHANGED.notify_one();
    }
}

/// The thread: sleeps and asks.
fn run() {
    loop {
        let ticket = sleep();
        // Nothing is locked: if the configuration goes at this moment, Envoy may call about that from here.
        ticket.commit();
    }
}

/// Sleeps until a tick is due, and gives what it is asked for by.
fn sleep() -> Arc<Ticket> {
    let mut clockwork = clockwork();
    loop {
        let now = abi::monotonic_nanos();
        let asked_for = clockwork.asked_at.map(|at| at.saturating_add(PATIENCE_NANOS));
        let due = asked_for.unwrap_or(clockwork.next);
        // The newest configuration is the last to go.
        let wait = match clockwork.tickets.last() {
            None => Duration::from_secs(3_600),
            Some((_, ticket)) if due <= now => {
                let ticket = Arc::clone(ticket);
                clockwork.asked_at = Some(now);
                return ticket;
            }
            Some(_) => Duration::from_nanos(due.saturating_sub(now)),
        };
        let woken = CHANGED.wait_timeout(clockwork, wait);
        clockwork = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// The tick has come, and `work` is done, which says when the next is due. What is asked for meanwhile may be sooner.
/// Main thread.
pub(crate) fn tick(work: impl FnOnce(u64) -> u64) {
    let now = abi::monotonic_nanos();
    clockwork().next = u64::MAX;
    let next = work(now).min(now.saturating_add(PERIOD_NANOS));
    wake_held(now);
    let mut clockwork = clockwork();
    clockwork.next = clockwork.next.min(next);
    clockwork.asked_at = None;
    CHANGED.notify_one();
}

/// When a place wants its ticks.
#[derive(Default)]
pub(crate) struct Timing {
    period: AtomicU64,
    next: AtomicU64,
}

impl Timing {
    /// Ticks are to come this often from now on.
    pub(crate) fn set(&self, period: Duration, now: u64) {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let next = now.saturating_add(period);
        self.period.store(period, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        wake_by(next);
    }

    /// Whether a tick is due, after which the next one is a period away.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let is_due = self.next.load(Ordering::Relaxed) <= now.saturating_add(SLACK_NANOS);
        if is_due {
            let period = self.period.load(Ordering::Relaxed);
            self.next.store(now.saturating_add(period), Ordering::Relaxed);
        }
        is_due
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

/// Goes on after a tick that has panicked.
pub(crate) fn go_on() {
    let mut clockwork = clockwork();
    clockwork.next = abi::monotonic_nanos().saturating_add(PERIOD_NANOS);
    clockwork.asked_at = None;
    CHANGED.notify_one();
}

/// Calls about a stream when so much time has passed. The number is for [`forget`].
pub(crate) fn call_about(wake: Wake, after: Duration) -> u64 {
    let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    let at = abi::monotonic_nanos().saturating_add(after);
    let mut held = held();
    let number = held.next;
    held.next = number.wrapping_add(1);
    held.wakes.insert(number, (at, wake));
    number
}

/// Does not call about a stream any more.
pub(crate) fn forget(number: u64) {
    held().wakes.remove(&number);
}

fn wake_held(now: u64) {
    held().wakes.retain(|_, (at, wake)| {
        let is_due = *at <= now;
        if is_due {
            wake.commit();
        }
        !is_due
    });
}

/// How many streams wait.
#[cfg(test)]
pub(crate) fn held_count() -> usize {
    held().wakes.len()
}
