//! What lines of audit logs prove about the events of a user, or about one event, and what they do not prove: one
//! document for an auditor.
//!
//! Plain data: no clock, no file, no network. Lines are found and checked elsewhere (`audit`), and come here as [`Log`]s, one
//! of each daemon, with what checking that log has found. Nothing here trusts a line that is not in the part of its
//! log that was checked: such a line is shown, and what it says is not called proven.
//!
//! Begin with [`Document::of`]; `trace` says what became of one event on one daemon, `words` what is said of that.

mod document;
mod ends;
mod line;
mod log;
mod make;
mod nodes;
mod trace;
mod words;

#[cfg(test)]
mod tests;

pub use document::{About, Document, Statement};
pub use ends::{Ended, How};
pub use line::LineRef;
pub use log::{Log, LogLine, Silent, Verdict, Vouched};
pub use nodes::{Enforced, NodeState};
pub use trace::{Asked, EventTrace, OnDaemon, Ordered, Received};
