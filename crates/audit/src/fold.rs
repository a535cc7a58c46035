//! Events that change nothing, and that anybody who reaches a source may send as often as they like:
//! refused ones, and those that were known or overtaken already. Some have lines of their own, and
//! the others lines with their number.

use model::time::UnixMicros;
use serde::Serialize;
use system::wall_clock;
use throttle::Folded;

use super::Audit;
use super::entry::{About, EventFact, EventText, Fact};
use super::writer::Writer;

/// What makes events the same here: source, result, and cause.
pub(super) type Sort = (&'static str, &'static str, Option<&'static str>);
/// What is shown of the first of them.
pub(super) type Sample = Option<EventText>;

/// See [`Fact::Repeats`].
#[derive(Debug, Serialize)]
pub struct RepeatsFact {
    /// The source they came from.
    pub source: &'static str,
    /// `refused`, `duplicate` or `stale`.
    pub result: &'static str,
    /// Of refused ones: the kind of the rule that they break.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// How many there were beyond those that have lines of their own.
    pub count: u64,
    /// When the first of them came.
    pub first: String,
    /// When the last of them came.
    pub last: String,
    /// The id of the first, if that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventText>,
}

impl Audit {
    /// Notes an event that has changed nothing, by itself or with others like it.
    pub fn note_idle(&self, about: Option<About>, fact: EventFact) {
        let sort = (fact.source, fact.result, fact.cause);
        if self.common.folds.admit(sort, self.common.started.elapsed()) {
            self.note(about, Fact::Event(fact));
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
