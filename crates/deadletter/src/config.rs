//! `[dead_letters]`: how many events that cannot be applied are kept, and for how long.

use std::time::Duration;

use model::violation::Violation;
use serde::Deserialize;
use system::Span;
use throttle::Pace;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest and longest time that a dead letter is kept.
const RETENTION: [Duration; 2] = [DAY.saturating_mul(7), DAY.saturating_mul(30)];
/// The most letters that can be configured: 16 KiB each, at most.
const LETTERS_MAX: usize = 1_000_000;
const MIB: u64 = 1024 * 1024;
/// Bounds of the bytes that can be configured: room for some letters of the greatest size, and no
/// more than a small disk has.
const BYTES_MAX: (u64, u64) = (MIB, 64 * 1024 * MIB);
/// Bounds of the share: some have to be seen, and most of the room is not theirs.
const GARBAGE_PERCENT: (u8, u8) = (1, 50);

/// `[dead_letters]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most letters at once; the oldest makes room.
    pub letters_max: usize,
    /// Most bytes of letters at once, as they are stored.
    pub bytes_max: u64,
    /// The most of both, in percent, that letters may take which nobody can expect to succeed.
    pub garbage_percent: u8,
    /// How many of these letters of one cause are kept one by one before the rest is counted.
    pub pace: Pace,
    /// How long a letter is kept.
    pub retention: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let [_, longest] = RETENTION;
        Self {
            letters_max: 10_000,
            bytes_max: 64 * MIB,
            garbage_percent: 25,
            pace: Pace::default(),
            retention: longest,
        }
    }
}

/// `[dead_letters]` as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDeadLetters {
    max: Option<usize>,
    bytes_max: Option<u64>,
    garbage_percent: Option<u8>,
    fold_burst: Option<u32>,
    fold_per_minute: Option<u32>,
    retention: Option<Span>,
}

impl RawDeadLetters {
    /// Checks it.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(self) -> Result<Bounds, Violation> {
        let default = Bounds::default();
        let letters_max = self.max.unwrap_or(default.letters_max);
        if !(1..=LETTERS_MAX).contains(&letters_max) {
            let rule = format!("must be 1 to {LETTERS_MAX}");
            return Err(Violation::new("dead_letters.max", rule));
        }
        let bytes_max = self.bytes_max.unwrap_or(default.bytes_max);
        let (least, most) = BYTES_MAX;
        if !(least..=most).contains(&bytes_max) {
            let rule = format!("must be {least} to {most}");
            return Err(Violation::new("dead_letters.bytes_max", rule));
        }
        let garbage_percent = self.garbage_percent.unwrap_or(default.garbage_percent);
        let (least, most) = GARBAGE_PERCENT;
        if !(least..=most).contains(&garbage_percent) {
            let rule = format!("must be {least} to {most}");
            return Err(Violation::new("dead_letters.garbage_percent", rule));
        }
        let pace = Pace::check("dead_letters", self.fold_burst, self.fold_per_minute)?;
        let [shortest, longest] = RETENTION;
        let rule = || Violation::new("dead_letters.retention", "must be 7d to 30d");
        let retention = match self.retention {
            None => default.retention,
            Some(span) => span.within("", shortest, longest).map_err(|_| rule())?,
        };
        Ok(Bounds { letters_max, bytes_max, garbage_percent, pace, retention })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bounds, String> {
        let raw: RawDeadLetters = system::parse_toml(text, "dead_letters").unwrap();
        raw.check().map_err(|error| error.to_string())
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(parse(""), Ok(Bounds::default()));
        let set = parse("max = 7\nretention = \"7d\"\nfold_burst = 9").unwrap();
        let pace = Pace { burst: 9, ..Pace::default() };
        let expected = Bounds { letters_max: 7, pace, retention: DAY * 7, ..Bounds::default() };
        assert_eq!(set, expected);
        let rule = "dead_letters.bytes_max: must be 1048576 to 68719476736";
        assert_eq!(parse("bytes_max = 1000").unwrap_err(), rule);
        let rule = "dead_letters.garbage_percent: must be 1 to 50";
        assert_eq!(parse("garbage_percent = 51").unwrap_err(), rule);
        let rule = "dead_letters.fold_per_minute: must be 1 to 600000";
        assert_eq!(parse("fold_per_minute = 0").unwrap_err(), rule);
        assert_eq!(parse("max = 0").unwrap_err(), "dead_letters.max: must be 1 to 1000000");
        let rule = "dead_letters.retention: must be 7d to 30d";
        assert_eq!(parse("retention = \"6d\"").unwrap_err(), rule);
        assert_eq!(parse("retention = \"31d\"").unwrap_err(), rule);
    }
}
