//! What nodes tell of first rejections, in one family: by what became of it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What becomes of one: it is noted, was noted before, or is about nothing that is known.
const RESULTS: [&str; 3] = [NOTED, KNOWN, UNKNOWN];
const NOTED: &str = "noted";
const KNOWN: &str = "known";
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The family; clones count together.
#[derive(Clone, Debug, Default)]
pub struct RejectionMetrics(Family<ResultLabel, Counter>);

impl RejectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        for result in RESULTS {
            drop(self.0.get_or_create(&ResultLabel { result }));
        }
        let help = "First requests rejected because of an event, as Envoys tell of them";
        registry.register("first_rejections", help, self.0.clone());
    }

    /// Counts what a poll has told of.
    pub fn told(&self, noted: usize, known: usize, unknown: usize) {
        for (result, number) in [(NOTED, noted), (KNOWN, known), (UNKNOWN, unknown)] {
            let number = u64::try_from(number).unwrap_or(u64::MAX);
            self.0.get_or_create(&ResultLabel { result }).inc_by(number);
        }
    }
}
