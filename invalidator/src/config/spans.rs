//! How long things may be configured to take.

use std::time::Duration;

use model::violation::Violation;
use system::Span;

/// Shortest wait or interval that may be configured.
const SPAN_MIN: Duration = Duration::from_millis(10);
/// Longest wait for acknowledgements.
pub const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// The span as configured, within the bounds; the default if absent.
pub(super) fn span(
    raw: Option<Span>,
    field: &str,
    default: Duration,
    max: Duration,
) -> Result<Duration, Violation> {
    raw.map_or(Ok(default), |span| span.within(field, SPAN_MIN, max))
}
