//! The time of day. Whatever decides is given the time as an argument; who asks the clock is here.

use std::time::{Duration, SystemTime};

use model::time::UnixMicros;

/// The wall clock; the Unix epoch if it stands before that.
#[must_use]
pub fn wall_clock() -> UnixMicros {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMicros(0).saturating_add(since_epoch.unwrap_or(Duration::ZERO))
}
