//! What is counted of dead letters.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why letters are dropped.
const DROPPED: [&str; 5] = ["age", "bytes", "count", "queue_full", "share"];
/// What becomes of letters that are replayed.
const REPLAYED: [&str; 6] =
    ["applied", "duplicate", "stale", "refused", "already_replayed", "truncated"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// All zero at first. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterMetrics {
    letters: Family<Label, Counter>,
    folded: Counter,
    stored: Gauge,
    bytes: Gauge,
    good_dropped: Counter,
    dropped: Family<Why, Counter>,
    replays: Family<ResultLabel, Counter>,
    failing: Gauge,
}

impl DeadLetterMetrics {
    /// Gives the metrics their names; `kinds` are the causes that there are.
    pub fn register(&self, r: &mut Registry, kinds: impl Iterator<Item = &'static str>) {
        r.register("dead_letters", "Dead letters that came, by cause", self.letters.clone());
        r.register("dead_letters_stored", "Dead letters kept now", self.stored.clone());
        let help = "Dead letters of which only the number is kept, in one letter for many";
        r.register("dead_letters_folded", help, self.folded.clone());
        let help = "What dead letters take now, in bytes";
        r.register("dead_letters_bytes", help, self.bytes.clone());
        let help = "Dead letters dropped for want of room that might yet have succeeded";
        r.register("dead_letters_good_dropped", help, self.good_dropped.clone());
        let help = "Dead letters dropped to make room, for their age, or for want of time to write";
        r.register("dead_letters_dropped", help, self.dropped.clone());
        let help = "Dead letters that an operator replayed, by result";
        r.register("dead_letter_replays", help, self.replays.clone());
        let help = "1 while dead letters cannot be kept";
        r.register("dead_letters_failing", help, self.failing.clone());
        for kind in kinds {
            drop(self.letters.get_or_create(&Label { kind: kind.to_owned() }));
        }
        for why in DROPPED {
            drop(self.dropped.get_or_create(&Why { why }));
        }
        for result in REPLAYED {
            drop(self.replays.get_or_create(&ResultLabel { result }));
        }
    }

    /// Counts a letter that came, by the kind of its cause, of which there are not many.
    pub fn came(&self, kind: &str) {
        self.letters.get_or_create(&Label { kind: kind.to_owned() }).inc();
    }

    /// Counts a letter of which only the number is kept.
    pub fn folded(&self) {
        self.folded.inc();
    }

    /// Shows how many letters are kept, and what they take.
    pub fn stored(&self, letters: u64, bytes: u64) {
        self.stored.set(i64::try_from(letters).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts letters that were dropped though they might yet have succeeded.
    pub fn good_dropped(&self, letters: u64) {
        self.good_dropped.inc_by(letters);
    }

    /// Counts letters that were dropped.
    pub fn dropped(&self, why: &'static str, letters: u64) {
        self.dropped.get_or_create(&Why { why }).inc_by(letters);
    }

    /// Counts a letter that an operator replayed.
    pub fn replayed(&self, result: &'static str) {
        self.replays.get_or_create(&ResultLabel { result }).inc();
    }

    /// Shows whether letters cannot be kept.
    pub fn failing(&self, failing: bool) {
        self.failing.set(failing.into());
    }
}
