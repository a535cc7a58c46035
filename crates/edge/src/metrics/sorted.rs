//! Metrics by what they count.

use std::cmp::Ordering;

use crate::host::Metric;

/// Metrics by what is counted, sorted. A fraction of the code that a `BTreeMap` would be in the module.
#[derive(Debug)]
pub(crate) struct Sorted<K>(Vec<(K, Metric)>);

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Sorted<K> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, key: &K) -> Option<Metric> {
        self.find(|known| known.cmp(key))
    }

    /// The metric of the key that this comparison finds equal.
    pub(crate) fn find(&self, compare: impl Fn(&K) -> Ordering) -> Option<Metric> {
        let place = self.0.binary_search_by(|(key, _)| compare(key)).ok()?;
        self.0.get(place).map(|(_, metric)| *metric)
    }

    /// Adds a metric, if there is one; a key that is known keeps its own.
    pub(crate) fn insert(&mut self, key: K, metric: Option<Metric>) {
        if let Some(metric) = metric
            && let Err(place) = self.0.binary_search_by(|(known, _)| known.cmp(&key))
        {
            self.0.insert(place, (key, metric));
        }
    }
}
