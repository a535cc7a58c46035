//! How many of the same are kept or noted one by one before the rest is counted together.

use model::violation::Violation;

/// Most at once that can be configured: a bucket of these fills within a week at one per minute.
const BURST_MAX: u32 = 10_000;
/// Most per minute that can be configured.
const PER_MINUTE_MAX: u32 = 600_000;

/// So many at once, and so many more per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At once.
    pub burst: u32,
    /// Per minute, spread evenly.
    pub per_minute: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { burst: 100, per_minute: 60 }
    }
}

impl Pace {
    /// The pace as written in a section of the configuration; the defaults for what is not written.
    ///
    /// # Errors
    /// If one of both is out of bounds.
    pub fn check(
        section: &str,
        burst: Option<u32>,
        per_minute: Option<u32>,
    ) -> Result<Self, Violation> {
        let within = |name: &str, value: u32, max: u32| {
            let rule =
                || Violation::new(format!("{section}.{name}"), format!("must be 1 to {max}"));
            if (1..=max).contains(&value) { Ok(value) } else { Err(rule()) }
        };
        let default = Self::default();
        let burst = within("fold_burst", burst.unwrap_or(default.burst), BURST_MAX)?;
        let per_minute = per_minute.unwrap_or(default.per_minute);
        let per_minute = within("fold_per_minute", per_minute, PER_MINUTE_MAX)?;
        Ok(Self { burst, per_minute })
    }
}
