//! What `/metrics` shows of inboxes in Redis. Their names are those of the configuration, at most 16.

use engine::Verdict;
use model::name::Name;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InboxLabel {
    inbox: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    inbox: String,
    result: &'static str,
}

/// None at first.
#[derive(Debug, Default)]
pub(crate) struct InboxMetrics {
    events: Family<ResultLabels, Counter>,
    waiting: Family<InboxLabel, Gauge>,
    unfinished: Family<InboxLabel, Gauge>,
    failing: Family<InboxLabel, Gauge>,
}

impl InboxMetrics {
    pub(crate) fn register(&self, r: &mut Registry) {
        let help = "Events that this daemon took out of an inbox, by what became of them";
        r.register("inbox_events", help, self.events.clone());
        let help = "Events in an inbox that no daemon has taken yet";
        r.register("inbox_waiting", help, self.waiting.clone());
        let help = "Events out of an inbox that are being taken in, or are to be tried again";
        r.register("inbox_unfinished", help, self.unfinished.clone());
        let help = "1 while nothing can be taken out of an inbox";
        r.register("inbox_failing", help, self.failing.clone());
    }

    /// Shows an inbox, with zeros.
    pub(crate) fn show<'a>(&self, names: impl Iterator<Item = &'a Name>) {
        for name in names {
            for result in Verdict::ALL.map(Verdict::as_str).into_iter().chain(["refused", "again"])
            {
                let labels = ResultLabels { inbox: name.to_string(), result };
                drop(self.events.get_or_create(&labels));
            }
            self.waiting(name, 0, 0);
            self.failing(name, false);
        }
    }

    /// Counts an event: its verdict, `refused`, or `again` if it is refused and will be tried again.
    pub(crate) fn took(&self, name: &Name, result: &'static str) {
        self.events.get_or_create(&ResultLabels { inbox: name.to_string(), result }).inc();
    }

    /// Shows how many events wait, and how many have been taken and are not done with.
    pub(crate) fn waiting(&self, name: &Name, waiting: u64, unfinished: usize) {
        let label = InboxLabel { inbox: name.to_string() };
        let number = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.waiting.get_or_create(&label).set(number);
        let number = i64::try_from(unfinished).unwrap_or(i64::MAX);
        self.unfinished.get_or_create(&label).set(number);
    }

    /// Shows whether nothing can be taken out.
    pub(crate) fn failing(&self, name: &Name, failing: bool) {
        let label = InboxLabel { inbox: name.to_string() };
        self.failing.get_or_create(&label).set(failing.into());
    }
}
