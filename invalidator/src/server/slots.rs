//! How many requests may be under way: in all, and of one caller.
//!
//! No caller may take all places, whatever it sends and however slowly: it has a limit of its own,
//! and never more places than are still free. So whoever comes next finds one, also beside several
//! callers that take what they can: with two of them each ends at a third. Operators have places
//! that nobody else can take.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use access::{Caller, Lane, Role};

use crate::metrics::Bound;

/// How many requests may be under way in one lane.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Of all callers together.
    pub all: usize,
    /// Of one of them.
    pub caller: usize,
}

/// The places of every lane, for operators and for all others.
#[derive(Debug)]
pub(super) struct Slots {
    publishing: [Arc<Pool>; 2],
    other: [Arc<Pool>; 2],
}

impl Slots {
    pub(super) fn new(places: Places) -> Self {
        let pool = || Arc::new(Pool::new(places));
        Self { publishing: [pool(), pool()], other: [pool(), pool()] }
    }

    /// A place for one request, until it is dropped.
    ///
    /// # Errors
    /// If there is none: which bound is reached.
    pub(super) fn take(&self, lane: Lane, caller: &Caller) -> Result<Slot, Bound> {
        let [operators, others] = match lane {
            Lane::Publishing => &self.publishing,
            Lane::Other => &self.other,
        };
        let pool = if caller.role == Role::Operator { operators } else { others };
        pool.take(&caller.name)
    }
}

/// The places of one lane.
#[derive(Debug)]
pub(super) struct Pool {
    places: Places,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_caller: HashMap<Arc<str>, NonZeroUsize>,
}

impl Pool {
    pub(super) fn new(places: Places) -> Self {
        Self { places, taken: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Slots::take`]; `caller` is a name that stands for one caller.
    pub(super) fn take(self: &Arc<Self>, caller: &Arc<str>) -> Result<Slot, Bound> {
        let mut taken = self.lock();
        let free = self.places.all.saturating_sub(taken.all);
        let own = taken.by_caller.get(caller).map_or(0, |own| own.get());
        if free == 0 {
            return Err(Bound::All);
        }
        if own >= self.places.caller.min(free) {
            return Err(Bound::Caller);
        }
        taken.all = taken.all.saturating_add(1);
        taken.by_caller.insert(Arc::clone(caller), NonZeroUsize::MIN.saturating_add(own));
        drop(taken);
        Ok(Slot { pool: Arc::clone(self), caller: Arc::clone(caller) })
    }
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pool: Arc<Pool>,
    caller: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.pool.lock();
        taken.all = taken.all.saturating_sub(1);
        let own = taken.by_caller.get(&self.caller).map_or(0, |own| own.get());
        match NonZeroUsize::new(own.saturating_sub(1)) {
            Some(own) => drop(taken.by_caller.insert(Arc::clone(&self.caller), own)),
            None => drop(taken.by_caller.remove(&self.caller)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, role: Role) -> Caller {
        Caller { name: name.into(), role, authority: Arc::default() }
    }

    /// As many places as there are to be had.
    fn fill(slots: &Slots, lane: Lane, caller: &Caller) -> (Vec<Slot>, Bound) {
        let mut taken = Vec::new();
        loop {
            match slots.take(lane, caller) {
                Ok(slot) => taken.push(slot),
                Err(bound) => return (taken, bound),
            }
        }
    }

    #[test]
    fn whoever_comes_finds_a_place_beside_any_number_of_greedy_callers() {
        let slots = Slots::new(Places { all: 240, caller: 240 });
        let mut held = Vec::new();
        for number in 0..20 {
            let greedy = caller(&format!("greedy-{number}"), Role::Publisher);
            let (taken, bound) = fill(&slots, Lane::Publishing, &greedy);
            assert_eq!(bound, Bound::Caller);
            assert!(!taken.is_empty(), "{number}");
            assert!(number > 0 || taken.len() == 120, "{}", taken.len());
            held.extend(taken);
            if number > 5 {
                break;
            }
        }
        let next = caller("next", Role::Publisher);
        assert!(slots.take(Lane::Publishing, &next).is_ok());
        assert!(slots.take(Lane::Other, &next).is_ok(), "another lane");
    }

    #[test]
    fn operators_have_places_that_nobody_else_takes() {
        let slots = Slots::new(Places { all: 2, caller: 2 });
        let others: Vec<_> = ["a", "b"]
            .map(|name| slots.take(Lane::Publishing, &caller(name, Role::Publisher)).unwrap())
            .into();
        let full = slots.take(Lane::Publishing, &caller("c", Role::Publisher)).unwrap_err();
        assert_eq!(full, Bound::All);
        assert!(slots.take(Lane::Publishing, &caller("ops", Role::Operator)).is_ok());
        drop(others);
        assert!(slots.take(Lane::Publishing, &caller("c", Role::Publisher)).is_ok());
    }

    #[test]
    fn one_caller_has_its_own_limit_and_what_is_given_back_is_there_again() {
        let slots = Slots::new(Places { all: 100, caller: 3 });
        let one = caller("one", Role::Auditor);
        let (mut taken, bound) = fill(&slots, Lane::Other, &one);
        assert_eq!((taken.len(), bound), (3, Bound::Caller));
        taken.pop();
        assert_eq!(fill(&slots, Lane::Other, &one).0.len(), 1);
        drop(taken);
        assert_eq!(fill(&slots, Lane::Other, &one).0.len(), 3);
        assert!(slots.other[1].lock().by_caller.is_empty(), "nobody is remembered");
    }

    #[test]
    fn a_single_place_is_enough_for_one_request() {
        let slots = Slots::new(Places { all: 1, caller: 1 });
        let one = caller("one", Role::Operator);
        let (taken, bound) = fill(&slots, Lane::Publishing, &one);
        assert_eq!((taken.len(), bound), (1, Bound::All));
    }
}
