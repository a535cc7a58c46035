//! Points and spans of time. Nothing here reads a clock: time always comes in as an argument.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The longest span that configuration or an event may name.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Nanoseconds on a clock that never goes back: the time that buckets live in.
pub type MonotonicNanos = u64;

/// Microseconds since the Unix epoch: the time that events and expiries live in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Parses an RFC 3339 timestamp such as `2026-11-22T12:00:00.5Z`; none before 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
        u64::try_from(nanos.checked_div(1_000)?).ok().map(Self)
    }

    /// This instant and a span; the end of time if that is later.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// This instant less a span; the epoch if that is earlier.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMicros {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0).saturating_mul(1_000);
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => f.write_str("beyond year 9999"),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// What a duration has to look like, for error messages.
pub const DURATION_RULE: &str =
    "must be a whole number and a unit (ms, s, m, h or d), such as \"60s\", of at most 10 years";

/// Parses a duration such as `500ms`, `60s`, `5m`, `24h` or `7d`; see [`DURATION_RULE`].
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let span = Duration::from_millis(number.checked_mul(unit_ms)?);
    (span <= DURATION_MAX).then_some(span)
}

/// Two clocks, each read only when its time is needed.
pub trait Clock {
    /// Time for buckets.
    fn monotonic(&self) -> MonotonicNanos;
    /// Time for expiries.
    fn wall(&self) -> UnixMicros;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "s", "1", "1.5s", "-1s", " 1s", "1 s", "1w", "99999999999999999999s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse_duration("36600d"), None, "beyond the longest span");
    }

    #[test]
    fn timestamps_survive_a_round_trip() {
        let at = UnixMicros::parse_rfc3339("2026-11-22T13:00:00.000001+01:00").unwrap();
        assert_eq!(at.to_string(), "2026-11-22T12:00:00.000001Z");
        assert_eq!(UnixMicros::parse_rfc3339("1969-12-31T23:59:59Z"), None);
        assert_eq!(UnixMicros::parse_rfc3339("2026-11-22"), None);
        assert_eq!(UnixMicros(u64::MAX).to_string(), "beyond year 9999");
    }
}
