//! Where an event comes from, and when it was first heard.

use policy::event::CLOCK_AHEAD_MAX;
use policy::time::UnixMicros;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source that it first came through.
    pub source: &'static str,
    /// Which way it came this time.
    pub path: Path,
}

/// Which way an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From its publisher, now.
    Live,
    /// From the stream or the state in Redis, where it was first written then.
    Written(UnixMicros),
    /// From our own store: it was first heard then.
    Kept(UnixMicros),
    /// From the dead letters, now, by an operator's word.
    Replayed,
}

impl Origin {
    /// From a publisher, now.
    #[must_use]
    pub fn live(source: &'static str) -> Self {
        Self { source, path: Path::Live }
    }

    /// When the event was first heard: a `zero` empties the buckets then, and age is measured then.
    /// So an event means the same to every daemon, and after a restart. What somebody else wrote
    /// down is not believed if it is from further in the future than a clock may be ahead.
    #[must_use]
    pub fn first_heard(&self, now: UnixMicros) -> UnixMicros {
        match self.path {
            Path::Live | Path::Replayed => now,
            Path::Written(at) => at.min(now.saturating_add(CLOCK_AHEAD_MAX)),
            Path::Kept(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_was_first_heard_then() {
        let (now, then) = (UnixMicros(9_000_000_000), UnixMicros(5));
        let first_heard = |path| Origin { source: "redis", path }.first_heard(now);
        assert_eq!(first_heard(Path::Live), now);
        assert_eq!(first_heard(Path::Replayed), now);
        assert_eq!(first_heard(Path::Kept(then)), then);
        assert_eq!(first_heard(Path::Written(then)), then);
        let never = UnixMicros(u64::MAX);
        assert_eq!(first_heard(Path::Written(never)), now.saturating_add(CLOCK_AHEAD_MAX));
    }
}
