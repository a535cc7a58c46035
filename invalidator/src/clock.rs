//! Notices when the wall clock jumps: when it does not move as the monotonic one does.

use std::time::Duration;

use engine::Now;

/// The least difference that is a jump; less is a clock that is being corrected.
const JUMP_MIN: Duration = Duration::from_secs(1);

/// Looks at both clocks from time to time.
#[derive(Debug)]
pub struct JumpWatch {
    last: Now,
}

impl JumpWatch {
    /// Begins now.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { last: now }
    }

    /// By how many milliseconds the wall clock has jumped since the last look, if it has: forward,
    /// or, below zero, back.
    pub fn look(&mut self, now: Now) -> Option<i64> {
        let passed = now.mono.saturating_sub(self.last.mono);
        let expected = self.last.wall.saturating_add(passed);
        self.last = now;
        let (ahead, behind) = (now.wall.since(expected), expected.since(now.wall));
        let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        if ahead >= JUMP_MIN {
            return Some(ms(ahead));
        }
        (behind >= JUMP_MIN).then(|| ms(behind).saturating_neg())
    }
}

#[cfg(test)]
mod tests {
    use model::time::UnixMicros;

    use super::*;

    #[test]
    fn only_a_wall_clock_that_moves_by_itself_has_jumped() {
        let at = |wall_ms: u64, mono_ms: u64| Now {
            wall: UnixMicros(wall_ms * 1_000),
            mono: Duration::from_millis(mono_ms),
        };
        let mut watch = JumpWatch::new(at(1_000_000, 0));
        assert_eq!(watch.look(at(1_001_000, 1_000)), None);
        assert_eq!(watch.look(at(1_062_000, 62_000)), None, "the process was stopped");
        assert_eq!(watch.look(at(1_064_500, 63_000)), Some(1_500));
        assert_eq!(watch.look(at(1_065_500, 64_000)), None, "said once");
        assert_eq!(watch.look(at(5_500, 65_000)), Some(-1_061_000));
    }
}
