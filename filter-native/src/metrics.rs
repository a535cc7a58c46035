//! Counters and histograms: Envoy knows them by numbers that each configuration has for itself, and takes new ones only
//! while a configuration is made.
//!
//! Names have numbers of their own here, the same in all configurations of the process ([`edge::host::Metric`]). What
//! comes up at run time, such as the reason of a block, is a label of a metric that was defined at start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edge::host::{Family, Metric};

use crate::abi::{Config, Filter};
use crate::live::Live;

/// Names that a process can have; what goes beyond is not counted.
const NAMES_MAX: usize = 8_192;

/// What one number stands for.
#[derive(Clone)]
struct Labelled {
    /// The metric that has the label.
    family: u32,
    /// What the label says.
    label: Box<str>,
}

#[derive(Default)]
struct Names {
    by_name: Option<HashMap<String, u32>>,
    /// By number, of those that are labels.
    labelled: Vec<Option<Labelled>>,
}

static NAMES: Mutex<Names> = Mutex::new(Names { by_name: None, labelled: Vec::new() });

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// The number of a name, which is given one if it has none.
    fn number(&mut self, name: &str, labelled: Option<Labelled>) -> Option<u32> {
        let by_name = self.by_name.get_or_insert_default();
        if let Some(known) = by_name.get(name) {
            return Some(*known);
        }
        if self.labelled.len() >= NAMES_MAX {
            return None;
        }
        let number = u32::try_from(self.labelled.len()).ok()?;
        by_name.insert(name.to_owned(), number);
        self.labelled.push(labelled);
        Some(number)
    }

    fn label_of(&self, metric: Metric) -> Option<Labelled> {
        self.labelled.get(usize::try_from(metric.0).ok()?)?.clone()
    }
}

/// The metrics of one configuration of Envoy's.
pub(crate) struct Metrics {
    /// None for metrics that only get their numbers.
    live: Option<Arc<Live>>,
    /// By the numbers of names, Envoy's number and one; 0 for what it does not know.
    known: Box<[AtomicU32]>,
    /// Counts that this Envoy takes from streams alone, until there is one.
    waiting: Mutex<Vec<(Metric, u64)>>,
    is_waiting: AtomicBool,
}

impl Metrics {
    pub(crate) fn new(live: Option<Arc<Live>>) -> Self {
        let places = if live.is_some() { NAMES_MAX } else { 0 };
        let known = std::iter::repeat_with(AtomicU32::default).take(places).collect();
        Self { live, known, waiting: Mutex::default(), is_waiting: AtomicBool::new(false) }
    }

    /// Defines a counter or finds it.
    pub(crate) fn counter(&self, name: &str) -> Option<Metric> {
        self.define(name, None, |config| config.define_counter(name, None))
    }

    /// Defines a histogram or finds it.
    pub(crate) fn histogram(&self, name: &str) -> Option<Metric> {
        self.define(name, None, |config| config.define_histogram(name, None))
    }

    /// Defines what the metrics of a family are labels of.
    pub(crate) fn announce(&self, family: &Family<'_>) {
        let (name, label) = (family.name(), Some(family.label));
        self.define(&name, None, |config| match family.are_counters {
            true => config.define_counter(&name, label),
            false => config.define_histogram(&name, label),
        });
    }

    /// The metric of a family that is about this: one of its own if Envoy takes one still, or else a label.
    pub(crate) fn about(&self, family: &Family<'_>, what: &str) -> Option<Metric> {
        let family_number = names().number(&family.name(), None)?;
        let labelled = Labelled { family: family_number, label: what.into() };
        let name = family.name_of(what);
        self.define(&name, Some(labelled), |config| match family.are_counters {
            true => config.define_counter(&name, None),
            false => config.define_histogram(&name, None),
        })
    }

    fn define(
        &self,
        name: &str,
        labelled: Option<Labelled>,
        define: impl FnOnce(Config) -> Option<usize>,
    ) -> Option<Metric> {
        let metric = names().number(name, labelled).map(Metric)?;
        if let Some(place) = self.place(metric)
            && place.load(Ordering::Relaxed) == 0
            && let Some(id) = self.live.as_ref().and_then(|live| live.call(define)?)
            && let Ok(id) = u32::try_from(id)
        {
            place.store(id.saturating_add(1), Ordering::Relaxed);
        }
        Some(metric)
    }

    fn place(&self, metric: Metric) -> Option<&AtomicU32> {
        self.known.get(usize::try_from(metric.0).ok()?)
    }

    /// Envoy's number of a metric, if it has one of its own.
    pub(crate) fn id(&self, metric: Metric) -> Option<usize> {
        let id = self.place(metric)?.load(Ordering::Relaxed).checked_sub(1)?;
        usize::try_from(id).ok()
    }

    /// Adds to a counter, by way of a stream if there is one.
    pub(crate) fn count(&self, filter: Option<Filter>, metric: Metric, by: u64) {
        match (self.id(metric), filter) {
            (Some(id), Some(filter)) => filter.increment(id, None, by),
            (Some(id), None) => self.count_without_stream(id, None, metric, by),
            (None, _) => self.count_label(filter, metric, by),
        }
    }

    fn count_label(&self, filter: Option<Filter>, metric: Metric, by: u64) {
        let Some(Labelled { family, label }) = names().label_of(metric) else { return };
        let Some(id) = self.id(Metric(family)) else { return };
        match filter {
            Some(filter) => filter.increment(id, Some(&label), by),
            None => self.count_without_stream(id, Some(&label), metric, by),
        }
    }

    fn count_without_stream(&self, id: usize, label: Option<&str>, metric: Metric, by: u64) {
        let increment = |live: &Arc<Live>| live.call(|config| config.increment(id, label, by));
        if self.live.as_ref().and_then(increment) == Some(true) {
            return;
        }
        let mut waiting = self.waiting();
        match waiting.iter_mut().find(|(known, _)| *known == metric) {
            Some((_, count)) => *count = count.saturating_add(by),
            None => waiting.push((metric, by)),
        }
        self.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Tells Envoy by way of a stream what has waited for one.
    pub(crate) fn catch_up(&self, filter: Filter) {
        if !self.is_waiting.load(Ordering::Relaxed) {
            return;
        }
        self.is_waiting.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting());
        for (metric, by) in waiting {
            self.count(Some(filter), metric, by);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Metric, u64)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a value to a histogram.
    pub(crate) fn record(&self, filter: Filter, metric: Metric, value: u64) {
        if let Some(id) = self.id(metric) {
            return filter.record(id, None, value);
        }
        let Some(Labelled { family, label }) = names().label_of(metric) else { return };
        if let Some(id) = self.id(Metric(family)) {
            filter.record(id, Some(&label), value);
        }
    }
}
