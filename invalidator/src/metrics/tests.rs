//! Every family has a name of its own: parsers of OpenMetrics refuse everything if one has not.

use std::collections::BTreeSet;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use crate::source::RawSources;

/// What samples may have behind the name of their family.
const SUFFIXES: [&str; 6] = ["_total", "_created", "_bucket", "_sum", "_count", "_info"];

/// The names of all families, also of those without a sample, which the text leaves out.
fn families(metrics: &Metrics) -> Vec<String> {
    let registry = format!("{:?}", metrics.registry);
    let named = registry.split("Descriptor {").skip(1);
    let name = |text: &str| Some(text.split_once("name: \"")?.1.split_once('"')?.0.to_owned());
    named.map(|text| name(text).unwrap()).collect()
}

/// Those of every kind of source as well.
fn with_sources() -> Metrics {
    let mut metrics = Metrics::new();
    let sources = RawSources::default().check(&mut Vec::new()).unwrap();
    sources.build(&mut metrics.meters()).unwrap();
    metrics
}

/// The names that stand for two families, or for a family and a sample of another one.
fn clashes(families: &[String]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let twice = families.iter().filter(|name| !seen.insert(name.as_str()));
    let is_sample = |name: &&String| {
        let base = |suffix: &&str| name.strip_suffix(suffix);
        let mut bases = SUFFIXES.iter().filter_map(base);
        bases.any(|base| families.iter().any(|other| other == base))
    };
    twice.chain(families.iter().filter(is_sample)).map(String::as_str).collect()
}

#[test]
fn no_name_stands_for_two_families() {
    let families = families(&with_sources());
    assert!(families.len() > 55, "{families:?}");
    assert!(families.iter().any(|name| name == "events"), "one without samples");
    assert_eq!(clashes(&families), Vec::<&str>::new());
}

#[test]
fn a_second_family_of_a_name_would_be_seen() {
    let mut metrics = Metrics::new();
    metrics.registry.register("repaired", "Once more", <Counter>::default());
    assert_eq!(clashes(&families(&metrics)), ["repaired"]);
    let mut metrics = Metrics::new();
    metrics.registry.register("events_total", "As the counter's sample", <Gauge>::default());
    assert_eq!(clashes(&families(&metrics)), ["events_total"]);
}
