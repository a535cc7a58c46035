//! `[dead_letters]`: how many events that cannot be applied are kept, and for how long.

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::value::Span;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest and longest time that a dead letter is kept.
const RETENTION: [Duration; 2] = [DAY.saturating_mul(7), DAY.saturating_mul(30)];
/// The most letters that can be configured: 16 KiB each, at most.
const LETTERS_MAX: usize = 1_000_000;

/// `[dead_letters]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// Most letters at once; the oldest makes room.
    pub letters_max: usize,
    /// How long a letter is kept.
    pub retention: Duration,
}

impl Default for DeadLetters {
    fn default() -> Self {
        let [_, longest] = RETENTION;
        Self { letters_max: 10_000, retention: longest }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeadLetters {
    max: Option<usize>,
    retention: Option<Span>,
}

impl RawDeadLetters {
    pub(super) fn check(self) -> Result<DeadLetters, ConfigError> {
        let default = DeadLetters::default();
        let letters_max = self.max.unwrap_or(default.letters_max);
        if !(1..=LETTERS_MAX).contains(&letters_max) {
            let rule = format!("must be 1 to {LETTERS_MAX}");
            return Err(ConfigError::new("dead_letters.max", rule));
        }
        let [shortest, longest] = RETENTION;
        let rule = || ConfigError::new("dead_letters.retention", "must be 7d to 30d");
        let retention = match self.retention {
            None => default.retention,
            Some(span) => span.within("", shortest, longest).map_err(|_| rule())?,
        };
        Ok(DeadLetters { letters_max, retention })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DeadLetters, String> {
        let raw: RawDeadLetters = crate::config::parse_toml(text, "dead_letters").unwrap();
        raw.check().map_err(|error| error.to_string())
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(parse(""), Ok(DeadLetters::default()));
        let set = parse("max = 7\nretention = \"7d\"").unwrap();
        assert_eq!(set, DeadLetters { letters_max: 7, retention: DAY * 7 });
        assert_eq!(parse("max = 0").unwrap_err(), "dead_letters.max: must be 1 to 1000000");
        let rule = "dead_letters.retention: must be 7d to 30d";
        assert_eq!(parse("retention = \"6d\"").unwrap_err(), rule);
        assert_eq!(parse("retention = \"31d\"").unwrap_err(), rule);
    }
}
