//! Where an event comes from, when it was first heard, and who brought it.

use engine::{Order, Publisher};
use events::CLOCK_AHEAD_MAX;
use model::name::EventId;
use model::time::UnixMicros;

use super::SourceKind;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The kind of source that it first came through.
    pub source: &'static SourceKind,
    /// Which way it came this time.
    pub path: Path,
    /// Who brought it, if that is certain without a signature: a caller of the API, or who may write
    /// to an inbox.
    pub caller: Publisher,
}

/// What is known of the place of an event that counts from `at`, among those of its subject.
#[must_use]
pub fn order(path: Path, at: UnixMicros, first_heard: UnixMicros) -> Order {
    match path {
        Path::Live | Path::Replayed if at == first_heard => Order::Last,
        Path::Written(_) | Path::Known(_) => Order::Placed,
        Path::Standing(_) => Order::Standing,
        Path::Live | Path::Replayed | Path::Heard(_) | Path::Kept(_) => Order::AsHeard,
    }
}

/// What lies beside an event where it was kept, by us or in Redis.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored<'a> {
    /// The id that it is kept under: its own, or one derived from it.
    pub event_id: Option<&'a EventId>,
    /// A daemon's word for it; see the module `vouch`.
    pub vouch: Option<&'a [u8]>,
}

/// The time, by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// This daemon's own.
    pub here: UnixMicros,
    /// That of the replica, by which all daemons order what they hear; our own without one.
    pub common: UnixMicros,
}

impl Clock {
    /// Of a daemon that has its own clock only.
    #[must_use]
    pub fn own(here: UnixMicros) -> Self {
        Self { here, common: here }
    }
}

/// Which way an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From its publisher, now.
    Live,
    /// From its publisher; it came at this instant, and has waited since.
    Heard(UnixMicros),
    /// From the stream or the state in Redis, where it was first written then.
    Written(UnixMicros),
    /// The same of what was taken in before: it is only to find its place.
    Known(UnixMicros),
    /// The same of what is in force by all that Redis holds, and is not here.
    Standing(UnixMicros),
    /// From our own store: it was first heard then.
    Kept(UnixMicros),
    /// From the dead letters, now, by an operator's word.
    Replayed,
}

impl Origin {
    /// From a publisher, now.
    #[must_use]
    pub fn live(source: &'static SourceKind) -> Self {
        Self::new(source, Path::Live)
    }

    /// From nobody in particular.
    #[must_use]
    pub fn new(source: &'static SourceKind, path: Path) -> Self {
        Self { source, path, caller: Publisher::default() }
    }

    /// Brought by a known caller.
    #[must_use]
    pub fn by(self, caller: Publisher) -> Self {
        Self { caller, ..self }
    }

    /// When the event was first heard: a `zero` empties the buckets then, and age is measured then.
    /// So an event means the same to every daemon, and after a restart. What somebody else wrote
    /// down is not believed if it is from further in the future than a clock may be ahead.
    #[must_use]
    pub fn first_heard(&self, clock: Clock) -> UnixMicros {
        match self.path {
            Path::Live | Path::Replayed => clock.common,
            Path::Written(at) | Path::Known(at) | Path::Standing(at) => {
                at.min(clock.common.saturating_add(CLOCK_AHEAD_MAX))
            }
            Path::Kept(at) | Path::Heard(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::UNKNOWN;
    use super::*;

    #[test]
    fn what_was_written_down_was_first_heard_then() {
        let (now, then) = (UnixMicros(9_000_000_000), UnixMicros(5));
        let first_heard = |path| Origin::new(&UNKNOWN, path).first_heard(Clock::own(now));
        assert_eq!(first_heard(Path::Live), now);
        assert_eq!(first_heard(Path::Replayed), now);
        assert_eq!(first_heard(Path::Kept(then)), then);
        assert_eq!(first_heard(Path::Written(then)), then);
        let never = UnixMicros(u64::MAX);
        assert_eq!(first_heard(Path::Written(never)), now.saturating_add(CLOCK_AHEAD_MAX));
    }
}
