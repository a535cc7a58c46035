//! Events that change nothing, and that anybody who reaches a source may send as often as they like:
//! refused ones, and those that were known or overtaken already. Some have lines of their own, and
//! the others lines with their number.

use model::time::UnixMicros;
use system::wall_clock;
use throttle::Folded;

use super::Audit;
use super::entry::{About, EventFact, Fact};
use super::repeats::RepeatsFact;
use super::writer::Writer;

impl Audit {
    /// Notes an event that has changed nothing, by itself or with others like it.
    pub fn note_idle(&self, about: Option<About>, fact: EventFact) {
        let sort = (fact.source, fact.result, fact.cause);
        if self.common.folds.admit(sort, self.common.started.elapsed()) {
            self.note(about, Fact::Event(Box::new(fact)));
        } else {
            self.common.folds.fold(sort, wall_clock(), || fact.event_id);
        }
    }
}

impl Writer {
    /// Has lines written about what was counted since the last ones. What finds no room in the
    /// queue goes on being counted.
    pub(super) fn unfold(&mut self) {
        for (sort, folded) in self.common.folds.take() {
            let Folded { count, first, last, sample } = folded;
            let (source, result, cause) = sort;
            let time = |at: UnixMicros| at.to_string();
            let event_id = sample.clone();
            let (first_text, last_text) = (time(first), time(last));
            let fact = RepeatsFact {
                source,
                result,
                cause,
                count,
                first: first_text,
                last: last_text,
                event_id,
            };
            if !self.common.queue.push_fact(Fact::Repeats(fact)) {
                self.common.folds.put_back(sort, Folded { count, first, last, sample });
            }
        }
    }
}
