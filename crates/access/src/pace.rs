//! How fast one caller may ask: the same token bucket that users have at the edge.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::bucket::{Bucket, Rate};

use super::{Needs, Permission};

/// Requests at once, and per second, of a caller without a rate of its own.
pub const RATE_DEFAULT: (u32, u32) = (4_000, 2_000);

/// Which of a caller's two buckets a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Publishing has a bucket of its own: no flood of reads delays a block.
    Publishing,
    /// Everything else.
    Other,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Publishing, Self::Other];

    /// Of a request to a route with these needs.
    #[must_use]
    pub fn of(needs: Needs) -> Self {
        match needs {
            Needs::Permission(Permission::Publish) => Self::Publishing,
            _ => Self::Other,
        }
    }

    /// As a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Other => "other",
        }
    }
}

/// The two buckets of one caller.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    publishing: Mutex<Bucket>,
    other: Mutex<Bucket>,
}

impl Pace {
    /// Full buckets.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, publishing: Mutex::default(), other: Mutex::default() }
    }

    /// The rate of both.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one token, by the monotonic clock.
    ///
    /// # Errors
    /// There is none: how long until there is one.
    pub fn take(&self, lane: Lane, now: Duration) -> Result<(), Duration> {
        let bucket = match lane {
            Lane::Publishing => &self.publishing,
            Lane::Other => &self.other,
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let (taken, _) = bucket.take(&self.rate, now).map_err(|quota| quota.reset)?;
        *bucket = taken;
        Ok(())
    }
}
