//! How a command ends: its exit code.

use std::process::ExitCode;

/// What became of a command that was carried out, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// What was asked for is so.
    Done,
    /// There was nothing that the event could end.
    NoEffect,
    /// The event is known, and is not in effect: a newer one overrules it, or it has ended.
    NotInEffect,
    /// The event's id is that of another event.
    Conflict,
    /// No line of an audit log is about what was asked for.
    NothingKnown,
    /// Refused, or not enforced by every Envoy that was waited for, or not durable.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Refused => super::EXIT_REFUSED.into(),
            Exit::NotInEffect | Exit::NothingKnown => 2.into(),
            Exit::NoEffect => 3.into(),
            Exit::Conflict => 4.into(),
        }
    }
}

/// Shown with the help of commands that publish.
pub(super) const HELP: &str = "\
Exit codes:
  0   in effect, and enforced by every Envoy of this daemon; with --everywhere, of the fleet
  1   refused, or not enforced by each of these Envoys yet, or not on disk yet
  2   taken in, and not in effect: a newer event overrules it, or it has ended already
  3   changes nothing: there is nothing in effect that it could end
  4   refused: another event has this id
  64  wrong usage    69  the daemon cannot be reached    77  not allowed";
