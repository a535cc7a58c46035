//! Every family has a name of its own: parsers of OpenMetrics refuse everything if one has not.

use std::collections::BTreeMap;

use super::Metrics;

/// What the registry says of its families: name and type, in order.
fn families(metrics: &Metrics) -> Vec<(String, String)> {
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &metrics.registry).unwrap();
    let types = out.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The names that samples of a family may have.
fn samples(name: &str, kind: &str) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_sum", "_count", "_created"],
        "gauge" => &[""],
        other => panic!("{name} is of the type {other}"),
    };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

/// The families of which a name stands for another one too.
fn clashes(families: &[(String, String)]) -> Vec<String> {
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, (name, kind)) in families.iter().enumerate() {
        let mut names = samples(name, kind);
        names.push(name.clone());
        names.dedup();
        for taken in names {
            if of.insert(taken.clone(), index).is_some_and(|other| other != index) {
                found.push(taken);
            }
        }
    }
    found
}

#[test]
fn no_name_stands_for_two_families() {
    let families = families(&Metrics::new());
    assert!(families.len() > 40, "{families:?}");
    assert_eq!(clashes(&families), Vec::<String>::new());
    assert!(families.iter().all(|(name, _)| name.starts_with("portcullis_")));
}

#[test]
fn a_second_family_of_a_name_would_be_seen() {
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
    let mut metrics = Metrics::new();
    metrics.registry.register("repaired", "Once more", <Counter>::default());
    assert_eq!(clashes(&families(&metrics)).first().unwrap(), "portcullis_repaired_total");
    let mut metrics = Metrics::new();
    // Not the same name, and the same sample.
    metrics.registry.register("events_total", "As the counter's sample", <Gauge>::default());
    assert_eq!(clashes(&families(&metrics)), ["portcullis_events_total"]);
}
