//! Of many that are the same in what matters, some count one by one, and the others together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::bucket::{Bucket, Rate};
use model::time::UnixMicros;

use crate::Pace;

/// The interval of a [`Pace`].
const MINUTE: Duration = Duration::from_secs(60);
/// Most sorts that are told apart. Sorts are made of constants, so there are far fewer; what would
/// be one too many counts one by one.
const SORTS_MAX: usize = 512;

/// What counts together: nothing of it is kept but this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded<S> {
    /// How many.
    pub count: u64,
    /// When the first of them came.
    pub first: UnixMicros,
    /// When the last of them came.
    pub last: UnixMicros,
    /// One of them, the first.
    pub sample: S,
}

impl<S> Folded<S> {
    fn one_more(&mut self, at: UnixMicros) {
        self.count = self.count.saturating_add(1);
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }

    /// Together with what came since.
    fn and(self, since: &Self) -> Self {
        Self {
            count: self.count.saturating_add(since.count),
            first: self.first.min(since.first),
            last: self.last.max(since.last),
            ..self
        }
    }
}

#[derive(Debug)]
struct Sort<S> {
    bucket: Bucket,
    folded: Option<Folded<S>>,
}

/// See the module's description. `K` is what makes them the same.
#[derive(Debug)]
pub struct Folds<K, S> {
    rate: Option<Rate>,
    sorts: Mutex<BTreeMap<K, Sort<S>>>,
}

impl<K: Ord, S> Folds<K, S> {
    /// So many of each sort one by one.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        // The configuration's bounds make a rate that can be: a test sees to that.
        let rate = Rate::new(pace.burst, pace.per_minute, MINUTE).ok();
        Self { rate, sorts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Sort<S>>> {
        self.sorts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more of this sort counts alone, by the monotonic clock. If not, it is to be
    /// given to [`Folds::fold`].
    pub fn admit(&self, sort: K, now: Duration) -> bool {
        let Some(rate) = &self.rate else { return true };
        let mut sorts = self.lock();
        if sorts.len() >= SORTS_MAX && !sorts.contains_key(&sort) {
            return true;
        }
        let sort = sorts.entry(sort).or_insert_with(Sort::empty);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        match sort.bucket.take(rate, now) {
            Ok((bucket, _)) => {
                sort.bucket = bucket;
                true
            }
            Err(_) => false,
        }
    }

    /// Counts one more together with the others of this sort; `sample` is asked for the first.
    pub fn fold(&self, sort: K, at: UnixMicros, sample: impl FnOnce() -> S) {
        let mut sorts = self.lock();
        let sort = sorts.entry(sort).or_insert_with(Sort::empty);
        match &mut sort.folded {
            Some(folded) => folded.one_more(at),
            None => {
                sort.folded = Some(Folded { count: 1, first: at, last: at, sample: sample() });
            }
        }
    }

    /// Takes back what [`Folds::take`] gave, to be taken again.
    pub fn put_back(&self, sort: K, folded: Folded<S>) {
        let mut sorts = self.lock();
        let sort = sorts.entry(sort).or_insert_with(Sort::empty);
        sort.folded = Some(match sort.folded.take() {
            Some(since) => folded.and(&since),
            None => folded,
        });
    }

    /// What was counted together since this was asked last.
    pub fn take(&self) -> Vec<(K, Folded<S>)>
    where
        K: Clone,
    {
        let mut sorts = self.lock();
        let folded = sorts.iter_mut();
        folded.filter_map(|(sort, of)| Some((sort.clone(), of.folded.take()?))).collect()
    }
}

impl<S> Sort<S> {
    fn empty() -> Self {
        Self { bucket: Bucket::default(), folded: None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_a_burst_the_rest_is_counted_by_sort() {
        let folds = Folds::new(Pace { burst: 2, per_minute: 60 });
        let mut alone = Vec::new();
        for second in 0..10_u64 {
            for number in 0..3 {
                let now = UnixMicros(second * 1_000_000 + number);
                if folds.admit("a", Duration::from_micros(now.0)) {
                    alone.push(now.0);
                } else {
                    folds.fold("a", now, || now.0);
                }
            }
        }
        assert!(folds.admit("b", Duration::ZERO));
        assert_eq!(alone.len(), 11);
        let (first, last) = (UnixMicros(2), UnixMicros(9_000_002));
        assert_eq!(folds.take(), [("a", Folded { count: 19, first, last, sample: 2 })]);
        assert_eq!(folds.take(), []);
    }

    #[test]
    fn every_pace_that_can_be_configured_is_a_rate() {
        for pace in [(1, 1), (10_000, 1), (1, 600_000), (10_000, 600_000)] {
            let (burst, per_minute) = pace;
            assert!(Folds::<u8, ()>::new(Pace { burst, per_minute }).rate.is_some(), "{pace:?}");
        }
    }

    proptest! {
        /// Nothing is lost, however often and in whatever order it is taken and put back.
        #[test]
        fn the_sum_is_exact(steps in prop::collection::vec((0u8..4, 0u64..9, any::<bool>()), 1..200)) {
            let folds = Folds::new(Pace { burst: 3, per_minute: 1 });
            let (mut came, mut counted) = (0, 0);
            for (sort, at, take) in steps {
                came += 1;
                if folds.admit(sort, Duration::from_secs(at)) {
                    counted += 1;
                } else {
                    folds.fold(sort, UnixMicros(at), || ());
                }
                if take {
                    let mut taken = folds.take();
                    // As if one could not be written.
                    if let Some((sort, folded)) = taken.pop() {
                        folds.put_back(sort, folded);
                    }
                    counted += taken.iter().map(|(_, folded)| folded.count).sum::<u64>();
                }
            }
            counted += folds.take().iter().map(|(_, folded)| folded.count).sum::<u64>();
            prop_assert_eq!(counted, came);
        }
    }
}
