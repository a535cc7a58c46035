//! By how many tokens the fleet can admit too many, at most.
//!
//! `docs/explanation/fleet-limits.md` derives it in words. The simulations in `tests/` hold every run against it.

use std::time::Duration;

use model::time::MonotonicNanos;

use crate::replica::due::{REPEAT_AFTER, REPORT_GAP, ROUND, takes_due};
use crate::terms::{Terms, nanos};

/// How long things take between a node and Redis, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// From a report's sending to its being counted.
    pub report: Duration,
    /// From there to its answer.
    pub answer: Duration,
    /// From there to every node having taken in the news.
    pub news: Duration,
    /// How often in a row a report or its answer is lost.
    pub losses: u32,
}

impl Delays {
    /// From a take that makes a report due to every node knowing of it: the report before it is answered, at the latest
    /// after it was sent again; then the two are far enough apart, and it is the report's round; then the report travels, and
    /// then the news.
    #[must_use]
    pub fn until_told_ns(&self) -> MonotonicNanos {
        let repeats = nanos(REPEAT_AFTER).saturating_mul(self.losses.into());
        let trip = nanos(self.report).saturating_add(nanos(self.answer));
        repeats
            .saturating_add(trip)
            .max(nanos(REPORT_GAP))
            .saturating_add(nanos(ROUND))
            .saturating_add(repeats)
            .saturating_add(nanos(self.report))
            .saturating_add(nanos(self.news))
    }
}

/// How many tokens more than one exact bucket can be taken from the fleet's in any span of time, while no debt is
/// forgiven: of each of `nodes`, what it may keep unreported, and what it can take until it is told. `requests` is
/// how many requests reach one node within [`Delays::until_told_ns`], if that is known. Once more comes what fills while
/// word is under way, since what is told counts from the earliest instant at which it can have been said.
#[must_use]
pub fn tokens_max(terms: &Terms, nodes: u32, delays: &Delays, requests: Option<u64>) -> u64 {
    let told_ns = delays.until_told_ns();
    let bucket = u64::from(terms.rate.max_tokens()).saturating_add(filled(terms, told_ns));
    let quick = bucket.min(requests.unwrap_or(u64::MAX));
    let of_nodes = quick.saturating_add(takes_due(terms).into()).saturating_mul(nodes.into());
    let word_ns = nanos(delays.report).max(nanos(delays.news));
    of_nodes.saturating_add(filled(terms, word_ns))
}

/// The most tokens that come in so many nanoseconds.
fn filled(terms: &Terms, ns: u64) -> u64 {
    ns.checked_div(terms.token_ns()).unwrap_or(0).saturating_add(1)
}
