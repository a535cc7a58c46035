//! What a node does that hears nothing of the fleet.

use std::time::Duration;

use model::time::MonotonicNanos;

use crate::terms::nanos;

/// After so long without an answer to a report that waits for one, a node counts as cut off.
pub const LOST_AFTER: Duration = Duration::from_secs(1);

/// What a limit says is done by a node that is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It goes on with what it knows: a bucket of its own.
    Local,
    /// It goes on with its share of the bucket and of the rate, by the number of nodes that it last knew of.
    Divide,
    /// It lets nothing through.
    Deny,
}

impl OnLoss {
    /// Every name that [`OnLoss::named`] knows.
    pub const NAMES: [&'static str; 3] = ["local", "divide", "deny"];

    /// The rule that configuration spells so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "local" => Some(Self::Local),
            "divide" => Some(Self::Divide),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }
}

/// Whether a node hears of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It does.
    Up,
    /// It does not.
    Lost {
        /// What is done then.
        rule: OnLoss,
        /// How many nodes there were when it last knew, itself among them; 0 counts as 1.
        nodes: u32,
    },
}

/// Whether a node is cut off whose oldest report without an answer was first sent then.
#[must_use]
pub fn is_lost(waiting_since: Option<MonotonicNanos>, now: MonotonicNanos) -> bool {
    waiting_since.is_some_and(|since| now.saturating_sub(since) > nanos(LOST_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_a_rule_of_its_own() {
        let rules = OnLoss::NAMES.map(|name| OnLoss::named(name).unwrap());
        assert_eq!(rules, [OnLoss::Local, OnLoss::Divide, OnLoss::Deny]);
        assert_eq!(OnLoss::named("allow"), None);
    }

    #[test]
    fn a_node_is_cut_off_once_an_answer_is_overdue() {
        let second = 1_000_000_000;
        assert!(!is_lost(None, u64::MAX));
        assert!(!is_lost(Some(second), 2 * second));
        assert!(is_lost(Some(second), 2 * second + 1));
    }
}
