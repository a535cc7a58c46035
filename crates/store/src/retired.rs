//! Events that newer ones have overtaken, and that may come again: they stay on the disk for a while, so that
//! they are recognized after a restart. Heard anew, such an event would outrank what has overtaken it. Plain
//! and synchronous.

use std::collections::VecDeque;
use std::time::Duration;

use model::state::CLOCK_ERROR_MAX;

use super::pending::Identity;

/// For how long an event that comes again could count as new: by the clock of its publisher, which may
/// be ahead, it has just happened.
pub const REPEATED_WITHIN: Duration = CLOCK_ERROR_MAX.saturating_mul(2);
/// Most that stay. Beyond it the oldest go.
const RETIRED_MAX: usize = 16_384;

/// An event that is overtaken.
#[derive(Debug)]
pub(super) struct Retiree {
    until: Duration,
    /// What has overtaken it, if that is to be kept.
    pub(super) by: Option<Identity>,
    pub(super) gone: Identity,
}

/// The oldest first; time is counted since anything.
#[derive(Debug, Default)]
pub(super) struct Retired(VecDeque<Retiree>);

impl Retired {
    pub(super) fn add(&mut self, by: Option<Identity>, gone: Identity, now: Duration) {
        self.0.push_back(Retiree { until: now.saturating_add(REPEATED_WITHIN), by, gone });
    }

    /// Those whose time has come.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Retiree> {
        let mut due = Vec::new();
        while let Some(first) = self.0.front() {
            if first.until > now && self.0.len() <= RETIRED_MAX {
                break;
            }
            due.extend(self.0.pop_front());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use model::name::EventId;
    use model::subject::Subject;

    use super::*;

    fn id(number: usize) -> Identity {
        (Subject::user("alice").unwrap(), EventId::parse(&format!("e{number}")).unwrap())
    }

    #[test]
    fn they_go_in_time_and_when_there_are_too_many() {
        let mut retired = Retired::default();
        retired.add(None, id(0), Duration::ZERO);
        retired.add(Some(id(9)), id(1), Duration::from_secs(1));
        assert!(retired.due(REPEATED_WITHIN - Duration::from_secs(1)).is_empty());
        let due = retired.due(REPEATED_WITHIN);
        assert_eq!(due.iter().map(|one| &one.gone).collect::<Vec<_>>(), [&id(0)]);
        for number in 0..RETIRED_MAX {
            retired.add(None, id(number), Duration::from_secs(2));
        }
        let due = retired.due(REPEATED_WITHIN);
        assert_eq!(due.iter().map(|one| &one.gone).collect::<Vec<_>>(), [&id(1)]);
        assert_eq!(retired.0.len(), RETIRED_MAX);
    }
}
