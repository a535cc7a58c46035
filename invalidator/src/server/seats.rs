//! How many connections may be open at a listener, and who has to leave when there are too many.
//!
//! A listener that only waits for somebody to leave is closed for everybody by whoever opens enough
//! connections. So a new connection is always taken in, and another one ends for it: the oldest one
//! of strangers, if there are many of these; else one of the caller that has most. A connection
//! belongs to a stranger until a request on it has shown who sends it, and has some time for that,
//! however many others wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

/// This share of all connections is left to strangers, so that whoever comes has the time to say
/// who it is.
const STRANGERS_SHARE: usize = 8;
/// How long a stranger's connection is not ended for another one: enough for TLS and a request from
/// far away.
const STRANGERS_TIME: Duration = Duration::from_millis(500);

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Seats {
    seats_max: usize,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    owner: Option<Owner>,
    since: Instant,
    /// A request is under way: who does nothing leaves first.
    busy: bool,
    ended: Arc<Notify>,
}

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Owner {
    name: Arc<str>,
    /// Stays as long as there is anybody else who can leave.
    stays: bool,
}

/// One connection's seat, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    place: Place,
    ended: Arc<Notify>,
}

/// Which seat a request came from: it may outlive the connection.
#[derive(Clone, Debug)]
pub(super) struct Place {
    seats: Arc<Seats>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.place.seats.lock().taken.remove(&self.place.number);
        self.place.seats.freed.notify_one();
    }
}

impl Seat {
    /// For the requests of the connection.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Waits until the connection has to end for another one.
    pub(super) async fn is_taken_away(&self) {
        self.ended.notified().await;
    }
}

impl Place {
    fn change(&self, change: impl FnOnce(&mut Taken)) {
        if let Some(taken) = self.seats.lock().taken.get_mut(&self.number) {
            change(taken);
        }
    }

    /// Notes whose connection it is; `stays` if it is not to leave for others.
    pub(super) fn belongs_to(&self, name: &str, stays: bool) {
        self.change(|taken| {
            let is_it = |owner: &Owner| *owner.name == *name && owner.stays == stays;
            if !taken.owner.as_ref().is_some_and(is_it) {
                taken.owner = Some(Owner { name: name.into(), stays });
            }
        });
    }

    /// Notes that a request is under way, or none any more.
    pub(super) fn is_busy(&self, busy: bool) {
        self.change(|taken| taken.busy = busy);
    }
}

impl Seats {
    pub(super) fn new(seats_max: usize) -> Arc<Self> {
        Arc::new(Self { seats_max, table: Mutex::default(), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection, as soon as there is one. If none was free, says whether the
    /// connection that ends for it is a stranger's.
    pub(super) async fn take(self: &Arc<Self>) -> (Seat, Option<bool>) {
        loop {
            match self.try_take(Instant::now()) {
                Ok(taken) => return taken,
                Err(later) => tokio::select! {
                    () = sleep_until(later) => {}
                    () = self.freed.notified() => {}
                },
            }
        }
    }

    /// A seat at once, or when to try again.
    fn try_take(self: &Arc<Self>, now: Instant) -> Result<(Seat, Option<bool>), Instant> {
        let mut table = self.lock();
        let mut of_stranger = None;
        if table.taken.len() >= self.seats_max
            && let Some(number) = table.who_leaves(self.seats_max, now)?
            && let Some(taken) = table.taken.remove(&number)
        {
            of_stranger = Some(taken.owner.is_none());
            taken.ended.notify_one();
        }
        let (number, ended) = (table.next, Arc::new(Notify::new()));
        table.next = table.next.wrapping_add(1);
        let taken = Taken { owner: None, since: now, busy: false, ended: Arc::clone(&ended) };
        table.taken.insert(number, taken);
        drop(table);
        Ok((Seat { place: Place { seats: Arc::clone(self), number }, ended }, of_stranger))
    }
}

impl Table {
    /// The connection that ends for the next one, or when that can be said.
    fn who_leaves(&self, seats_max: usize, now: Instant) -> Result<Option<u64>, Instant> {
        let strangers = || self.taken.iter().filter(|(_, taken)| taken.owner.is_none());
        let oldest = strangers().next().map(|(number, taken)| (*number, taken.since));
        let leaves = |(number, since): (u64, Instant)| {
            let end = since.checked_add(STRANGERS_TIME).unwrap_or(since);
            if end <= now { Ok(Some(number)) } else { Err(end) }
        };
        let left_to_strangers = (seats_max / STRANGERS_SHARE).max(1);
        let strangers = strangers().count();
        let mut counts: HashMap<&Owner, usize> = HashMap::new();
        for owner in self.taken.values().filter_map(|taken| taken.owner.as_ref()) {
            let count = counts.entry(owner).or_default();
            *count = count.saturating_add(1);
        }
        let most = |stays| {
            let of_sort = counts.iter().filter(move |(owner, _)| owner.stays == stays);
            of_sort.max_by_key(|(_, count)| **count).map(|(owner, count)| (*owner, *count))
        };
        if let Some(oldest) = oldest.filter(|_| strangers > left_to_strangers) {
            let leaves = leaves(oldest);
            // Who has more than all strangers together leaves them no time.
            let is_more = |(_, count): &(_, usize)| *count > strangers;
            if leaves.is_ok() || most(false).filter(is_more).is_none() {
                return leaves;
            }
        }
        // Who has one connection only has not taken anybody's place.
        let owner = match (most(false).filter(|(_, count)| *count > 1), oldest) {
            (Some((owner, _)), _) => Some(owner),
            (None, Some(oldest)) => return leaves(oldest),
            (None, None) => most(false).or_else(|| most(true)).map(|(owner, _)| owner),
        };
        let owned = || self.taken.iter().filter(move |(_, taken)| taken.owner.as_ref() == owner);
        let idle = owned().find(|(_, taken)| !taken.busy);
        Ok(idle.or_else(|| owned().next()).map(|(number, _)| *number))
    }
}

#[cfg(test)]
mod tests;
