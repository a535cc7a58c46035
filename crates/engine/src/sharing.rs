//! How nodes stand to limits that hold for the whole fleet, by what they say when they poll. The rules of these limits
//! are in `fleet`; reports do not come here.

use std::time::Duration;

use fleet::loss::LOST_AFTER;
use model::push::FleetUse;
use serde::{Deserialize, Serialize};

use super::answer::millis;

/// How a node stands to limits that hold for the whole fleet, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetLimits {
    /// The version of the key that it names subjects with; 0 for none yet.
    pub key_version: u64,
    /// For how long it has been cut off, in milliseconds: it goes on as its limits' `on_loss` says. Nothing: it is not.
    pub cut_off_ms: Option<u64>,
    /// How often Redis had less of a bucket than this node knew, since the start of its memory.
    pub behind: u64,
    /// How many tokens stand in reports that it gave up, since then.
    pub given_up: u64,
}

/// What one poll says that the one before did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetProgress {
    /// The node is cut off now and was not, or the other way round.
    pub is_cut_off: Option<bool>,
    /// How often more Redis had less of a bucket than the node knew.
    pub behind: u64,
    /// How many more tokens stand in reports that were given up.
    pub given_up: u64,
}

/// What is kept of what a node said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sharing(Option<FleetUse>);

impl Sharing {
    /// Takes in what the newest poll of the node says; nothing if it has no such limits.
    pub(super) fn hear(&mut self, said: Option<&FleetUse>) {
        self.0 = said.copied();
    }

    /// What that would change. Of a node that was not known before there is no telling what it counted when.
    pub(super) fn progress(before: Option<&Self>, said: Option<&FleetUse>) -> FleetProgress {
        let before = before.and_then(|before| before.0);
        let was_cut_off = before.is_some_and(|before| is_cut_off(&before));
        let is_cut_off = said.is_some_and(is_cut_off);
        let more = |count: fn(&FleetUse) -> u64| {
            let both = said.zip(before.as_ref());
            both.map_or(0, |(said, before)| count(said).saturating_sub(count(before)))
        };
        FleetProgress {
            is_cut_off: (was_cut_off != is_cut_off).then_some(is_cut_off),
            behind: more(|said| said.behind),
            given_up: more(|said| said.given_up),
        }
    }

    /// For people, so long after the poll; nothing if the node has no such limits.
    pub(super) fn status(&self, since_poll: Duration) -> Option<FleetLimits> {
        let said = self.0?;
        let waiting_ms = said.waiting_ms.saturating_add(millis(since_poll));
        Some(FleetLimits {
            key_version: said.key_version,
            cut_off_ms: is_cut_off(&said).then_some(waiting_ms),
            behind: said.behind,
            given_up: said.given_up,
        })
    }
}

fn is_cut_off(said: &FleetUse) -> bool {
    said.waiting_ms > millis(LOST_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(waiting_ms: u64, behind: u64, given_up: u64) -> FleetUse {
        FleetUse { key_version: 5, waiting_ms, behind, given_up }
    }

    #[test]
    fn who_has_no_such_limits_says_nothing_of_them() {
        let mut sharing = Sharing::default();
        sharing.hear(None);
        assert_eq!(sharing.status(Duration::ZERO), None);
        assert_eq!(Sharing::progress(Some(&sharing), None), FleetProgress::default());
    }

    #[test]
    fn a_node_is_cut_off_once_a_report_has_waited_for_more_than_a_second() {
        let mut sharing = Sharing::default();
        sharing.hear(Some(&said(1_000, 0, 0)));
        assert_eq!(sharing.status(Duration::ZERO).unwrap().cut_off_ms, None);
        let now = said(1_001, 0, 0);
        let cut_off = Some(true);
        assert_eq!(Sharing::progress(Some(&sharing), Some(&now)).is_cut_off, cut_off);
        assert_eq!(Sharing::progress(None, Some(&now)).is_cut_off, cut_off);
        sharing.hear(Some(&now));
        let status = sharing.status(Duration::from_millis(500)).unwrap();
        assert_eq!((status.cut_off_ms, status.key_version), (Some(1_501), 5));
        assert_eq!(Sharing::progress(Some(&sharing), Some(&now)).is_cut_off, None);
        let back = said(0, 0, 0);
        assert_eq!(Sharing::progress(Some(&sharing), Some(&back)).is_cut_off, Some(false));
        let forever = Sharing(Some(said(u64::MAX, 0, 0)));
        assert_eq!(forever.status(Duration::MAX).unwrap().cut_off_ms, Some(u64::MAX));
    }

    #[test]
    fn counts_go_on_from_those_before() {
        let before = Sharing(Some(said(0, 3, 40)));
        let progress = Sharing::progress(Some(&before), Some(&said(0, 5, 100)));
        assert_eq!((progress.behind, progress.given_up), (2, 60));
        let first = Sharing::progress(None, Some(&said(0, 5, 100)));
        assert_eq!((first.behind, first.given_up), (0, 0), "nobody knows since when");
        let less = Sharing::progress(Some(&before), Some(&said(0, 1, 1)));
        assert_eq!((less.behind, less.given_up), (0, 0));
    }
}
